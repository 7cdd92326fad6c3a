//! ExportUserData: everything held about a subject, in order, in blocks.
//!
//! Between two blocks nothing is held: no connection, no transaction. Every block is confirmed after it was read: if the subject was erased
//! since the export began, the block is not given out.

use std::{collections::VecDeque, mem, sync::Arc};

use bytes::Bytes;

pub use super::conversation_reader::Parent;
use super::{
    Error, Stores,
    conversation_reader::{ConversationReader, Next},
};
use crate::{
    domain::{
        category::{Categories, Category},
        limits::FRAME_TARGET_BYTES,
        message_run::MessageRun,
        position::{InConversation, InUpload, Position},
        record::{Assistant, CompactionCacheEntry, Conversation, Feedback, Memory, RecordKey, Session, Upload},
        resume_token::ExportChoices,
        subject::Subject,
    },
    repository::{Held, Page, PageSize, Reading},
    vault::Vault,
};

/// Something an export gives out. Boxed where it is large.
pub enum Item {
    /// A conversation, without what is nested in it.
    Conversation(Box<Conversation>),
    /// Messages of a conversation.
    Messages(Arc<Parent>, MessageRun),
    /// Feedback given in a conversation.
    NestedFeedback(Arc<Parent>, Box<Feedback>),
    /// Detached feedback.
    Feedback(Box<Feedback>),
    /// A memory.
    Memory(Box<Memory>),
    /// An upload.
    Upload(Box<Upload>, InUpload),
    /// A piece of an upload's content.
    Content(ContentItem),
    /// An assistant.
    Assistant(Box<Assistant>),
    /// A session.
    Session(Box<Session>),
    /// An entry of the compaction cache.
    CompactionCache(Box<CompactionCacheEntry>),
}

/// A piece of an upload's content.
pub struct ContentItem {
    /// The upload.
    pub upload: RecordKey,
    /// Where it begins.
    pub offset: u64,
    /// The bytes; `None` where the store has no such object.
    pub data: Option<Bytes>,
    /// How far the upload is exported with it.
    pub within: InUpload,
}

impl Item {
    /// Where the export stands once this is given out.
    pub fn position(&self) -> Position {
        match self {
            Self::Conversation(record) => Position::Conversation(record.key.clone(), InConversation::Header),
            Self::Messages(parent, run) => Position::Conversation(parent.key.clone(), InConversation::Message(run.last_key())),
            Self::NestedFeedback(parent, record) => {
                Position::Conversation(parent.key.clone(), InConversation::Feedback(record.key.clone()))
            }
            Self::Feedback(record) => Position::Feedback(record.key.clone()),
            Self::Memory(record) => Position::Memory(record.key.clone()),
            Self::Upload(record, within) => Position::Upload(record.key.clone(), *within),
            Self::Content(piece) => Position::Upload(piece.upload.clone(), piece.within),
            Self::Assistant(record) => Position::Assistant(record.key.clone()),
            Self::Session(record) => Position::Session(record.key.clone()),
            Self::CompactionCache(record) => Position::CompactionCache(record.key.clone()),
        }
    }

    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        match self {
            Self::Conversation(record) => record.bytes(),
            Self::Messages(_, run) => run.bytes(),
            Self::NestedFeedback(_, record) | Self::Feedback(record) => record.bytes(),
            Self::Memory(record) => record.bytes(),
            Self::Upload(record, _) => record.bytes(),
            Self::Content(piece) => piece.data.as_ref().map_or(0, Bytes::len),
            Self::Assistant(record) => record.bytes(),
            Self::Session(record) => record.bytes(),
            Self::CompactionCache(record) => record.bytes(),
        }
    }
}

/// Items that an export gives out at once: about a frame's worth.
#[derive(Default)]
pub struct Block {
    /// The items, in order.
    pub items: Vec<Item>,
    /// About how many bytes they take in memory.
    pub bytes: usize,
    /// Nothing comes after them.
    pub is_last: bool,
}

