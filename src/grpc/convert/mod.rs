//! Between the contract's types and the domain's. What comes in is checked here, field by field, and every complaint is collected.

pub(super) mod import;
pub(super) mod message;
pub(super) mod record;
pub(super) mod report;
pub(super) mod request;
pub(super) mod time;

use crate::domain::{
    subject::check_name,
    timestamp::Timestamp,
    violation::{Complaint, FieldViolation},
};

/// The complaints about one record or request, with paths relative to it.
#[derive(Default)]
pub(super) struct Complaints(Vec<FieldViolation>);

impl Complaints {
    pub(super) fn add(&mut self, field: impl Into<String>, complaint: Complaint) {
        self.0.push(FieldViolation::new(field, complaint));
    }

    /// The value, or all complaints.
    pub(super) fn or<T>(self, value: T) -> Result<T, Vec<FieldViolation>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }

    /// A name: present, short, without control characters.
    fn name(&mut self, field: &str, value: String) -> String {
        check_name(value).unwrap_or_else(|complaint| {
            self.add(field, complaint);
            String::new()
        })
    }

    /// A name that may be absent.
    fn optional_name(&mut self, field: &str, value: Option<String>) -> Option<String> {
        value.map(|value| self.name(field, value))
    }

    /// Any text that PostgreSQL can store.
    fn text(&mut self, field: &str, value: String) -> String {
        if value.contains('\0') {
            self.add(field, Complaint::Nul);
        }
        value
    }

    fn optional_text(&mut self, field: &str, value: Option<String>) -> Option<String> {
        value.map(|value| self.text(field, value))
    }

    fn texts(&mut self, field: &str, values: Vec<String>) -> Vec<String> {
        if let Some(index) = values.iter().position(|value| value.contains('\0')) {
            self.add(format!("{field}[{index}]"), Complaint::Nul);
        }
        values
    }

    fn count(&mut self, field: &str, value: i32) -> i32 {
        if value < 0 {
            self.add(field, Complaint::Negative);
        }
        value
    }

    fn time(&mut self, field: &str, value: Option<prost_types::Timestamp>) -> Timestamp {
        if value.is_none() {
            self.add(field, Complaint::Missing);
        }
        self.optional_time(field, value).unwrap_or_default()
    }

    fn optional_time(&mut self, field: &str, value: Option<prost_types::Timestamp>) -> Option<Timestamp> {
        let value = value?;
        let time = Timestamp::from_parts(value.seconds, value.nanos);
        if time.is_none() {
            self.add(field, Complaint::TimeOutOfRange);
        }
        time
    }
}
