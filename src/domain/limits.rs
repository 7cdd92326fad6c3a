//! How much of anything.

use std::time::Duration;

/// The longest that an export or an import may be allowed to run.
pub const LONGEST_STREAM_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// The size at which a frame of an export is sent.
pub const FRAME_TARGET_BYTES: usize = 256 * 1024;

/// No frame of an export is larger: a quarter of what default clients take.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// The largest encoded record. With the header of its conversation and a resume token it still fits a frame.
pub const MAX_RECORD_BYTES: usize = 896 * 1024;

/// The largest request: room for the largest record, and for one too large to be told what is wrong with it.
pub const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;

/// The largest request of a call that has only one: many times what any field of it may be.
pub const MAX_CALL_BYTES: usize = 64 * 1024;

/// The largest request of a call that needs no credential.
pub const MAX_STRANGERS_BYTES: usize = 4 * 1024;

/// How many elements the lists of one request of an import hold, those of lists in lists among them: several times what 256 KiB of the
/// smallest records have.
pub const MAX_ELEMENTS: usize = 50_000;

/// How deep JSON may be nested.
pub const MAX_JSON_DEPTH: usize = 128;

/// The size of one piece of an upload's content in an export.
pub const CONTENT_PIECE_BYTES: usize = 256 * 1024;

/// The largest piece of an upload's content in an import.
pub const MAX_CONTENT_PIECE_BYTES: usize = 1024 * 1024;

/// How many rejected records an import explains.
pub const MAX_REJECTIONS: usize = 1_000;
