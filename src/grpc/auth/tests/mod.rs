//! The credentials, whole: what is believed, and that everything else gets one answer.

mod api_keys;
mod issuer_keys;
mod jwt_attacks;
mod wycheproof;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use tonic::{
    Code, Request, Status,
    metadata::{MetadataKey, MetadataMap},
    service::Interceptor,
};
use tonic_types::StatusExt;

use super::{AuthInterceptor, Belief, IssuerError, Issuers, KeyError, KeyRing, key_ring::MAX_AGE};
use crate::{
    config::auth::{AuthConfig, IssuerConfig, IssuerKeys, JwtAlgorithm},
    domain::{
        api_key::{ApiKey, RANDOM_BYTES},
        principal::{Permission, Permissions, Principal},
        subject::{ApplicationId, UserToken},
        timestamp::{Clock, Timestamp},
    },
    grpc::status,
};

const SECRET: &[u8] = b"a secret of thirty-two bytes....";
const NOW: Timestamp = Timestamp(1_000);

/// A key pair made for one test, in the forms that issuers and configuration know.
struct Pair {
    algorithm: Algorithm,
    private: EncodingKey,
    public_pem: String,
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn public_pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

fn rsa_private_pem(key: &RsaKeyPair) -> String {
    pem("PRIVATE KEY", AsDer::<Pkcs8V1Der<'_>>::as_der(key).unwrap().as_ref())
}

fn ecdsa_private_pem(key: &EcdsaKeyPair) -> String {
    pem("PRIVATE KEY", key.to_pkcs8v1().unwrap().as_ref())
}

fn rsa() -> Pair {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private = EncodingKey::from_rsa_pem(rsa_private_pem(&key).as_bytes()).unwrap();
    Pair { algorithm: Algorithm::RS256, private, public_pem: public_pem(key.public_key()) }
}

fn ecdsa() -> Pair {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let private = EncodingKey::from_ec_pem(ecdsa_private_pem(&key).as_bytes()).unwrap();
    Pair { algorithm: Algorithm::ES256, private, public_pem: public_pem(key.public_key()) }
}

fn eddsa() -> Pair {
    let key = Ed25519KeyPair::generate().unwrap();
    let private = EncodingKey::from_ed_der(AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap().as_ref());
    Pair { algorithm: Algorithm::EdDSA, private, public_pem: public_pem(key.public_key()) }
}

fn hmac() -> Pair {
    Pair { algorithm: Algorithm::HS256, private: EncodingKey::from_secret(SECRET), public_pem: String::new() }
}

impl Pair {
    fn sign(&self, claims: &Value) -> String {
        self.sign_under(&Header::new(self.algorithm), claims)
    }

    fn sign_under(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.private).unwrap()
    }

    fn config(&self, issuer: &str) -> IssuerConfig {
        let (algorithm, keys) = match self.algorithm {
            Algorithm::HS256 => (JwtAlgorithm::Hs256, IssuerKeys::Hmac(SECRET.to_vec())),
            Algorithm::RS256 => (JwtAlgorithm::Rs256, IssuerKeys::Pem(self.public_pem.clone().into())),
            Algorithm::ES256 => (JwtAlgorithm::Es256, IssuerKeys::Pem(self.public_pem.clone().into())),
            _ => (JwtAlgorithm::EdDsa, IssuerKeys::Pem(self.public_pem.clone().into())),
        };
        IssuerConfig { issuer: issuer.into(), application: application("DEMO"), audience: "userdata".into(), algorithm, keys }
    }

    fn jwk(&self, kid: &str) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        jwk.common.key_id = Some(kid.into());
        serde_json::to_value(jwk).unwrap()
    }
}

fn application(id: &str) -> ApplicationId {
    ApplicationId::parse(id).unwrap()
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims(issuer: &str) -> Value {
    json!({"iss": issuer, "aud": "userdata", "sub": "anna", "exp": seconds() + 60})
}

/// Claims with some replaced; null removes one.
fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn metadata(headers: &[(&str, &str)]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        metadata.append(MetadataKey::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    metadata
}

fn jwt(token: &str) -> MetadataMap {
    metadata(&[("x-access-token", token)])
}

fn key(text: &str) -> MetadataMap {
    metadata(&[("x-application-id", "DEMO"), ("x-api-key", text)])
}

fn mint(random: u8, expires_at: Option<Timestamp>) -> (ApiKey, String) {
    let permissions = Permissions::default().with(Permission::Export);
    let (kept, text) = ApiKey::mint(&[random; RANDOM_BYTES], application("DEMO"), permissions, Timestamp(0), expires_at);
    (kept, text.expose().to_owned())
}

fn issuers(issuers: Vec<IssuerConfig>) -> Result<Issuers, IssuerError> {
    Issuers::new(&AuthConfig { issuers, ..AuthConfig::default() })
}

fn interceptor(keys: Vec<ApiKey>, configured: Vec<IssuerConfig>) -> AuthInterceptor {
    let ring = KeyRing::default();
    ring.refresh(keys, Instant::now());
    AuthInterceptor::new(ring.into(), issuers(configured).unwrap().into(), Clock::fixed(NOW))
}

fn call(interceptor: &AuthInterceptor, metadata: MetadataMap) -> Result<Principal, Status> {
    let request = interceptor.clone().call(Request::from_parts(metadata, tonic::Extensions::default(), ()))?;
    Ok(request.extensions().get::<Principal>().unwrap().clone())
}

fn assert_refused(interceptor: &AuthInterceptor, bad: Vec<(&str, MetadataMap)>) {
    let expected = status::unauthenticated();
    for (what, metadata) in bad {
        let Err(refused) = call(interceptor, metadata) else { panic!("accepted: {what}") };
        assert_eq!(refused.code(), Code::Unauthenticated, "{what}");
        assert_eq!(refused.message(), expected.message(), "{what}");
        assert_eq!(refused.details(), expected.details(), "{what}");
        assert!(refused.metadata().is_empty(), "{what}");
    }
}

fn unsigned(header: Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(&header), encode(claims))
}

#[test]
fn a_refusal_says_its_reason_to_programs_and_nothing_else() {
    let info = status::unauthenticated().get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("ERROR_REASON_CREDENTIAL_NOT_ACCEPTED", "userdata"));
    assert!(info.metadata.is_empty());
}

