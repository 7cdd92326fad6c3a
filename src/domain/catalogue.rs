//! The category catalogue: for every table and column whose it is, whether an export shows it, and what each operation does to it.
//!
//! It decides nothing: the operations are written out in `operations` and `repository`. It says what they do, in one place that can be
//! read, and tests compare it with the migrated schema, with the contract, and with what the operations really change. The objects in the
//! object store are in no table: each belongs to a row of `uploads`, and goes before that row is marked as deleted.

use self::{
    Nature::{Credential, Key, Operational, Personal},
    OnImport::{Kept, Never, Replaced},
    Operation::{Assistants, DeleteUserMessages, Dialogues, Feedback, Memory, ScrubResidue, Sessions, Vault},
    Rows::{Derived, Every, WithoutInstitution},
    Shown::{As, No},
};

/// A table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name in the schema.
    pub name: &'static str,
    /// Whose its rows are.
    pub whose: Whose,
    /// The operations that remove rows of it, and which of the subject's rows.
    pub removed_by: &'static [(Operation, Rows)],
    /// All its columns.
    pub columns: &'static [Column],
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name in the schema.
    pub name: &'static str,
    /// What it holds.
    pub nature: Nature,
    /// Whether an export shows it.
    pub shown: Shown,
    /// What an import does to it in a row that is there already.
    pub on_import: OnImport,
    /// The erasures that change it, and in which of the subject's rows.
    pub set_by: &'static [(Operation, Rows)],
}

/// Whose the rows of a table are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// A subject's: personal data. `subject_id` comes first in the primary key.
    Subject,
    /// The subjects themselves: the row that all personal data hangs on. No operation removes it.
    Subjects,
    /// An application's.
    Application,
    /// The service's own.
    Service,
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nature {
    /// Personal data.
    Personal,
    /// What names the row, or the row it belongs to.
    Key,
    /// What the service or the platform needs to do its work.
    Operational,
    /// What proves or permits something.
    Credential,
}

/// Whether an export shows a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// As this field of the contract; `Message.*` is all fields of a message that are not shown by another column.
    As(&'static str),
    /// Not, and why not.
    No(&'static str),
}

/// What an import does to a column of a row that is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnImport {
    /// The new record's value takes its place.
    Replaced,
    /// It stays as it was when the row was made.
    Kept,
    /// No import writes such rows.
    Never,
}

/// What erases something. Each scope of a scoped delete is one of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// All messages.
    DeleteUserMessages,
    /// What `scrub_residue` adds to that.
    ScrubResidue,
    /// The scope `dialogues`.
    Dialogues,
    /// The scope `vault`.
    Vault,
    /// The scope `memory`.
    Memory,
    /// The scope `assistants`.
    Assistants,
    /// The scope `feedback`.
    Feedback,
    /// The scope `sessions`.
    Sessions,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] = [DeleteUserMessages, ScrubResidue, Dialogues, Vault, Memory, Assistants, Feedback, Sessions];
}

/// Which rows of the subject an operation reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rows {
    /// All, whatever the institution.
    Every,
    /// The personal ones: without an institution.
    WithoutInstitution,
    /// Those derived from rows of this table that are personal.
    Derived(&'static str),
}

/// The tables that hold personal data, every one by subject.
pub fn personal_tables() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| table.whose == Whose::Subject)
}

/// A column that no erasure changes in place.
const fn column(name: &'static str, nature: Nature, shown: Shown, on_import: OnImport) -> Column {
    Column { name, nature, shown, on_import, set_by: &[] }
}

impl Column {
    const fn set_by(self, set_by: &'static [(Operation, Rows)]) -> Self {
        Self { set_by, ..self }
    }
}

const SUBJECT_ID: Column = column("subject_id", Key, No("a number of this database"), Kept);
const SORTS: Shown = No("a copy for sorting");
const SECRET: Shown = No("not about a user");
const ABOUT_ERASURE: Shown = No("what an erasure did: counts, ids of failed files, a digest of who and what was asked for");
const INTERNAL: Shown = No("of no meaning outside");
const EVERY_ERASURE: &[(Operation, Rows)] = &[
    (DeleteUserMessages, Every),
    (Dialogues, Every),
    (Vault, Every),
    (Memory, Every),
    (Assistants, Every),
    (Feedback, Every),
    (Sessions, Every),
];

