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

use super::{AuthInterceptor, IssuerError, Issuers, KeyError, KeyRing, key_ring::MAX_AGE};
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
    Issuers::new(&AuthConfig { issuers, leeway: Duration::from_secs(10) })
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
fn every_bad_key_gets_the_same_answer() {
    let (good, text) = mint(1, None);
    let (mut revoked, revoked_text) = mint(2, None);
    revoked.revoked_at = Some(Timestamp(1));
    let (expired, expired_text) = mint(3, Some(NOW));
    let (_, unknown_text) = mint(4, None);
    let last = if text.ends_with('0') { '1' } else { '0' };
    let wrong_secret = format!("{}{last}", &text[..text.len() - 1]);
    let mut not_text = MetadataMap::new();
    not_text.insert("x-application-id", "DEMO".parse().unwrap());
    not_text.insert("x-api-key", tonic::metadata::MetadataValue::try_from(&b"udk_\xff"[..]).unwrap());

    let interceptor = interceptor(vec![good, revoked, expired], vec![hmac().config("hs")]);
    let token = hmac().sign(&claims("hs"));
    let bearer = format!("Bearer {token}");
    let bad = vec![
        ("nothing", metadata(&[])),
        ("no key", metadata(&[("x-application-id", "DEMO")])),
        ("no application", metadata(&[("x-api-key", &text)])),
        ("another application", metadata(&[("x-application-id", "OTHER"), ("x-api-key", &text)])),
        ("another spelling of the application", metadata(&[("x-application-id", "demo"), ("x-api-key", &text)])),
        ("a wrong secret", key(&wrong_secret)),
        ("an unknown id", key(&unknown_text)),
        ("a revoked key", key(&revoked_text)),
        ("an expired key", key(&expired_text)),
        ("an empty key", key("")),
        ("no key at all", key("secret")),
        ("upper case", key(&text.to_uppercase())),
        ("a key and more", key(&format!("{text}0"))),
        ("bytes that are no text", not_text),
        ("two keys, one header", metadata(&[("x-application-id", "DEMO"), ("x-api-key", &text), ("x-api-key", &unknown_text)])),
        ("the same key twice in one header", metadata(&[("x-application-id", "DEMO"), ("x-api-key", &text), ("x-api-key", &text)])),
        ("two keys, two spellings", metadata(&[("x-application-id", "DEMO"), ("x-api-key", &text), ("x-algolia-api-key", &unknown_text)])),
        ("two applications", metadata(&[("x-application-id", "DEMO"), ("x-algolia-application-id", "OTHER"), ("x-api-key", &text)])),
        ("a key and a JWT", metadata(&[("x-application-id", "DEMO"), ("x-api-key", &text), ("x-access-token", &token)])),
        ("a key and a bearer", metadata(&[("x-application-id", "DEMO"), ("x-api-key", &text), ("authorization", &bearer)])),
        ("a key as a bearer", metadata(&[("x-application-id", "DEMO"), ("authorization", &format!("Bearer {text}"))])),
        ("basic authorization", metadata(&[("authorization", "Basic YTpi")])),
        ("a bearer of nothing", metadata(&[("authorization", "Bearer")])),
    ];
    assert_refused(&interceptor, bad);
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
fn every_bad_token_gets_the_same_answer() {
    let (rsa, ecdsa, eddsa, other) = (rsa(), ecdsa(), eddsa(), ecdsa());
    let key_set = json!({"keys": [ecdsa.jwk("one")]}).to_string();
    let of_set = IssuerConfig { keys: IssuerKeys::JwkSet(key_set.into()), ..ecdsa.config("set") };
    let interceptor = interceptor(vec![], vec![hmac().config("hs"), rsa.config("rs"), ecdsa.config("es"), eddsa.config("ed"), of_set]);

    let sign = |changes: Value| jwt(&rsa.sign(&with(claims("rs"), changes)));
    let good = rsa.sign(&claims("rs"));
    let parts: Vec<_> = good.split('.').collect();
    let payload = URL_SAFE_NO_PAD.encode(with(claims("rs"), json!({"sub": "bert"})).to_string());
    let none = unsigned(json!({"alg": "none", "typ": "JWT"}), &claims("rs"));
    let confused = {
        let key = EncodingKey::from_secret(rsa.public_pem.as_bytes());
        encode(&Header::new(Algorithm::HS256), &claims("rs"), &key).unwrap()
    };
    let critical = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::RS256) };
    let kid = |kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        jwt(&ecdsa.sign_under(&header, &claims("set")))
    };
    assert!(call(&interceptor, jwt(&good)).is_ok());
    assert!(call(&interceptor, kid(Some("one"))).is_ok());

    let bad = vec![
        ("`alg` none, no signature", jwt(&format!("{none}."))),
        ("`alg` none, another's signature", jwt(&format!("{none}.{}", parts[2]))),
        ("HS256 with the RSA public key", jwt(&confused)),
        ("HS256 of another issuer", jwt(&hmac().sign(&claims("rs")))),
        ("ES256 to an RS256 issuer", jwt(&ecdsa.sign(&claims("rs")))),
        ("EdDSA to an ES256 issuer", jwt(&eddsa.sign(&claims("es")))),
        ("a key of nobody", jwt(&other.sign(&claims("es")))),
        ("a tampered payload", jwt(&format!("{}.{payload}.{}", parts[0], parts[2]))),
        ("a tampered signature", jwt(&format!("{}.{}.{}", parts[0], parts[1], parts[2].chars().rev().collect::<String>()))),
        ("no signature", jwt(&format!("{}.{}.", parts[0], parts[1]))),
        ("two parts", jwt(&format!("{}.{}", parts[0], parts[1]))),
        ("four parts", jwt(&format!("{good}.x"))),
        ("no JWT", jwt("hello")),
        ("nothing", jwt("")),
        ("critical header fields", jwt(&rsa.sign_under(&critical, &claims("rs")))),
        ("an unknown `kid`", kid(Some("two"))),
        ("no `kid` where keys have names", kid(None)),
        ("over 4 KiB", sign(json!({"extra": "x".repeat(4096)}))),
        ("a wrong audience", sign(json!({"aud": "other"}))),
        ("wrong audiences", sign(json!({"aud": ["other", "USERDATA"]}))),
        ("no audience", sign(json!({"aud": null}))),
        ("an empty list of audiences", sign(json!({"aud": []}))),
        ("an unknown issuer", sign(json!({"iss": "nobody"}))),
        ("two issuers", sign(json!({"iss": ["rs", "nobody"]}))),
        ("no issuer", sign(json!({"iss": null}))),
        ("another issuer's name", sign(json!({"iss": "es"}))),
        ("no `exp`", sign(json!({"exp": null}))),
        ("an `exp` that is no number", sign(json!({"exp": "never"}))),
        ("expired", sign(json!({"exp": seconds() - 60}))),
        ("not yet valid", sign(json!({"nbf": seconds() + 60}))),
        ("an `nbf` that is no number", sign(json!({"nbf": "now"}))),
        ("no `sub`", sign(json!({"sub": null}))),
        ("an empty `sub`", sign(json!({"sub": ""}))),
        ("a `sub` with control characters", sign(json!({"sub": "an\u{7}na"}))),
        ("a `sub` that is no text", sign(json!({"sub": 7}))),
        ("a `sub` that is too long", sign(json!({"sub": "a".repeat(257)}))),
        ("two tokens", metadata(&[("x-access-token", &good), ("authorization", &format!("Bearer {}", hmac().sign(&claims("hs"))))])),
        ("another application", metadata(&[("x-access-token", &good), ("x-application-id", "OTHER")])),
    ];
    assert_refused(&interceptor, bad);
}