#[test]
fn a_good_key_is_accepted_in_either_spelling_and_in_both() {
    let (kept, text) = mint(1, Some(Timestamp(NOW.0 + 1)));
    let id = kept.id.to_string();
    let interceptor = interceptor(vec![kept], vec![]);
    let neutral = [("x-application-id", "DEMO"), ("x-api-key", text.as_str())];
    let algolia = [("x-algolia-application-id", "DEMO"), ("x-algolia-api-key", text.as_str())];
    for headers in [&neutral[..], &algolia[..], &[neutral, algolia].concat()] {
        match call(&interceptor, metadata(headers)).unwrap() {
            Principal::ApiKey { application, key_id, permissions } => {
                assert_eq!((application.as_str(), key_id.as_str()), ("DEMO", id.as_str()));
                assert!(permissions.contains(Permission::Export) && !permissions.contains(Permission::Import));
            }
            Principal::User { .. } => panic!("a key is no user"),
        }
    }
}

#[test]
fn keys_too_old_admit_nobody_and_say_so() {
    let (kept, text) = mint(1, None);
    let old = Instant::now().checked_sub(MAX_AGE + Duration::from_secs(1)).unwrap();
    let ring = Arc::new(KeyRing::default());
    let issuers = Arc::new(issuers(vec![hmac().config("hs")]).unwrap());
    let interceptor = AuthInterceptor::new(ring.clone(), issuers, Clock::fixed(NOW));

    let assert_unavailable = || {
        let refused = call(&interceptor, key(&text)).unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(refused.get_details_error_info().unwrap().reason, "ERROR_REASON_DATABASE_UNAVAILABLE");
        assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    };
    assert_unavailable();
    ring.refresh([kept.clone()], old);
    assert_unavailable();
    assert_refused(&interceptor, vec![("no key, whatever the age", key("secret"))]);
    assert!(call(&interceptor, jwt(&hmac().sign(&claims("hs")))).is_ok());

    ring.refresh([kept], Instant::now());
    assert!(call(&interceptor, key(&text)).is_ok());
    ring.refresh([], Instant::now());
    assert_refused(&interceptor, vec![("a key that is gone", key(&text))]);
}

#[test]
fn a_good_token_of_every_algorithm_makes_a_user() {
    for pair in [hmac(), rsa(), ecdsa(), eddsa()] {
        let interceptor = interceptor(vec![], vec![pair.config("id")]);
        let anna = Principal::User { application: application("DEMO"), user_token: UserToken::parse("anna").unwrap() };
        let token = pair.sign(&claims("id"));
        let bearer = format!("bearer {token}");
        let spellings = [
            jwt(&token),
            metadata(&[("authorization", &bearer)]),
            metadata(&[("authorization", &bearer), ("x-access-token", &token)]),
            metadata(&[("x-access-token", &token), ("x-algolia-application-id", "DEMO")]),
        ];
        for metadata in spellings {
            assert_eq!(call(&interceptor, metadata).unwrap(), anna, "{:?}", pair.algorithm);
        }
        let fine = [
            json!({"aud": ["other", "userdata"]}),
            json!({"exp": seconds() - 5}),
            json!({"nbf": seconds() + 5}),
            json!({"nbf": seconds() - 60, "extra": {"deep": [1]}}),
        ];
        for changes in fine {
            assert!(call(&interceptor, jwt(&pair.sign(&with(claims("id"), changes.clone())))).is_ok(), "{changes}");
        }
    }
}

#[test]
fn a_token_is_believed_to_its_end_and_no_longer() {
    let pair = hmac();
    let config = AuthConfig { issuers: vec![pair.config("hs")], ..AuthConfig::default() };
    let end = seconds() + 60;
    let (_, until) = Issuers::new(&config).unwrap().principal(&pair.sign(&with(claims("hs"), json!({"exp": end})))).unwrap();
    let last = i64::try_from((end + config.leeway.as_secs()) * 1_000_000_000).unwrap();
    assert_eq!(until, Timestamp(last));
    assert!(Belief::in_jwt(until, Clock::fixed(Timestamp(last - 1))).lasts().is_ok());
    assert_eq!(Belief::in_jwt(until, Clock::fixed(until)).lasts().unwrap_err().code(), Code::Unauthenticated);
}
