//! Packs the items of an export into frames. Records are encoded once and copied into their frame; a frame is cut when it has reached its
//! size, within a conversation too.

use prost::{
    Message as _,
    encoding::{self, WireType},
};

use super::{
    convert::{message, time::timestamp},
    export_frame::ExportFrame,
    proto,
};
use crate::{
    domain::{
        category::Category,
        digest::RecordDigest,
        limits::{FRAME_TARGET_BYTES, MAX_FRAME_BYTES},
        message_run::{MessageRef, MessageRun},
        position::{InConversation, Position},
        resume_token::{ExportChoices, ExportState},
        subject::Subject,
    },
    operations::export_user_data::{Block, ContentItem, Item, Parent},
};

/// Room for what is not records: a resume token, the summary, the frame of a conversation.
const RESERVE_BYTES: usize = 8 * 1024;

/// The numbers of fields in `ExportUserDataResponse`, and of the nested ones in `Conversation`.
mod field {
    pub(super) const CONVERSATIONS: u32 = 1;
    pub(super) const FEEDBACK: u32 = 2;
    pub(super) const MEMORIES: u32 = 3;
    pub(super) const UPLOADS: u32 = 4;
    pub(super) const UPLOAD_CONTENTS: u32 = 5;
    pub(super) const ASSISTANTS: u32 = 6;
    pub(super) const SESSIONS: u32 = 7;
    pub(super) const COMPACTION_CACHE: u32 = 8;
    pub(super) const RESUME_TOKEN: u32 = 9;
    pub(super) const SUMMARY: u32 = 10;
    pub(super) const NESTED_MESSAGES: u32 = 15;
    pub(super) const NESTED_FEEDBACK: u32 = 16;
}

/// Packs one export.
pub(super) struct FramePacker {
    subject: Subject,
    choices: ExportChoices,
    state: ExportState,
    frame: Vec<u8>,
    open: Option<OpenConversation>,
    /// The head of a message, kept for its memory.
    head: Vec<u8>,
    ready: Vec<ExportFrame>,
}

/// The conversation at the end of the frame: more may be nested in it.
struct OpenConversation {
    id: String,
    /// Where its encoding begins in the frame, behind room for its length.
    start: usize,
}

/// Room for the length of a conversation: what lengths from 16 KiB to 2 MiB take, as most of those that matter are.
const LENGTH_BYTES: usize = 3;

impl FramePacker {
    /// Goes on from `state`.
    pub(super) fn new(subject: Subject, choices: ExportChoices, state: ExportState) -> Self {
        Self { subject, choices, state, frame: Vec::new(), open: None, head: Vec::new(), ready: Vec::new() }
    }

    /// Takes a block in; gives out the frames it fills.
    pub(super) fn pack(&mut self, block: Block) -> Vec<ExportFrame> {
        // No more than a frame takes: what is left of the last block is in it already.
        let room = (FRAME_TARGET_BYTES + RESERVE_BYTES).saturating_sub(self.frame.len());
        self.frame.reserve(Ord::min(block.bytes + RESERVE_BYTES, room));
        for item in block.items {
            self.take(item);
            if self.frame.len() >= FRAME_TARGET_BYTES {
                self.cut();
            }
        }
        std::mem::take(&mut self.ready)
    }

    /// The last frame, with the summary.
    pub(super) fn finish(mut self) -> ExportFrame {
        self.state.position = Position::End;
        let summary = proto::ExportSummary {
            counts: Some(self.state.counts.into()),
            bytes: i64::try_from(self.state.digest.bytes()).unwrap_or(i64::MAX),
            sha256: self.state.digest.hex(),
            as_of: Some(timestamp(self.state.as_of)),
        };
        self.close();
        encoding::message::encode(field::SUMMARY, &summary, &mut self.frame);
        self.seal()
    }

    /// What was packed so far.
    pub(super) fn state(&self) -> &ExportState {
        &self.state
    }

    fn take(&mut self, item: Item) {
        let position = item.position();
        match item {
            Item::Messages(parent, run) => self.append_messages(&parent, &run),
            Item::Conversation(record) => {
                let id = record.key.id.clone();
                let record = proto::Conversation::from(*record).encode_to_vec();
                self.make_room(record.len());
                self.note(Some(Category::Conversations), field::CONVERSATIONS, &RecordDigest::of(&[&record]), record.len());
                self.open(id, &record);
            }
            Item::NestedFeedback(parent, record) => {
                let record = proto::Feedback::from(*record).encode_to_vec();
                let digest = RecordDigest::of(&[&record]);
                self.nest(&parent, Category::Feedback, field::NESTED_FEEDBACK, &digest, &[&record]);
            }
            Item::Feedback(record) => self.append(Category::Feedback, field::FEEDBACK, &proto::Feedback::from(*record)),
            Item::Memory(record) => self.append(Category::Memories, field::MEMORIES, &proto::Memory::from(*record)),
            Item::Upload(record, _) => self.append(Category::Uploads, field::UPLOADS, &proto::Upload::from(*record)),
            Item::Content(piece) => self.append_content(piece),
            Item::Assistant(record) => self.append(Category::Assistants, field::ASSISTANTS, &proto::Assistant::from(*record)),
            Item::Session(record) => self.append(Category::Sessions, field::SESSIONS, &proto::Session::from(*record)),
            Item::CompactionCache(record) => {
                self.append(Category::CompactionCache, field::COMPACTION_CACHE, &proto::CompactionCacheEntry::from(*record));
            }
        }
        self.state.position = position;
    }

