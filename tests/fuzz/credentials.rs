//! API keys and JWTs, as the interceptor reads them from a request's headers: no change to a good one makes another good one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use tonic::{Request, metadata::AsciiMetadataValue, service::Interceptor};
use userdata::{
    config::auth::{AuthConfig, IssuerConfig, IssuerKeys, JwtAlgorithm},
    domain::{
        api_key::{ApiKey, RANDOM_BYTES},
        principal::{Permissions, Principal},
        subject::ApplicationId,
        timestamp::{Clock, Timestamp},
    },
    grpc::auth::{AuthInterceptor, Issuers, KeyRing},
};

use crate::{bounded::fuzz, mutant};

const SECRET: &[u8] = b"a shared secret of thirty-five bytes";
const APPLICATION: &str = "ACME";

fn application() -> ApplicationId {
    ApplicationId::parse(APPLICATION).unwrap()
}

/// Whom the interceptor takes the bearer of this header for.
fn principal(interceptor: &AuthInterceptor, name: &'static str, value: &[u8]) -> Option<Principal> {
    let value = AsciiMetadataValue::try_from(value).ok()?;
    let mut request = Request::new(());
    request.metadata_mut().insert("x-application-id", APPLICATION.parse().unwrap());
    request.metadata_mut().insert(name, value);
    interceptor.clone().call(request).ok()?.extensions().get().cloned()
}

#[test]
fn no_change_to_an_api_key_is_accepted() {
    let (key, text) = ApiKey::mint(&[7; RANDOM_BYTES], application(), Permissions::default(), Timestamp(0), None);
    let text = text.expose().as_bytes().to_vec();
    let ring = Arc::new(KeyRing::default());
    let interceptor = AuthInterceptor::new(Arc::clone(&ring), Arc::new(Issuers::new(&AuthConfig::default()).unwrap()), Clock::default());
    let seeds = [vec![text.clone()], mutant::lines("tokens/api-keys.txt")].concat();
    fuzz(&seeds, |way, shown| {
        ring.refresh([key.clone()], Instant::now());
        let name = if way % 2 == 0 { "x-api-key" } else { "x-algolia-api-key" };
        assert_eq!(principal(&interceptor, name, shown).is_some(), shown == text);
    });
}

#[test]
fn no_change_to_a_jwt_is_accepted() {
    let keys = IssuerKeys::Hmac(SECRET.to_vec());
    let (issuer, audience, algorithm) = ("id".to_owned(), "userdata".to_owned(), JwtAlgorithm::Hs256);
    let issuer = IssuerConfig { issuer, application: application(), audience, algorithm, keys };
    // The seeds do not age.
    let max_life = Duration::from_secs(100 * 366 * 24 * 60 * 60);
    let issuers = Issuers::new(&AuthConfig { issuers: vec![issuer], max_life, ..AuthConfig::default() }).unwrap();
    let interceptor = AuthInterceptor::new(Arc::default(), Arc::new(issuers), Clock::default());
    let (headers, claims) = (mutant::lines("tokens/headers.txt"), mutant::lines("tokens/claims.txt"));
    let good: Vec<Vec<u8>> = claims.iter().map(|claims| signed(&headers[0], claims)).collect();
    assert!(principal(&interceptor, "x-access-token", &good[0]).is_some(), "the first seed is no good token");
    fuzz(&good, |way, token| {
        let header = if way % 2 == 0 { "x-access-token" } else { "authorization" };
        let value = if way % 2 == 0 { token.to_vec() } else { [b"Bearer ", token].concat() };
        assert!(principal(&interceptor, header, &value).is_none() || good.iter().any(|good| good == token), "a changed token was accepted");
    });
    // What an issuer could sign, by mistake or because it was tricked: accepted only for the one application.
    fuzz(&[claims.clone(), headers.clone()].concat(), |way, json| {
        let token = if way % 3 == 0 {
            signed(json, &claims[usize::from(way) % claims.len()])
        } else {
            signed(&headers[usize::from(way) % headers.len()], json)
        };
        if let Some(principal) = principal(&interceptor, "x-access-token", &token) {
            assert_eq!(principal.application().as_str(), APPLICATION);
            assert!(matches!(principal, Principal::User { .. }));
        }
    });
}

/// A token of these JSON texts, whatever they are.
fn signed(header: &[u8], claims: &[u8]) -> Vec<u8> {
    let said = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = sign(said.as_bytes(), &EncodingKey::from_secret(SECRET), Algorithm::HS256).unwrap();
    format!("{said}.{signature}").into_bytes()
}