/// Every table of the schema.
pub const TABLES: &[Table] = &[
    Table {
        name: "subjects",
        whose: Whose::Subjects,
        removed_by: &[],
        columns: &[
            column("id", Key, No("a number of this database"), Kept),
            column("application_id", Key, No("the caller's own"), Kept),
            column("user_token", Personal, No("the caller names it"), Kept),
            column("epoch", Operational, INTERNAL, Kept).set_by(EVERY_ERASURE),
            column("created_at", Operational, INTERNAL, Kept),
            column("revision", Operational, INTERNAL, Replaced),
            column("messages_erased_at", Operational, INTERNAL, Kept).set_by(&[(DeleteUserMessages, Every)]),
            column("texts_scrubbed_at", Operational, INTERNAL, Kept).set_by(&[(ScrubResidue, Every)]),
            column("dialogues_erased_at", Operational, INTERNAL, Kept).set_by(&[(Dialogues, Every)]),
            column("vault_erased_at", Operational, INTERNAL, Kept).set_by(&[(Vault, Every)]),
            column("memory_erased_at", Operational, INTERNAL, Kept).set_by(&[(Memory, Every)]),
            column("assistants_erased_at", Operational, INTERNAL, Kept).set_by(&[(Assistants, Every)]),
            column("feedback_erased_at", Operational, INTERNAL, Kept).set_by(&[(Feedback, Every)]),
            column("sessions_erased_at", Operational, INTERNAL, Kept).set_by(&[(Sessions, Every)]),
        ],
    },
    Table {
        name: "conversations",
        whose: Whose::Subject,
        removed_by: &[],
        columns: &[
            SUBJECT_ID,
            column("created_at", Personal, As("Conversation.created_at"), Replaced),
            column("id", Key, As("Conversation.id"), Kept),
            column("agent_id", Personal, As("Conversation.agent_id"), Replaced),
            column("title", Personal, As("Conversation.title"), Replaced).set_by(&[(ScrubResidue, Every)]),
            column("updated_at", Personal, As("Conversation.updated_at"), Replaced),
            column("last_activity_at", Personal, As("Conversation.last_activity_at"), Replaced),
            column("is_from_dashboard", Personal, As("Conversation.is_from_dashboard"), Replaced),
            column("message_count", Personal, As("Conversation.message_count"), Replaced).set_by(&[(DeleteUserMessages, Every)]),
            column("total_input_tokens", Operational, As("Conversation.total_input_tokens"), Replaced),
            column("total_output_tokens", Operational, As("Conversation.total_output_tokens"), Replaced),
            column("total_tokens", Operational, As("Conversation.total_tokens"), Replaced),
            column("has_metadata", Personal, As("Conversation.conversation_metadata"), Replaced),
            column("metadata_cached_at", Personal, As("ConversationMetadata.cached_at"), Replaced),
            column("institution_id", Personal, As("Conversation.institution_id"), Replaced),
            column("forgotten_at", Operational, As("Conversation.forgotten_at"), Kept).set_by(&[(Dialogues, WithoutInstitution)]),
        ],
    },
    Table {
        name: "messages",
        whose: Whose::Subject,
        removed_by: &[(DeleteUserMessages, Every)],
        columns: &[
            SUBJECT_ID,
            column("conversation_created_at", Key, SORTS, Replaced),
            column("conversation_id", Key, As("Message.conversation_id"), Kept),
            column("created_at", Personal, As("Message.created_at"), Replaced),
            column("id", Key, As("Message.id"), Kept),
            column("body", Personal, As("Message.*"), Replaced),
            column("digest", Personal, No("goes into the summary's `sha256`"), Replaced),
        ],
    },
    Table {
        name: "feedback",
        whose: Whose::Subject,
        removed_by: &[],
        columns: &[
            SUBJECT_ID,
            column("created_at", Personal, As("Feedback.created_at"), Replaced),
            column("id", Key, As("Feedback.id"), Kept),
            column("conversation_created_at", Key, SORTS, Replaced),
            column("conversation_id", Key, As("Conversation.feedback"), Replaced),
            column("agent_id", Personal, As("Feedback.agent_id"), Replaced),
            column("message_id", Personal, As("Feedback.message_id"), Replaced),
            column("vote", Personal, As("Feedback.vote"), Replaced),
            column("tags", Personal, As("Feedback.tags"), Replaced),
            column("notes", Personal, As("Feedback.notes"), Replaced).set_by(&[(ScrubResidue, Every)]),
            column("model", Personal, As("Feedback.model"), Replaced),
            column("updated_at", Personal, As("Feedback.updated_at"), Replaced),
            column("deleted_at", Operational, As("Feedback.deleted_at"), Kept).set_by(&[(Feedback, Every)]),
        ],
    },
    Table {
        name: "memories",
        whose: Whose::Subject,
        removed_by: &[(Memory, WithoutInstitution)],
        columns: &[
            SUBJECT_ID,
            column("created_at", Personal, As("Memory.created_at"), Replaced),
            column("id", Key, No("the object id, or a digest of the content"), Kept),
            column("object_id", Key, As("Memory.object_id"), Kept),
            column("text", Personal, As("Memory.text"), Replaced),
            column("raw_extract", Personal, As("Memory.raw_extract"), Replaced),
            column("memory_type", Personal, As("Memory.memory_type"), Replaced),
            column("episode", Personal, As("Memory.episode"), Replaced),
            column("keywords", Personal, As("Memory.keywords"), Replaced),
            column("topics", Personal, As("Memory.topics"), Replaced),
            column("tags", Personal, As("Memory.tags"), Replaced),
            column("recall_triggers", Personal, As("Memory.recall_triggers"), Replaced),
            column("agent_ids", Personal, As("Memory.agent_ids"), Replaced),
            column("app_id", Personal, As("Memory.app_id"), Replaced),
            column("user_id", Personal, As("Memory.user_id"), Replaced),
            column("institution_id", Personal, As("Memory.institution_id"), Replaced),
            column("updated_at", Personal, As("Memory.updated_at"), Replaced),
        ],
    },
    Table {
        name: "uploads",
        whose: Whose::Subject,
        removed_by: &[],
        columns: &[
            SUBJECT_ID,
            column("created_at", Personal, As("Upload.created_at"), Replaced),
            column("id", Key, As("Upload.id"), Kept),
            column("file_name", Personal, As("Upload.file_name"), Replaced),
            column("content_type", Personal, As("Upload.content_type"), Replaced),
            column("size_bytes", Personal, As("Upload.size_bytes"), Replaced),
            column("status", Operational, As("Upload.status"), Replaced).set_by(&[(Vault, WithoutInstitution)]),
            column("institution_id", Personal, As("Upload.institution_id"), Replaced),
            column("deleted_at", Operational, As("Upload.deleted_at"), Kept).set_by(&[(Vault, WithoutInstitution)]),
            column("has_content", Operational, INTERNAL, Kept).set_by(&[(Vault, WithoutInstitution)]),
            column("content_begun_at", Operational, INTERNAL, Kept),
            // Set and unset again by one erasure, if the object can be removed.
            column("removal_since", Operational, INTERNAL, Kept),
            column("removal_attempts", Operational, INTERNAL, Kept),
            column("removal_next_at", Operational, INTERNAL, Kept),
            column("removal_error", Operational, INTERNAL, Kept),
        ],
    },
    Table {
        name: "upload_embeddings",
        whose: Whose::Subject,
        removed_by: &[(Vault, Derived("uploads"))],
        columns: &[
            SUBJECT_ID,
            column("upload_id", Key, No("derived from the content"), Kept),
            column("chunk_index", Key, No("derived from the content"), Kept),
            column("model", Operational, No("derived from the content"), Replaced),
            column("vector", Personal, No("derived from the content, says nothing to a person"), Replaced),
        ],
    },
    Table {
        name: "assistants",
        whose: Whose::Subject,
        removed_by: &[],
        columns: &[
            SUBJECT_ID,
            column("created_at", Personal, As("Assistant.created_at"), Replaced),
            column("id", Key, As("Assistant.id"), Kept),
            column("name", Personal, As("Assistant.name"), Replaced),
            column("description", Personal, As("Assistant.description"), Replaced),
            column("instructions", Personal, As("Assistant.instructions"), Replaced),
            column("status", Operational, As("Assistant.status"), Replaced).set_by(&[(Assistants, WithoutInstitution)]),
            column("institution_id", Personal, As("Assistant.institution_id"), Replaced),
            column("updated_at", Personal, As("Assistant.updated_at"), Replaced),
            column("deleted_at", Operational, As("Assistant.deleted_at"), Kept).set_by(&[(Assistants, WithoutInstitution)]),
        ],
    },
    Table {
        name: "sessions",
        whose: Whose::Subject,
        removed_by: &[(Sessions, Every)],
        columns: &[
            SUBJECT_ID,
            column("created_at", Personal, As("Session.created_at"), Replaced),
            column("id", Key, As("Session.id"), Kept),
            column("ip_address", Personal, As("Session.ip_address"), Replaced),
            column("user_agent", Personal, As("Session.user_agent"), Replaced),
            column("device", Personal, As("Session.device"), Replaced),
            column("last_active_at", Personal, As("Session.last_active_at"), Replaced),
        ],
    },
    Table {
        name: "compaction_cache",
        whose: Whose::Subject,
        removed_by: &[(DeleteUserMessages, Every), (Dialogues, Derived("conversations"))],
        columns: &[
            SUBJECT_ID,
            column("created_at", Personal, As("CompactionCacheEntry.created_at"), Replaced),
            column("id", Key, As("CompactionCacheEntry.id"), Kept),
            column("conversation_id", Key, As("CompactionCacheEntry.conversation_id"), Replaced),
            column("text", Personal, As("CompactionCacheEntry.text"), Replaced),
        ],
    },
    Table {
        name: "accepted_requests",
        whose: Whose::Application,
        removed_by: &[],
        columns: &[
            column("application_id", Key, SECRET, Never),
            column("request_id", Key, SECRET, Never),
            column("digest", Personal, ABOUT_ERASURE, Never),
            column("response", Personal, ABOUT_ERASURE, Never),
            column("is_final", Operational, SECRET, Never),
            column("accepted_at", Operational, SECRET, Never),
        ],
    },
    Table {
        name: "api_keys",
        whose: Whose::Application,
        removed_by: &[],
        columns: &[
            column("id", Key, SECRET, Never),
            column("application_id", Key, SECRET, Never),
            column("digest", Credential, SECRET, Never),
            column("permissions", Credential, SECRET, Never),
            column("created_at", Operational, SECRET, Never),
            column("expires_at", Credential, SECRET, Never),
            column("revoked_at", Credential, SECRET, Never),
        ],
    },
    Table {
        name: "seaql_migrations",
        whose: Whose::Service,
        removed_by: &[],
        columns: &[column("version", Operational, INTERNAL, Never), column("applied_at", Operational, INTERNAL, Never)],
    },
];
