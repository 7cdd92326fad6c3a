//! What can be wrong with a document.

use serde_json::error::Category;

/// Why a document could not be read or put together. Never quotes content.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON.
    #[error("is not valid JSON at line {line}, column {column}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// JSON, but not a user document.
    #[error("{path} {problem}")]
    Member {
        /// The full path of the member: `conversations[0].messages[2].role`.
        path: String,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// A piece of an upload's content that does not follow the one before it.
    #[error("the pieces of an upload's content do not follow each other; export again")]
    ContentGap,
}

impl DocumentError {
    /// Says where and what, without what the parser quotes.
    pub(super) fn reading(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let cause = error.inner();
        if cause.classify() != Category::Data {
            return Self::Syntax { line: cause.line(), column: cause.column() };
        }
        let text = cause.to_string();
        let text = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
        let path = error.path().to_string();
        let join = |parent: &str, name: &str| if parent.is_empty() || parent == "." { name.to_owned() } else { format!("{parent}.{name}") };

        let (path, problem) = if let Some(name) = text.strip_prefix("missing field ") {
            (join(&path, name.trim_matches('`')), "is missing; set it".to_owned())
        } else if text.starts_with("unknown field ") {
            (path, "is not a member of this record; remove it".to_owned())
        } else if let Some(name) = text.strip_prefix("duplicate field ") {
            (join(&path, name.trim_matches('`')), "is there twice; keep one".to_owned())
        } else if text.starts_with("unknown variant ") {
            (path, format!("is not one of the known values; choose {}", expected(text)))
        } else if text.starts_with("invalid ") {
            (path, format!("has the wrong type or size; make it {}", expected(text)))
        } else {
            (path, text.to_owned())
        };
        let path = if path == "." { "the document".to_owned() } else { path };
        Self::Member { path, problem }
    }
}

/// What a parser's message says it expected. What stands before it may quote content.
fn expected(text: &str) -> &str {
    const WORD: &str = ", expected ";
    match text.rfind(WORD).map(|start| &text[start + WORD.len()..]) {
        None => "another value",
        Some(record) if record.starts_with("struct ") => "an object",
        Some(expected) => expected,
    }
}
