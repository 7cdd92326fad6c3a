//! The credential in a request's metadata: exactly one, however it is spelled.

use tonic::metadata::MetadataMap;

use super::refusal::Refusal;

const APPLICATION: [&str; 2] = ["x-algolia-application-id", "x-application-id"];
const API_KEY: [&str; 2] = ["x-algolia-api-key", "x-api-key"];
const ACCESS_TOKEN: &str = "x-access-token";
const AUTHORIZATION: &str = "authorization";

/// What a caller shows to prove who it is.
#[derive(PartialEq, Eq)]
pub(super) struct Credential<'a> {
    /// The application it says it belongs to. Proves nothing; must agree with `proof`.
    pub(super) application: Option<&'a str>,
    pub(super) proof: Proof<'a>,
}

#[derive(PartialEq, Eq)]
pub(super) enum Proof<'a> {
    ApiKey(&'a str),
    Jwt(&'a str),
}

impl<'a> Credential<'a> {
    pub(super) fn read(metadata: &'a MetadataMap) -> Result<Self, Refusal> {
        let [application, api_key] =
            [APPLICATION, API_KEY].map(|[first, second]| agree(header(metadata, first)?, header(metadata, second)?));
        let bearer = header(metadata, AUTHORIZATION)?.map(|value| bearer(value).ok_or(Refusal::NotBearer)).transpose()?;
        let jwt = agree(header(metadata, ACCESS_TOKEN)?, bearer)?;
        let proof = match (api_key?, jwt) {
            (Some(key), None) => Proof::ApiKey(key),
            (None, Some(token)) => Proof::Jwt(token),
            (Some(_), Some(_)) => return Err(Refusal::Disagreement),
            (None, None) => return Err(Refusal::Absent),
        };
        Ok(Self { application: application?, proof })
    }
}

fn header<'a>(metadata: &'a MetadataMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = metadata.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::RepeatedHeader);
    }
    first.map(|value| value.to_str().map_err(|_| Refusal::NotText)).transpose()
}

/// One value from two spellings.
fn agree<'a>(first: Option<&'a str>, second: Option<&'a str>) -> Result<Option<&'a str>, Refusal> {
    match (first, second) {
        (Some(first), Some(second)) if first != second => Err(Refusal::Disagreement),
        _ => Ok(first.or(second)),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}
