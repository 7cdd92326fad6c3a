//! An erasure looks again before it is committed: it succeeds when nothing is left, and else has not happened.

use super::Error;
use crate::{
    domain::report::{Remaining, Residue},
    fault::planted,
};

/// That no row remains of those an erasure had to take; files are not for the database to say.
pub(super) fn nothing_remains(remaining: &Remaining) -> Result<(), Error> {
    let Remaining { messages, compaction_cache, dialogues, uploads, objects: _, embeddings, memories, assistants, feedback, sessions } =
        *remaining;
    let rows = [
        ("messages", messages),
        ("compaction_cache", compaction_cache),
        ("dialogues", dialogues),
        ("uploads", uploads),
        ("embeddings", embeddings),
        ("memories", memories),
        ("assistants", assistants),
        ("feedback", feedback),
        ("sessions", sessions),
    ];
    none(&rows)
}

/// That no text remains, where the texts had to go.
pub(super) fn no_text_remains(residue: &Residue) -> Result<(), Error> {
    none(&[("titles", residue.titles), ("notes", residue.feedback_notes)])
}

fn none(rows: &[(&str, u64)]) -> Result<(), Error> {
    let left: Vec<String> = rows.iter().filter(|(_, rows)| *rows > 0).map(|(kind, rows)| format!("{kind}={rows}")).collect();
    if left.is_empty() || planted("bug.not-verified") { Ok(()) } else { Err(Error::Remained(left.join(" "))) }
}
