//! Reads conversations with what is nested in them, in the order of an export.
//!
//! Conversations, messages and feedback are kept in the same order, so that many conversations need no more than one scan of each. A
//! stretch is a run of conversations that are all shown: within it every message and every feedback belongs to one of them, or to one that
//! was imported since, which is passed over. A forgotten conversation ends a stretch, and its messages are never read.

use std::{collections::VecDeque, sync::Arc};

use super::{Error, export_user_data::Item};
use crate::{
    domain::{
        category::{Categories, Category},
        message_run::MessageRun,
        position::InConversation,
        record::{Conversation, Feedback, RecordKey},
        timestamp::Timestamp,
    },
    repository::{ConversationsFrom, Held, Page, PageSize, Reading, Stretch},
};

/// Which conversation a nested record belongs to.
#[derive(Clone, PartialEq, Eq)]
pub struct Parent {
    /// The conversation.
    pub key: RecordKey,
    /// The mark of a forgotten one.
    pub forgotten_at: Option<Timestamp>,
}

/// What comes next.
pub(super) enum Next {
    Item(Item),
    /// Of the page that was read nothing is shown, and more follow.
    Hidden,
    End,
}

pub(super) struct ConversationReader {
    wanted: Categories,
    include_deleted: bool,
    /// Conversations read and not yet exported.
    ahead: VecDeque<Conversation>,
    /// The last conversation read, while there may be more.
    more: Option<Option<RecordKey>>,
    /// The conversation whose nested records are being exported.
    current: Option<Arc<Parent>>,
    size: PageSize,
    messages_size: PageSize,
    feedback_size: PageSize,
    /// The last conversation of the stretch that `messages` and `feedback` are read for.
    stretch_end: Option<RecordKey>,
    messages: Nested<MessageRun>,
    feedback: Nested<Feedback>,
    /// Where a resumed export begins: within this conversation.
    begin: Option<(RecordKey, InConversation)>,
}

/// Nested records read and not yet exported.
struct Nested<T> {
    ahead: VecDeque<(Arc<RecordKey>, T)>,
    /// From where to read on: the conversation, and the record within it; `None` when all of the stretch is read.
    from: Option<(RecordKey, Option<RecordKey>)>,
}

impl<T> Nested<T> {
    fn none() -> Self {
        Self { ahead: VecDeque::new(), from: None }
    }

    fn begin(conversation: &RecordKey, after: Option<RecordKey>) -> Self {
        Self { ahead: VecDeque::new(), from: Some((conversation.clone(), after)) }
    }

    fn take_in(&mut self, page: Page<(Arc<RecordKey>, T)>, last_key: impl Fn(&T) -> RecordKey) {
        self.from = match page.records.last() {
            Some((conversation, record)) if !page.is_last => Some((RecordKey::clone(conversation), Some(last_key(record)))),
            _ => None,
        };
        self.ahead.extend(page.records);
    }

    /// Whether to read on before it is known what this conversation holds. What belongs to conversations before it is passed over: they
    /// were imported after the conversations of the stretch were read.
    fn is_spent(&mut self, conversation: &RecordKey) -> bool {
        while self.ahead.pop_front_if(|(of, _)| **of < *conversation).is_some() {}
        self.ahead.is_empty()
    }

    /// The next record, if it belongs to this conversation.
    fn next_of(&mut self, conversation: &RecordKey) -> Option<T> {
        let (_, record) = self.ahead.pop_front_if(|(of, _)| **of == *conversation)?;
        Some(record)
    }
}

impl ConversationReader {
    pub(super) fn new(wanted: Categories, include_deleted: bool, begin: Option<(RecordKey, InConversation)>) -> Self {
        Self {
            wanted,
            include_deleted,
            ahead: VecDeque::new(),
            more: Some(None),
            current: None,
            size: PageSize::default(),
            messages_size: PageSize::default(),
            feedback_size: PageSize::default(),
            stretch_end: None,
            messages: Nested::none(),
            feedback: Nested::none(),
            begin,
        }
    }

    /// Whether a page is to be read before the next message. Most of a block is messages.
    pub(super) fn must_read_messages(&self) -> bool {
        self.messages.ahead.is_empty() && self.messages.from.is_some()
    }

