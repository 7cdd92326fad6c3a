//! Uploads. Documents may hold their content, which travels apart from the record.

use std::borrow::Cow;

use prost_types::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    records::base64_text,
    time::{rfc3339, rfc3339_or_null},
};
use crate::grpc::proto::Upload;

/// An upload as documents have it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UploadForm<'a> {
    id: Cow<'a, str>,
    file_name: Cow<'a, str>,
    content_type: Cow<'a, str>,
    size_bytes: i64,
    status: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    institution_id: Option<Cow<'a, str>>,
    #[serde(with = "rfc3339")]
    created_at: Option<Timestamp>,
    #[serde(with = "rfc3339_or_null", default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content<'a>>,
}

struct Content<'a>(Cow<'a, [u8]>);

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        base64_text::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Content<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        base64_text::deserialize(deserializer).map(|bytes| Self(Cow::Owned(bytes)))
    }
}

impl<'a> UploadForm<'a> {
    pub(super) fn of(upload: &'a Upload, content: Option<&'a Vec<u8>>) -> Self {
        Self {
            id: Cow::Borrowed(&upload.id),
            file_name: Cow::Borrowed(&upload.file_name),
            content_type: Cow::Borrowed(&upload.content_type),
            size_bytes: upload.size_bytes,
            status: Cow::Borrowed(&upload.status),
            institution_id: upload.institution_id.as_deref().map(Cow::Borrowed),
            created_at: upload.created_at,
            deleted_at: upload.deleted_at,
            content: content.map(|bytes| Content(Cow::Borrowed(bytes))),
        }
    }

    pub(super) fn into_parts(self) -> (Upload, Option<Vec<u8>>) {
        let upload = Upload {
            id: self.id.into_owned(),
            file_name: self.file_name.into_owned(),
            content_type: self.content_type.into_owned(),
            size_bytes: self.size_bytes,
            status: self.status.into_owned(),
            institution_id: self.institution_id.map(Cow::into_owned),
            created_at: self.created_at,
            deleted_at: self.deleted_at,
        };
        (upload, self.content.map(|content| content.0.into_owned()))
    }
}
