//! Records counted by category.

use super::category::Category;

/// How many records of each category.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordCounts([u32; Category::ALL.len()]);

impl RecordCounts {
    /// Counts `more` records of a category.
    pub fn add(&mut self, category: Category, more: u32) {
        let count = &mut self.0[category as usize - 1];
        *count = count.saturating_add(more);
    }

    /// How many there are of a category.
    pub fn of(&self, category: Category) -> u32 {
        self.0[category as usize - 1]
    }

    /// How many there are in all.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }
}
