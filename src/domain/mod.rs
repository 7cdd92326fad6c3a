//! What things mean: subjects, principals, scopes, categories, records, positions, reports. Pure: no async, no engine, no wire format.

pub mod api_key;
pub mod catalogue;
pub mod category;
pub mod counts;
pub mod digest;
pub mod erasure;
pub mod import;
pub mod limits;
pub mod message_run;
pub mod position;
pub mod principal;
pub mod record;
pub mod report;
pub mod resume_token;
pub mod scope;
pub mod secret;
pub mod subject;
pub mod timestamp;
pub mod violation;