/// A running export.
pub struct Export {
    stores: Stores,
    subject: Subject,
    held: Option<Held>,
    /// What the export was asked for, and is held.
    wanted: Categories,
    choices: ExportChoices,
    stage: Stage,
    /// What the subject was looked up by, for the first block.
    reading: Option<Reading>,
    /// How large the next block is to be.
    block_bytes: usize,
}

/// How large the first block is. It is read where the call is served, so that a small user's is answered at once; the calls beside it wait.
const FIRST_BLOCK_BYTES: usize = FRAME_TARGET_BYTES / 4;

/// Which kind of record comes next, and after which one.
enum Stage {
    Conversations(Box<ConversationReader>),
    Feedback(Reader<Feedback>),
    Memories(Reader<Memory>),
    Uploads(Reader<Upload>, Option<PendingContent>),
    Assistants(Reader<Assistant>),
    Sessions(Reader<Session>),
    CompactionCache(Reader<CompactionCacheEntry>),
    End,
}

/// The content of an upload that is still to be exported.
struct PendingContent {
    upload: RecordKey,
    offset: u64,
    version: u64,
}

/// Records read and not yet given out.
struct Reader<T> {
    ahead: VecDeque<T>,
    after: Option<RecordKey>,
    size: PageSize,
    read_all: bool,
}

impl<T> Reader<T> {
    fn begin(after: Option<RecordKey>) -> Self {
        Self { ahead: VecDeque::new(), after, size: PageSize::default(), read_all: false }
    }

    /// Whether a page is to be read before the next record.
    fn must_read(&self) -> bool {
        self.ahead.is_empty() && !self.read_all
    }

    /// The next record, reading on with `read` when there are no more ahead.
    async fn next(
        &mut self,
        read: impl AsyncFnOnce(Option<&RecordKey>, &mut PageSize) -> Result<Page<T>, crate::repository::Error>,
        key: impl Fn(&T) -> &RecordKey,
    ) -> Result<Option<T>, Error> {
        if self.must_read() {
            let page = read(self.after.as_ref(), &mut self.size).await?;
            self.read_all = page.is_last;
            self.after = page.records.last().map(|last| key(last).clone());
            self.ahead = page.records.into();
        }
        Ok(self.ahead.pop_front())
    }
}

