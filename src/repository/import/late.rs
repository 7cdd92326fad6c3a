//! No way back: what was observed before an erasure of its kind is not taken after it.

use super::Import;
use crate::{
    domain::{record::Conversation, timestamp::Timestamp, violation::Complaint},
    fault::planted,
    repository::{
        conversation,
        entity::{conversation::Model, subject},
    },
};

pub(super) const LATE: Complaint = Complaint::Rule(
    "was observed before the user's data was erased; an import does not bring it back, unless `observed_epoch` says that it was observed since",
);
pub(super) const LATE_TEXT: Complaint =
    Complaint::Rule("is not newer than the removal of such texts; leave it out, or send what was written since");

/// When the writer observed the records of a request.
#[derive(Clone, Copy)]
pub(super) enum Observed {
    /// It does not say: each record when it was created.
    AtItsOwnTime,
    /// After the last erasure.
    Now,
    /// Before it.
    BeforeAnErasure,
}

impl Observed {
    /// `epoch` is the subject's when the writer looked, if it says so.
    pub(super) fn at(epoch: Option<i64>, subject: &subject::Model) -> Self {
        match epoch {
            None => Self::AtItsOwnTime,
            Some(epoch) if epoch == subject.epoch || planted("bug.observed-epoch-ignored") => Self::Now,
            Some(_) => Self::BeforeAnErasure,
        }
    }
}

impl Import<'_> {
    /// What is wrong with the time of a conversation, and where.
    pub(super) fn complaint_of(&self, conversation: &Conversation) -> Option<(&'static str, Complaint)> {
        let live = conversation.forgotten_at.is_none();
        let personal = live && conversation.institution_id.is_none();
        if self.is_late_if(personal, conversation.key.created_at, self.erased.dialogues_erased_at) {
            Some(("created_at", LATE))
        } else if conversation.title.is_some() && self.is_late(conversation.updated_at, self.erased.texts_scrubbed_at) {
            Some(("title", LATE_TEXT))
        } else {
            None
        }
    }

    /// A conversation's row. A writer that has not looked since the messages were deleted still counts them.
    pub(super) fn row_of(&self, conversation: &Conversation) -> Model {
        let row = conversation::row(&self.held, conversation);
        let counts_deleted = self.is_late(conversation.updated_at, self.erased.messages_erased_at);
        Model { message_count: if counts_deleted { 0 } else { row.message_count }, ..row }
    }

    /// Whether a record was observed before the last erasure of its kind.
    pub(super) fn is_late(&self, at: Timestamp, erased_at: Option<i64>) -> bool {
        self.is_late_if(true, at, erased_at)
    }

    /// The same of a record that such erasures only concern if it is `concerned`.
    pub(super) fn is_late_if(&self, concerned: bool, at: Timestamp, erased_at: Option<i64>) -> bool {
        match self.observed {
            Observed::BeforeAnErasure => true,
            Observed::Now => false,
            Observed::AtItsOwnTime if planted("bug.late-records-taken") => false,
            Observed::AtItsOwnTime => concerned && erased_at.is_some_and(|erased_at| at.0 <= erased_at),
        }
    }
}
