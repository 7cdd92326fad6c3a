//! One file per table, as the migrations make it.

pub(super) mod api_key;