    fn append_messages(&mut self, parent: &Parent, run: &MessageRun) {
        let mut head = std::mem::take(&mut self.head);
        let mut before: Option<MessageRef<'_>> = None;
        for message in run.iter() {
            head.clear();
            message::put_head(message.created_at, message.id, &parent.key.id, &mut head);
            if self.frame.len() >= FRAME_TARGET_BYTES || !self.has_room(head.len() + message.body.len()) {
                if let Some(before) = before {
                    self.state.position = Position::Conversation(parent.key.clone(), InConversation::Message(before.key()));
                }
                self.cut();
            }
            self.nest(parent, Category::Messages, field::NESTED_MESSAGES, message.digest, &[&head, message.body]);
            before = Some(message);
        }
        self.head = head;
    }

    fn append(&mut self, category: Category, field: u32, record: &impl prost::Message) {
        self.put(Some(category), field, &record.encode_to_vec());
    }

    fn append_content(&mut self, piece: ContentItem) {
        let piece = proto::UploadContent {
            upload_id: piece.upload.id,
            offset: i64::try_from(piece.offset).unwrap_or(i64::MAX),
            missing: piece.data.is_none(),
            data: piece.data.unwrap_or_default().into(),
        };
        self.put(None, field::UPLOAD_CONTENTS, &piece.encode_to_vec());
    }

    /// Counts and hashes a record that goes into the frame as it is now: a frame that is cut before has a token from before.
    fn note(&mut self, category: Option<Category>, field: u32, digest: &RecordDigest, length: usize) {
        if let Some(category) = category {
            self.state.counts.add(category, 1);
        }
        self.state.digest.take(field as u8, digest, length);
    }

    fn put(&mut self, category: Option<Category>, field: u32, record: &[u8]) {
        self.make_room(record.len());
        self.note(category, field, &RecordDigest::of(&[record]), record.len());
        self.close();
        put_field(&mut self.frame, field, &[record]);
    }

    /// Appends to the conversation that is open, or to a continuation of it in this frame.
    fn nest(&mut self, parent: &Parent, category: Category, field: u32, digest: &RecordDigest, pieces: &[&[u8]]) {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.make_room(length);
        self.note(Some(category), field, digest, length);
        if self.open.as_ref().is_none_or(|open| open.id != parent.key.id) {
            let continuation = proto::Conversation {
                id: parent.key.id.clone(),
                forgotten_at: parent.forgotten_at.map(timestamp),
                ..proto::Conversation::default()
            };
            self.open(parent.key.id.clone(), &continuation.encode_to_vec());
        }
        put_field(&mut self.frame, field, pieces);
    }

    /// Cuts the frame if it has no room for a record of this length.
    fn make_room(&mut self, bytes: usize) {
        if !self.has_room(bytes) {
            self.cut();
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.frame.is_empty() || self.frame.len() + bytes <= MAX_FRAME_BYTES - RESERVE_BYTES
    }

    fn cut(&mut self) {
        self.close();
        let frame = self.seal();
        self.ready.push(frame);
        self.frame.reserve(FRAME_TARGET_BYTES + RESERVE_BYTES);
    }

    /// Begins a conversation at the end of the frame, with what is encoded of it so far.
    fn open(&mut self, id: String, encoded: &[u8]) {
        self.close();
        encoding::encode_key(field::CONVERSATIONS, WireType::LengthDelimited, &mut self.frame);
        self.frame.extend_from_slice(&[0; LENGTH_BYTES]);
        self.open = Some(OpenConversation { id, start: self.frame.len() });
        self.frame.extend_from_slice(encoded);
    }

    /// Ends the conversation that is open: now its length is known.
    fn close(&mut self) {
        let Some(OpenConversation { start, .. }) = self.open.take() else { return };
        let mut length = Vec::with_capacity(LENGTH_BYTES);
        encoding::encode_varint((self.frame.len() - start) as u64, &mut length);
        self.frame.splice(start - LENGTH_BYTES..start, length);
    }

    /// The frame with the token that continues after it.
    fn seal(&mut self) -> ExportFrame {
        let token = self.state.seal(&self.subject, self.choices);
        encoding::string::encode(field::RESUME_TOKEN, &token, &mut self.frame);
        ExportFrame(std::mem::take(&mut self.frame).into())
    }
}

/// Appends a record that lies in several pieces.
fn put_field(buffer: &mut Vec<u8>, field: u32, pieces: &[&[u8]]) {
    encoding::encode_key(field, WireType::LengthDelimited, buffer);
    encoding::encode_varint(pieces.iter().map(|piece| piece.len() as u64).sum(), buffer);
    for piece in pieces {
        buffer.extend_from_slice(piece);
    }
}