#[test]
fn keys_that_do_not_fit_stop_the_start() {
    let (rsa, ecdsa, eddsa) = (rsa(), ecdsa(), eddsa());
    let p384 = public_pem(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap().public_key());
    let private = ecdsa_private_pem(&EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
    let private_rsa = rsa_private_pem(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let set = |keys: Value| IssuerKeys::JwkSet(json!({"keys": keys}).to_string().into());
    let start = |algorithm, keys| {
        let config = IssuerConfig { algorithm, keys, ..hmac().config("id") };
        issuers(vec![config]).map(drop).map_err(|error| error.problem)
    };
    let pem = |text: &str| IssuerKeys::Pem(text.to_owned().into_bytes());

    assert_eq!(start(JwtAlgorithm::Hs256, IssuerKeys::Hmac(vec![1; 31])), Err(KeyError::ShortSecret(31)));
    assert_eq!(start(JwtAlgorithm::Rs256, pem("hello")), Err(KeyError::Pem));
    assert_eq!(start(JwtAlgorithm::Rs256, pem(&private_rsa)), Err(KeyError::Unfit));
    assert_eq!(start(JwtAlgorithm::Es256, pem(&rsa.public_pem)), Err(KeyError::Pem));
    assert_eq!(start(JwtAlgorithm::Es256, pem(&p384)), Err(KeyError::Unfit));
    assert_eq!(start(JwtAlgorithm::Es256, pem(&private)), Err(KeyError::Pem));
    assert_eq!(start(JwtAlgorithm::EdDsa, pem(&ecdsa.public_pem)), Err(KeyError::Pem));

    assert_eq!(start(JwtAlgorithm::Es256, IssuerKeys::JwkSet(b"{}".to_vec())), Err(KeyError::NoJwkSet(1)));
    assert_eq!(start(JwtAlgorithm::Es256, set(json!([]))), Err(KeyError::EmptyJwkSet));
    assert_eq!(start(JwtAlgorithm::Es256, set(json!([ecdsa.jwk("one")]))), Ok(()));
    assert_eq!(start(JwtAlgorithm::Rs256, set(json!([rsa.jwk("one")]))), Ok(()));
    assert_eq!(start(JwtAlgorithm::EdDsa, set(json!([eddsa.jwk("one"), eddsa.jwk("two")]))), Ok(()));
    let oct = |secret: &[u8]| json!({"kty": "oct", "kid": "one", "k": URL_SAFE_NO_PAD.encode(secret)});
    assert_eq!(start(JwtAlgorithm::Hs256, set(json!([oct(SECRET)]))), Ok(()));

    let bad = [
        (JwtAlgorithm::Es256, json!([ecdsa.jwk("one"), rsa.jwk("two")]), "key 1"),
        (JwtAlgorithm::Rs256, json!([ecdsa.jwk("one")]), "key 0"),
        (JwtAlgorithm::Hs256, json!([rsa.jwk("one")]), "key 0"),
        (JwtAlgorithm::Es256, json!([with(ecdsa.jwk("one"), json!({"alg": "ES384"}))]), "is not for ES256"),
        (JwtAlgorithm::Es256, json!([with(ecdsa.jwk("one"), json!({"use": "enc"}))]), "is not for ES256"),
        (JwtAlgorithm::Es256, json!([with(ecdsa.jwk("one"), json!({"key_ops": ["sign"]}))]), "is not for ES256"),
        (JwtAlgorithm::Es256, json!([with(ecdsa.jwk("one"), json!({"kid": null}))]), "no `kid`"),
        (JwtAlgorithm::Es256, json!([ecdsa.jwk("one"), ecdsa.jwk("one")]), "`kid` of another"),
        (JwtAlgorithm::Es256, json!([with(ecdsa.jwk("one"), json!({"x": URL_SAFE_NO_PAD.encode([1; 32])}))]), "not usable"),
        (JwtAlgorithm::Rs256, json!([with(rsa.jwk("one"), json!({"n": URL_SAFE_NO_PAD.encode([0xff; 128])}))]), "not usable"),
        (JwtAlgorithm::Hs256, json!([oct(b"short")]), "5 bytes long"),
    ];
    for (algorithm, keys, expected) in bad {
        let error = start(algorithm, set(keys.clone())).unwrap_err().to_string();
        assert!(error.contains(expected), "{keys}: {error}");
    }
}