impl Export {
    /// Looks the subject up; where nothing was ever held about it, the export is empty.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin(stores: Stores, subject: Subject, choices: ExportChoices) -> Result<Self, Error> {
        let mut reading = stores.repository.reading(&subject).await?;
        let found = reading.find_with_categories(&subject).await?;
        let wanted = found.map_or_else(Categories::default, |(_, held)| held.and(choices.categories));
        let held = found.map(|(held, _)| held);
        let stage = Stage::resume(wanted, choices.include_deleted, Position::Start);
        Ok(Self { stores, subject, held, wanted, choices, stage, reading: Some(reading), block_bytes: FIRST_BLOCK_BYTES })
    }

    /// The subject's epoch when it was looked up.
    pub fn epoch(&self) -> i64 {
        self.held.map_or(0, |held| held.epoch())
    }

    /// Goes on from `position`.
    pub fn resume(&mut self, position: Position) {
        self.stage = Stage::resume(self.wanted, self.choices.include_deleted, position);
    }

    /// The next block.
    ///
    /// # Errors
    /// When the subject was erased since it was looked up, or a store does not answer.
    pub async fn next_block(&mut self) -> Result<Block, Error> {
        let reading = self.reading.take();
        let Some(held) = self.held else { return Ok(Block { is_last: true, ..Block::default() }) };
        if let Stage::Uploads(_, pending) = &mut self.stage
            && let Some(content) = pending.take()
        {
            drop(reading);
            let read = content.next_piece(&self.stores.vault, &self.subject).await;
            // Where an erasure has removed it, that is why it is not there.
            self.stores.repository.reading(&self.subject).await?.confirm_not_erased(&held).await?;
            let (piece, rest) = read?;
            *pending = rest;
            let piece = Item::Content(piece);
            return Ok(Block { bytes: piece.bytes(), items: vec![piece], is_last: false });
        }
        let mut reading = match reading {
            Some(reading) => reading,
            None => self.stores.repository.reading(&self.subject).await?,
        };
        let mut block = Block::default();
        // Content is for the next block: no connection is held while the object store is waited for.
        let block_bytes = mem::replace(&mut self.block_bytes, FRAME_TARGET_BYTES);
        // One that is nearly full ends where a page does: of the next one it would take little, and all of it would be kept meanwhile.
        let is_full = |bytes, stage: &Stage| bytes >= block_bytes || bytes >= block_bytes / 2 && stage.must_read();
        while !is_full(block.bytes, &self.stage) && !block.is_last && !matches!(self.stage, Stage::Uploads(_, Some(_))) {
            match self.next_item(&mut reading, &held).await? {
                Next::Item(item) => {
                    block.bytes += item.bytes();
                    block.items.push(item);
                }
                // Somebody else's turn: there may be any number of such pages.
                Next::Hidden => break,
                Next::End => block.is_last = true,
            }
        }
        reading.confirm_not_erased(&held).await?;
        Ok(block)
    }

    async fn next_item(&mut self, reading: &mut Reading, held: &Held) -> Result<Next, Error> {
        let Self { wanted, choices, stage, .. } = self;
        let include_deleted = choices.include_deleted;
        loop {
            let item = match stage {
                Stage::Conversations(reader) => match reader.next(reading, held).await? {
                    Next::End => None,
                    next => return Ok(next),
                },
                Stage::Feedback(reader) => reader
                    .next(async |after, size| reading.detached_feedback(held, after, include_deleted, size).await, |record| &record.key)
                    .await?
                    .map(|record| Item::Feedback(Box::new(record))),
                Stage::Memories(reader) => reader
                    .next(async |after, size| reading.memories(held, after, size).await, |record| &record.key)
                    .await?
                    .map(|record| Item::Memory(Box::new(record))),
                Stage::Uploads(reader, pending) => {
                    let read =
                        async |after: Option<&RecordKey>, size: &mut PageSize| reading.uploads(held, after, include_deleted, size).await;
                    reader.next(read, |record| &record.key).await?.map(|upload| {
                        let with_content = choices.include_upload_content && upload.deleted_at.is_none();
                        *pending = with_content.then(|| PendingContent { upload: upload.key.clone(), offset: 0, version: 0 });
                        let within = if with_content { InUpload::Content { offset: 0, version: 0 } } else { InUpload::Complete };
                        Item::Upload(Box::new(upload), within)
                    })
                }
                Stage::Assistants(reader) => reader
                    .next(async |after, size| reading.assistants(held, after, include_deleted, size).await, |record| &record.key)
                    .await?
                    .map(|record| Item::Assistant(Box::new(record))),
                Stage::Sessions(reader) => reader
                    .next(async |after, size| reading.sessions(held, after, size).await, |record| &record.key)
                    .await?
                    .map(|record| Item::Session(Box::new(record))),
                Stage::CompactionCache(reader) => reader
                    .next(async |after, size| reading.compaction_cache(held, after, size).await, |record| &record.key)
                    .await?
                    .map(|record| Item::CompactionCache(Box::new(record))),
                Stage::End => return Ok(Next::End),
            };
            if let Some(item) = item {
                return Ok(Next::Item(item));
            }
            *stage = mem::replace(stage, Stage::End).next(*wanted);
        }
    }
}

