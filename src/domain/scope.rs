//! What a scoped delete asks for.

/// The scopes of one scoped delete; at least one is set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Scopes(Chosen);

/// Which scopes a caller set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Chosen {
    /// Forget personal conversations.
    pub dialogues: bool,
    /// Delete personal uploads.
    pub vault: bool,
    /// Delete personal memories.
    pub memory: bool,
    /// Soft-delete personal assistants.
    pub assistants: bool,
    /// Soft-delete the user's feedback.
    pub feedback: bool,
    /// Delete the user's sessions.
    pub sessions: bool,
}

impl Scopes {
    /// The chosen scopes, or `None` where none is chosen.
    pub fn new(chosen: Chosen) -> Option<Self> {
        (chosen != Chosen::default()).then_some(Self(chosen))
    }

    /// Which they are.
    pub fn chosen(self) -> Chosen {
        self.0
    }
}
