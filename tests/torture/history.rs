//! What is recorded of calls about one subject.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Conversation,
    Message,
    Feedback,
    Memory,
    Upload,
    Assistant,
    Session,
    Cache,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Scope {
    Messages,
    Dialogues,
    Vault,
    Memory,
    Assistants,
    Feedback,
    Sessions,
}

/// A record under an id that no other record has; unless its client sent an epoch, it is of the moment it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Without an institution; of what is nested, whether its conversation is.
    pub(crate) personal: bool,
    pub(crate) within: Option<String>,
    pub(crate) bytes: i64,
    pub(crate) has_content: bool,
}

/// A call and its answer. Times are nanoseconds of one clock, that of `created_at`.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) client: usize,
    pub(crate) invoked: i64,
    pub(crate) returned: i64,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Import {
        records: Vec<Record>,
        /// When the client asked for the epoch that it sent, and when it was told.
        observed: Option<(i64, i64)>,
        /// `None` when others were in the way: any part of it may have been taken.
        rejected: Option<Rejected>,
    },
    /// How many erasures there were.
    Status { epoch: i64 },
    /// `None` when it ended because of an erasure.
    Export(Option<Shown>),
    /// `None` when others were in the way: it has not happened.
    Erasure { scopes: BTreeSet<Scope>, report: Option<Report> },
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Rejected {
    pub(crate) records: BTreeSet<String>,
    /// Uploads whose content was.
    pub(crate) contents: BTreeSet<String>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Shown {
    pub(crate) ids: Vec<String>,
    /// Uploads without their whole content.
    pub(crate) without_content: BTreeSet<String>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Report {
    pub(crate) erased: BTreeMap<Kind, i64>,
    pub(crate) bytes: i64,
    /// Uploads whose object could not be removed.
    pub(crate) failed: BTreeSet<String>,
    /// Rows that were found again.
    pub(crate) remaining: i64,
}
