//! The kinds of personal data.

/// A kind of personal data, in the order in which an export sends them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Category {
    /// Conversations, without what is nested in them.
    Conversations = 1,
    /// Messages, nested in their conversations.
    Messages = 2,
    /// Feedback, nested or detached.
    Feedback = 3,
    /// Memories.
    Memories = 4,
    /// Uploaded files.
    Uploads = 5,
    /// Assistants.
    Assistants = 6,
    /// Login sessions.
    Sessions = 7,
    /// Summaries of conversations.
    CompactionCache = 8,
}

impl Category {
    /// All categories, in order.
    pub const ALL: [Self; 8] = [
        Self::Conversations,
        Self::Messages,
        Self::Feedback,
        Self::Memories,
        Self::Uploads,
        Self::Assistants,
        Self::Sessions,
        Self::CompactionCache,
    ];

    /// The category's name, as the tables and the contract's counts have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conversations => "conversations",
            Self::Messages => "messages",
            Self::Feedback => "feedback",
            Self::Memories => "memories",
            Self::Uploads => "uploads",
            Self::Assistants => "assistants",
            Self::Sessions => "sessions",
            Self::CompactionCache => "compaction_cache",
        }
    }
}

/// A set of categories.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Categories(u16);

impl Categories {
    /// Everything held: the legal default.
    pub fn all() -> Self {
        Self::choose(&Category::ALL)
    }

    /// What was asked for; nothing means everything.
    pub fn choose(categories: &[Category]) -> Self {
        if categories.is_empty() { Self::all() } else { categories.iter().copied().collect() }
    }

    /// Whether `category` is in the set.
    pub fn contain(self, category: Category) -> bool {
        self.0 & 1 << category as u8 != 0
    }

    /// Those that are in both sets.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The set as bits, for digests.
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl FromIterator<Category> for Categories {
    fn from_iter<I: IntoIterator<Item = Category>>(categories: I) -> Self {
        Self(categories.into_iter().fold(0, |set, category| set | 1 << category as u8))
    }
}