impl PendingContent {
    /// The next piece, and what remains after it.
    async fn next_piece(self, vault: &Vault, subject: &Subject) -> Result<(ContentItem, Option<Self>), Error> {
        let Self { upload, offset, version } = self;
        let Some(piece) = vault.read(subject, &upload.id, offset, version).await? else {
            return Ok((ContentItem { upload, offset, data: None, within: InUpload::Complete }, None));
        };
        let end = offset.saturating_add(piece.data.len() as u64);
        let version = piece.version;
        let rest = (end < piece.size).then(|| Self { upload: upload.clone(), offset: end, version });
        let within = if rest.is_some() { InUpload::Content { offset: end, version } } else { InUpload::Complete };
        Ok((ContentItem { upload, offset, data: Some(piece.data), within }, rest))
    }
}

impl Stage {
    /// Where an export at `position` goes on.
    fn resume(wanted: Categories, include_deleted: bool, position: Position) -> Self {
        match position {
            Position::Start => Self::conversations(wanted, include_deleted, None).skip_unless(wanted),
            Position::Conversation(key, within) => Self::conversations(wanted, include_deleted, Some((key, within))),
            Position::Feedback(key) => Self::Feedback(Reader::begin(Some(key))),
            Position::Memory(key) => Self::Memories(Reader::begin(Some(key))),
            Position::Upload(key, InUpload::Complete) => Self::Uploads(Reader::begin(Some(key)), None),
            Position::Upload(key, InUpload::Content { offset, version }) => {
                let pending = PendingContent { upload: key.clone(), offset, version };
                Self::Uploads(Reader::begin(Some(key)), Some(pending))
            }
            Position::Assistant(key) => Self::Assistants(Reader::begin(Some(key))),
            Position::Session(key) => Self::Sessions(Reader::begin(Some(key))),
            Position::CompactionCache(key) => Self::CompactionCache(Reader::begin(Some(key))),
            Position::End => Self::End,
        }
    }

    fn conversations(wanted: Categories, include_deleted: bool, begin: Option<(RecordKey, InConversation)>) -> Self {
        Self::Conversations(Box::new(ConversationReader::new(wanted, include_deleted, begin)))
    }

    /// Whether a page is to be read before the next item.
    fn must_read(&self) -> bool {
        match self {
            Self::Conversations(reader) => reader.must_read_messages(),
            Self::Feedback(reader) => reader.must_read(),
            Self::Memories(reader) => reader.must_read(),
            Self::Uploads(reader, _) => reader.must_read(),
            Self::Assistants(reader) => reader.must_read(),
            Self::Sessions(reader) => reader.must_read(),
            Self::CompactionCache(reader) => reader.must_read(),
            Self::End => false,
        }
    }

    /// The stage after this one, of those of which something is wanted.
    fn next(self, wanted: Categories) -> Self {
        let next = match self {
            Self::Conversations(_) => Self::Feedback(Reader::begin(None)),
            Self::Feedback(_) => Self::Memories(Reader::begin(None)),
            Self::Memories(_) => Self::Uploads(Reader::begin(None), None),
            Self::Uploads(..) => Self::Assistants(Reader::begin(None)),
            Self::Assistants(_) => Self::Sessions(Reader::begin(None)),
            Self::Sessions(_) => Self::CompactionCache(Reader::begin(None)),
            Self::CompactionCache(_) | Self::End => Self::End,
        };
        next.skip_unless(wanted)
    }

    /// This stage if anything of it is wanted, else the next of which something is.
    fn skip_unless(self, wanted: Categories) -> Self {
        let kinds: &[Category] = match self {
            Self::Conversations(_) => &[Category::Conversations, Category::Messages, Category::Feedback],
            Self::Feedback(_) => &[Category::Feedback],
            Self::Memories(_) => &[Category::Memories],
            Self::Uploads(..) => &[Category::Uploads],
            Self::Assistants(_) => &[Category::Assistants],
            Self::Sessions(_) => &[Category::Sessions],
            Self::CompactionCache(_) => &[Category::CompactionCache],
            Self::End => return Self::End,
        };
        if kinds.iter().any(|category| wanted.contain(*category)) { self } else { self.next(wanted) }
    }
}