    pub(super) async fn next(&mut self, reading: &mut Reading, held: &Held) -> Result<Next, Error> {
        loop {
            if let Some(parent) = self.current.clone() {
                if let Some(item) = self.next_nested(reading, held, &parent).await? {
                    return Ok(Next::Item(item));
                }
                self.current = None;
            }
            let Some(conversation) = self.ahead.pop_front() else {
                let Some(after) = self.more.take() else { return Ok(Next::End) };
                self.read_conversations(after.as_ref(), reading, held).await?;
                if self.more.is_none() || self.ahead.iter().any(|conversation| self.shows(conversation)) {
                    continue;
                }
                self.ahead.clear();
                return Ok(Next::Hidden);
            };
            if !self.shows(&conversation) {
                continue;
            }
            let parent = Arc::new(Parent { key: conversation.key.clone(), forgotten_at: conversation.forgotten_at });
            let resumed = self.begin.take_if(|(key, _)| *key == parent.key).map(|(_, within)| within);
            self.enter(&parent.key, resumed.as_ref());
            self.current = Some(parent);
            if resumed.is_none() && self.wanted.contain(Category::Conversations) {
                return Ok(Next::Item(Item::Conversation(Box::new(conversation))));
            }
        }
    }

    /// Reads a page of conversations.
    async fn read_conversations(&mut self, after: Option<&RecordKey>, reading: &mut Reading, held: &Held) -> Result<(), Error> {
        let from = match (after, &self.begin) {
            (Some(key), _) => ConversationsFrom::After(key),
            (None, Some((key, _))) => ConversationsFrom::At(key),
            (None, None) => ConversationsFrom::Start,
        };
        let page = reading.conversations(held, from, &mut self.size).await?;
        self.more = if page.is_last { None } else { page.records.last().map(|last| Some(last.key.clone())) };
        self.ahead.extend(page.records);
        self.stretch_end = None;
        Ok(())
    }

    fn shows(&self, conversation: &Conversation) -> bool {
        self.include_deleted || conversation.forgotten_at.is_none()
    }

    /// Begins with a conversation: a new stretch, unless it lies within the one that is being read.
    fn enter(&mut self, conversation: &RecordKey, resumed: Option<&InConversation>) {
        if resumed.is_none() && self.stretch_end.as_ref().is_some_and(|end| conversation <= end) {
            return;
        }
        let last_shown = self.ahead.iter().take_while(|ahead| self.shows(ahead)).last();
        self.stretch_end = Some(last_shown.map_or_else(|| conversation.clone(), |last| last.key.clone()));
        let after_message = match resumed {
            Some(InConversation::Message(key)) => Some(key.clone()),
            _ => None,
        };
        let after_feedback = match resumed {
            Some(InConversation::Feedback(key)) => Some(key.clone()),
            _ => None,
        };
        self.messages = Nested::none();
        self.feedback = Nested::none();
        if self.wanted.contain(Category::Messages) {
            self.messages = match (resumed, self.ahead.front()) {
                // All its messages are exported already: begin with the next conversation's.
                (Some(InConversation::Feedback(_)), Some(next)) if self.shows(next) => Nested::begin(&next.key, None),
                (Some(InConversation::Feedback(_)), _) => Nested::none(),
                _ => Nested::begin(conversation, after_message),
            };
        }
        if self.wanted.contain(Category::Feedback) {
            self.feedback = Nested::begin(conversation, after_feedback);
        }
    }

    async fn next_nested(&mut self, reading: &mut Reading, held: &Held, parent: &Arc<Parent>) -> Result<Option<Item>, Error> {
        let Some(last) = self.stretch_end.clone() else { return Ok(None) };
        while self.messages.is_spent(&parent.key)
            && let Some((first, after)) = self.messages.from.take()
        {
            let page = reading.messages(held, &Stretch { first, after, last: last.clone() }, &mut self.messages_size).await?;
            self.messages.take_in(page, MessageRun::last_key);
        }
        if let Some(run) = self.messages.next_of(&parent.key) {
            return Ok(Some(Item::Messages(Arc::clone(parent), run)));
        }
        while self.feedback.is_spent(&parent.key)
            && let Some((first, after)) = self.feedback.from.take()
        {
            let stretch = Stretch { first, after, last: last.clone() };
            let page = reading.feedback_in_conversations(held, &stretch, self.include_deleted, &mut self.feedback_size).await?;
            self.feedback.take_in(page, |feedback| feedback.key.clone());
        }
        Ok(self.feedback.next_of(&parent.key).map(|feedback| Item::NestedFeedback(Arc::clone(parent), Box::new(feedback))))
    }
}
