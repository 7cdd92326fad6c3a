//! What must never reach a log, an error or a terminal by accident.

/// A text that neither `Debug` nor `Display` shows: there is no `Display`, and `Debug` prints a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// A `Debug` that shows the names of types, and nothing of what they hold.
macro_rules! shows_nothing {
    ($($holds:ty),+) => {$(
        impl ::std::fmt::Debug for $holds {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(concat!(stringify!($holds), "(…)"))
            }
        }
    )+};
}
pub(crate) use shows_nothing;

shows_nothing!(Secret);
