//! What an export gave, taken apart by the contract's own words: the items that the digest is computed over, and the digest again.

use std::collections::BTreeMap;

use prost::Message as _;
use sha2::{Digest, Sha256};
use userdata::grpc::proto::{
    Category, Conversation, ExportSummary, ExportUserDataRequest, ExportUserDataResponse, ImportUserDataRequest, RecordCounts,
};

use crate::world::Client;

/// The responses of one export, or the last ones of several streams that continue each other.
#[derive(Clone)]
pub(crate) struct Exported(pub(crate) Vec<ExportUserDataResponse>);

/// A record or a piece of content: its field, as the digest names it, and its serialised form.
pub(crate) type Item = (u8, Vec<u8>);

/// A request for everything, content too.
pub(crate) fn with_content(user_token: &str) -> ExportUserDataRequest {
    ExportUserDataRequest { user_token: user_token.to_owned(), include_upload_content: true, ..Default::default() }
}

impl Exported {
    /// Exports, and checks whatever is true of every whole export.
    pub(crate) async fn fetch(client: &mut Client, request: ExportUserDataRequest) -> Self {
        let exported = Self(client.export_responses(request).await.unwrap());
        exported.check_frames();
        exported.check_summary();
        exported
    }

    /// Frames are small, each continues the export, and only the last holds the summary.
    pub(crate) fn check_frames(&self) {
        let (last, others) = self.0.split_last().expect("an export without a response");
        assert!(last.summary.is_some(), "no summary");
        for response in others {
            assert!(response.summary.is_none(), "a summary before the end");
        }
        for response in &self.0 {
            assert!(response.encoded_len() <= 1024 * 1024, "a frame of {} bytes", response.encoded_len());
            assert!(!response.resume_token.is_empty());
        }
    }

    /// The summary is that of these records.
    fn check_summary(&self) {
        let (mut hash, mut bytes, mut counts) = (Sha256::new(), 0, BTreeMap::<u8, i32>::new());
        for (field, item) in self.items() {
            hash.update([field]);
            hash.update(Sha256::digest(&item));
            bytes += item.len() as i64;
            *counts.entry(field).or_default() += 1;
        }
        let summary = self.summary();
        assert_eq!(summary.sha256, hex::encode(hash.finalize()));
        assert_eq!(summary.bytes, bytes);
        let count = |fields: &[u8]| fields.iter().filter_map(|field| counts.get(field)).sum();
        let expected = RecordCounts {
            conversations: count(&[1]),
            messages: count(&[15]),
            feedback: count(&[2, 16]),
            memories: count(&[3]),
            uploads: count(&[4]),
            assistants: count(&[6]),
            sessions: count(&[7]),
            compaction_cache: count(&[8]),
        };
        assert_eq!(summary.counts, Some(expected));
    }

    pub(crate) fn summary(&self) -> &ExportSummary {
        self.0.last().and_then(|last| last.summary.as_ref()).expect("no summary")
    }

    /// All items, in the order of the digest: an upload's content follows it, though a response lists them apart.
    pub(crate) fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        let mut contents: BTreeMap<&str, Vec<Item>> = BTreeMap::new();
        for piece in self.0.iter().flat_map(|response| &response.upload_contents) {
            contents.entry(&piece.upload_id).or_default().push((5, piece.encode_to_vec()));
        }
        for element in self.0.iter().flat_map(|response| &response.conversations) {
            if element.created_at.is_some() {
                let header = Conversation { messages: Vec::new(), feedback: Vec::new(), ..element.clone() };
                items.push((1, header.encode_to_vec()));
            }
            items.extend(element.messages.iter().map(|record| (15, record.encode_to_vec())));
            items.extend(element.feedback.iter().map(|record| (16, record.encode_to_vec())));
        }
        items.extend(self.0.iter().flat_map(|response| &response.feedback).map(|record| (2, record.encode_to_vec())));
        items.extend(self.0.iter().flat_map(|response| &response.memories).map(|record| (3, record.encode_to_vec())));
        for upload in self.0.iter().flat_map(|response| &response.uploads) {
            items.push((4, upload.encode_to_vec()));
            items.extend(contents.remove(upload.id.as_str()).unwrap_or_default());
        }
        items.extend(contents.into_values().flatten());
        items.extend(self.0.iter().flat_map(|response| &response.assistants).map(|record| (6, record.encode_to_vec())));
        items.extend(self.0.iter().flat_map(|response| &response.sessions).map(|record| (7, record.encode_to_vec())));
        items.extend(self.0.iter().flat_map(|response| &response.compaction_cache).map(|record| (8, record.encode_to_vec())));
        items
    }

    /// The encoded responses without what differs between two exports of the same records: tokens, and the time of the export.
    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        let blank = |response: &ExportUserDataResponse| {
            let mut response = ExportUserDataResponse { resume_token: String::new(), ..response.clone() };
            if let Some(summary) = &mut response.summary {
                summary.as_of = None;
            }
            response.encode_to_vec()
        };
        self.0.iter().map(blank).collect()
    }

    /// The requests that import what was exported, response by response.
    pub(crate) fn to_requests(&self, user_token: &str) -> Vec<ImportUserDataRequest> {
        let request = |response: &ExportUserDataResponse| ImportUserDataRequest {
            observed_epoch: None,
            user_token: user_token.to_owned(),
            conversations: response.conversations.clone(),
            feedback: response.feedback.clone(),
            memories: response.memories.clone(),
            uploads: response.uploads.clone(),
            upload_contents: response.upload_contents.clone(),
            assistants: response.assistants.clone(),
            sessions: response.sessions.clone(),
            compaction_cache: response.compaction_cache.clone(),
            upload_embeddings: Vec::new(),
        };
        self.0.iter().map(request).collect()
    }
}

/// The category that an item belongs to; content belongs to that of its upload.
pub(crate) fn category((field, _): &Item) -> Category {
    match field {
        1 => Category::Conversations,
        15 => Category::Messages,
        2 | 16 => Category::Feedback,
        3 => Category::Memories,
        4 | 5 => Category::Uploads,
        6 => Category::Assistants,
        7 => Category::Sessions,
        _ => Category::CompactionCache,
    }
}
