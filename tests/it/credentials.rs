//! Who is believed, over the wire: good credentials in every spelling, and one answer to all bad ones.

use std::{
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use clap::Parser;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Status,
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use userdata::{
    config::auth::{AuthArgs, AuthConfig, IssuerConfig, IssuerKeys, JwtAlgorithm},
    domain::{
        api_key::{ApiKey, ApiKeyId, RANDOM_BYTES},
        principal::{Permission, Permissions},
        subject::ApplicationId,
        timestamp::{Clock, Timestamp},
    },
    server::Server,
};

use crate::{
    on_both_engines,
    rpc::{Rpc, assert_reason},
    world::{ACME, OTHER, World, eventually},
};

on_both_engines!(
    every_bad_credential_gets_one_and_the_same_answer_from_every_rpc,
    good_credentials_are_believed_in_every_spelling_and_algorithm,
    a_new_key_works_and_a_revoked_one_stops_within_five_seconds_on_every_replica,
    a_key_is_changed_for_another_while_both_are_good,
    keys_that_cannot_be_read_any_more_admit_nobody,
);

const SECRET: &[u8] = b"a shared secret of thirty-five bytes";

/// An issuer of tokens signed by [`hs256`].
pub(crate) fn hs256_issuer(issuer: &str, application: &str) -> IssuerConfig {
    issuer_config(issuer, application, JwtAlgorithm::Hs256, IssuerKeys::Hmac(SECRET.to_vec()))
}

/// The secret of [`hs256_issuer`], as a setting has it.
pub(crate) fn hs256_secret() -> String {
    URL_SAFE_NO_PAD.encode(SECRET)
}

/// A token of [`hs256_issuer`].
pub(crate) fn hs256(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// What a good token says.
pub(crate) fn claims(issuer: &str, user_token: &str) -> Value {
    json!({"iss": issuer, "aud": "userdata", "sub": user_token, "exp": seconds() + 600})
}

/// The headers of an API key, in the neutral spelling.
pub(crate) fn key_headers(application: &str, key: &str) -> MetadataMap {
    headers(&[("x-application-id", application), ("x-api-key", key)])
}

fn headers(headers: &[(&str, &str)]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        metadata.append(MetadataKey::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    metadata
}

/// The header of a JWT.
pub(crate) fn jwt(token: &str) -> MetadataMap {
    headers(&[("x-access-token", token)])
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An issuer of whose tokens the audience is this service.
pub(crate) fn issuer_config(issuer: &str, application: &str, algorithm: JwtAlgorithm, keys: IssuerKeys) -> IssuerConfig {
    let application = ApplicationId::parse(application).unwrap();
    IssuerConfig { issuer: issuer.into(), application, audience: "userdata".into(), algorithm, keys }
}

/// What `serve` makes of an issuer's table.
fn auth_config(table: &str) -> AuthConfig {
    #[derive(Parser)]
    struct Serve {
        #[command(flatten)]
        auth: AuthArgs,
    }
    Serve::parse_from(["serve", "--jwt-issuer", table]).auth.check().unwrap()
}

/// Claims with some replaced; null removes one.
fn changed(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// A key pair of an issuer.
pub(crate) struct Pair {
    algorithm: Algorithm,
    private: EncodingKey,
    public_pem: String,
}

impl Pair {
    fn rsa() -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private = pem("PRIVATE KEY", AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap().as_ref());
        let private = EncodingKey::from_rsa_pem(private.as_bytes()).unwrap();
        Self { algorithm: Algorithm::RS256, private, public_pem: public_pem(key.public_key()) }
    }

    /// For ES256.
    pub(crate) fn ecdsa() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let private = EncodingKey::from_ec_pem(pem("PRIVATE KEY", key.to_pkcs8v1().unwrap().as_ref()).as_bytes()).unwrap();
        Self { algorithm: Algorithm::ES256, private, public_pem: public_pem(key.public_key()) }
    }

    fn eddsa() -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let private = EncodingKey::from_ed_der(AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap().as_ref());
        Self { algorithm: Algorithm::EdDSA, private, public_pem: public_pem(key.public_key()) }
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&Header::new(self.algorithm), claims, &self.private).unwrap()
    }

    /// A token that names its key.
    pub(crate) fn sign_as(&self, kid: &str, claims: &Value) -> String {
        encode(&Header { kid: Some(kid.into()), ..Header::new(self.algorithm) }, claims, &self.private).unwrap()
    }

    /// The public key, as a set has it.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        jwk.common.key_id = Some(kid.into());
        serde_json::to_value(jwk).unwrap()
    }

    fn issuer(&self, issuer: &str, algorithm: JwtAlgorithm) -> IssuerConfig {
        issuer_config(issuer, ACME, algorithm, IssuerKeys::Pem(self.public_pem.clone().into()))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn public_pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

/// All that a caller can see of a refusal, but for the date and its request's id.
pub(crate) fn seen(refused: &Status) -> (Code, String, Vec<u8>, Vec<String>) {
    let mut names: Vec<String> = refused.metadata().as_ref().keys().map(ToString::to_string).collect();
    names.sort();
    (refused.code(), refused.message().to_owned(), refused.details().to_vec(), names)
}

pub(crate) fn id_of(key: &str) -> ApiKeyId {
    ApiKeyId::parse(&key[4..20]).unwrap()
}

/// Whether a credential is believed.
pub(crate) async fn accepts(channel: &Channel, headers: &MetadataMap) -> bool {
    match Rpc::Export.call(channel, headers, "anna").await {
        Ok(()) => true,
        Err(refused) => {
            assert_reason(&refused, Code::Unauthenticated, "ERROR_REASON_CREDENTIAL_NOT_ACCEPTED");
            false
        }
    }
}

async fn every_bad_credential_gets_one_and_the_same_answer_from_every_rpc(mut world: World) {
    let (rsa, ecdsa) = (Pair::rsa(), Pair::ecdsa());
    let set = IssuerKeys::JwkSet(json!({"keys": [ecdsa.jwk("one")]}).to_string().into());
    world.config.auth.issuers =
        vec![hs256_issuer("hs", ACME), rsa.issuer("rs", JwtAlgorithm::Rs256), issuer_config("set", ACME, JwtAlgorithm::Es256, set)];
    let everything: Permissions = Permission::ALL.into_iter().collect();
    let revoked = world.insert_key(ACME, everything).await;
    assert!(world.repository().revoke_api_key(&id_of(&revoked), Clock::default().now()).await.unwrap());
    let acme = ApplicationId::parse(ACME).unwrap();
    let (expired, expired_key) = ApiKey::mint(&[9; RANDOM_BYTES], acme.clone(), everything, Timestamp(1), Some(Timestamp(2)));
    world.repository().insert_api_key(&expired).await.unwrap();
    let (_, unknown) = ApiKey::mint(&[8; RANDOM_BYTES], acme, everything, Timestamp(1), None);
    let unknown = unknown.expose();
    world.restart().await;

    let good = world.key(ACME);
    let flipped = |key: &str| format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    let token = rsa.sign(&claims("rs", "anna"));
    let parts: Vec<&str> = token.split('.').collect();
    let bearer = format!("Bearer {token}");
    let other_token = hs256(&claims("hs", "anna"));
    let sign = |changes: Value| jwt(&rsa.sign(&changed(claims("rs", "anna"), changes)));
    let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", encoded(json!({"alg": "none", "typ": "JWT"})), encoded(claims("rs", "anna")));
    let confused =
        encode(&Header::new(Algorithm::HS256), &claims("rs", "anna"), &EncodingKey::from_secret(rsa.public_pem.as_bytes())).unwrap();
    let mut not_text = key_headers(ACME, "");
    not_text.insert("x-api-key", MetadataValue::try_from(&b"udk_\xff"[..]).unwrap());

    let bad = [
        ("nothing", headers(&[])),
        ("an application alone", headers(&[("x-application-id", ACME)])),
        ("a key without its application", headers(&[("x-api-key", good)])),
        ("a key with an empty application", key_headers("", good)),
        ("a key with another's application", key_headers(OTHER, good)),
        ("another application's key", key_headers(ACME, world.key(OTHER))),
        ("a key with an unknown application", key_headers("NOBODY", good)),
        ("a wrong secret", key_headers(ACME, &flipped(good))),
        ("an unknown id", key_headers(ACME, unknown)),
        ("a known id with an unknown secret", key_headers(ACME, &format!("{}{}", &good[..21], &unknown[21..]))),
        ("a revoked key", key_headers(ACME, &revoked)),
        ("an expired key", key_headers(ACME, expired_key.expose())),
        ("an empty key", key_headers(ACME, "")),
        ("a key in upper case", key_headers(ACME, &good.to_uppercase())),
        ("a key and more", key_headers(ACME, &format!("{good}0"))),
        ("a key of 12 KiB", key_headers(ACME, &format!("udk_{}", "0".repeat(12 * 1024)))),
        ("bytes that are no text", not_text),
        ("a statement of SQL", key_headers(ACME, "' OR '1'='1")),
        ("two keys in one header", headers(&[("x-application-id", ACME), ("x-api-key", good), ("x-api-key", &revoked)])),
        ("two spellings that disagree", headers(&[("x-application-id", ACME), ("x-api-key", good), ("x-algolia-api-key", &revoked)])),
        ("two applications", headers(&[("x-application-id", ACME), ("x-algolia-application-id", OTHER), ("x-api-key", good)])),
        ("a key and a JWT", headers(&[("x-application-id", ACME), ("x-api-key", good), ("x-access-token", &token)])),
        ("a key and a bearer", headers(&[("x-application-id", ACME), ("x-api-key", good), ("authorization", &bearer)])),
        ("two JWTs that disagree", headers(&[("x-access-token", &other_token), ("authorization", &bearer)])),
        ("a JWT of another application", headers(&[("x-access-token", &token), ("x-application-id", OTHER)])),
        ("basic authorization", headers(&[("authorization", "Basic YW5uYTpodW50ZXIy")])),
        ("a bearer of nothing", headers(&[("authorization", "Bearer ")])),
        ("an empty JWT", jwt("")),
        ("no JWT", jwt("a.b.c")),
        ("`alg` none", jwt(&none)),
        ("`alg` none with a signature", jwt(&format!("{none}{}", parts[2]))),
        ("HS256 signed with the RSA public key", jwt(&confused)),
        ("a token of another issuer's key", jwt(&hs256(&claims("rs", "anna")))),
        ("a key of nobody", jwt(&Pair::rsa().sign(&claims("rs", "anna")))),
        ("a tampered payload", jwt(&format!("{}.{}.{}", parts[0], encoded(claims("rs", "bert")), parts[2]))),
        ("no signature", jwt(&format!("{}.{}.", parts[0], parts[1]))),
        ("an unknown `kid`", jwt(&ecdsa.sign_as("two", &claims("set", "anna")))),
        ("a wrong audience", sign(json!({"aud": "another"}))),
        ("no audience", sign(json!({"aud": null}))),
        ("a wrong issuer", sign(json!({"iss": "https://evil.example"}))),
        ("no issuer", sign(json!({"iss": null}))),
        ("no `exp`", sign(json!({"exp": null}))),
        ("an expired token", sign(json!({"exp": seconds() - 120}))),
        ("an `nbf` in the future", sign(json!({"nbf": seconds() + 120}))),
        ("no `sub`", sign(json!({"sub": null}))),
        ("an empty `sub`", sign(json!({"sub": ""}))),
        ("a token of over 4 KiB", sign(json!({"more": "x".repeat(4096)}))),
    ];

    let channel = world.channel().await;
    for good in [key_headers(ACME, good), jwt(&token), jwt(&ecdsa.sign_as("one", &claims("set", "anna")))] {
        assert!(accepts(&channel, &good).await, "the good ones are not good");
    }
    let rows = world.all_rows().await;
    let mut expected = None;
    for (what, headers) in &bad {
        for rpc in Rpc::ALL {
            let Err(refused) = rpc.call(&channel, headers, "anna").await else { panic!("{rpc:?} accepted {what}") };
            assert_reason(&refused, Code::Unauthenticated, "ERROR_REASON_CREDENTIAL_NOT_ACCEPTED");
            let seen = seen(&refused);
            assert_eq!(&seen, expected.get_or_insert_with(|| seen.clone()), "{rpc:?} answers otherwise to {what}");
        }
    }
    assert!(world.all_rows().await == rows);
}

async fn good_credentials_are_believed_in_every_spelling_and_algorithm(mut world: World) {
    let pairs = [(Pair::rsa(), JwtAlgorithm::Rs256), (Pair::ecdsa(), JwtAlgorithm::Es256), (Pair::eddsa(), JwtAlgorithm::EdDsa)];
    let mut issuers = vec![hs256_issuer("hs", ACME)];
    let mut tokens = vec![hs256(&claims("hs", "anna"))];
    for (pair, algorithm) in &pairs {
        // One issuer with the key itself, one with a JWKS file on disk, read as `serve` reads it.
        let plain = format!("plain {algorithm:?}");
        tokens.push(pair.sign(&claims(&plain, "anna")));
        issuers.push(pair.issuer(&plain, *algorithm));

        let set = format!("set {algorithm:?}");
        let file = world.folder().join(format!("{algorithm:?}.jwks"));
        std::fs::write(&file, json!({"keys": [pair.jwk("one")]}).to_string()).unwrap();
        let name = serde_json::to_value(pair.algorithm).unwrap();
        let table =
            format!(r#"{{issuer="{set}", application="{ACME}", audience="userdata", algorithm={name}, jwks_file="{}"}}"#, file.display());
        issuers.extend(auth_config(&table).issuers);
        tokens.push(pair.sign_as("one", &claims(&set, "anna")));
    }
    world.config.auth.issuers = issuers;
    world.restart().await;

    let channel = world.channel().await;
    for token in &tokens {
        let (bearer, lower) = (format!("Bearer {token}"), format!("bearer {token}"));
        for good in [
            headers(&[("x-access-token", token)]),
            headers(&[("authorization", &bearer)]),
            headers(&[("authorization", &lower), ("x-access-token", token)]),
            headers(&[("authorization", &bearer), ("x-algolia-application-id", ACME)]),
        ] {
            assert!(accepts(&channel, &good).await, "a good token was refused");
        }
        let refused = Rpc::Export.call(&channel, &jwt(token), "bert").await.unwrap_err();
        assert_reason(&refused, Code::PermissionDenied, "ERROR_REASON_NOT_PERMITTED");
    }
    let key = world.key(ACME);
    let algolia = [("x-algolia-application-id", ACME), ("x-algolia-api-key", key)];
    let neutral = [("x-application-id", ACME), ("x-api-key", key)];
    for good in [headers(&algolia), headers(&neutral), headers(&[algolia, neutral].concat())] {
        for rpc in Rpc::ALL {
            rpc.call(&channel, &good, "anna").await.unwrap();
        }
    }
}

async fn a_new_key_works_and_a_revoked_one_stops_within_five_seconds_on_every_replica(world: World) {
    let replica = Server::build(world.config.clone(), false, Clock::default()).await.unwrap();
    let address = format!("http://{}", replica.address());
    let stop = CancellationToken::new();
    let running = tokio::spawn(replica.run(stop.clone().cancelled_owned()));
    let channels = [world.channel().await, Endpoint::from_shared(address).unwrap().connect().await.unwrap()];
    let within_five_seconds = async |key: &str, accepted: bool| {
        let begun = Instant::now();
        for channel in &channels {
            eventually("the key is known for what it is", async || accepts(channel, &key_headers(ACME, key)).await == accepted).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "accepted = {accepted} took {:?}", begun.elapsed());
    };
    let key = world.insert_key(ACME, [Permission::Export].into_iter().collect()).await;
    within_five_seconds(&key, true).await;
    assert!(world.repository().revoke_api_key(&id_of(&key), Clock::default().now()).await.unwrap());
    within_five_seconds(&key, false).await;
    assert!(accepts(&channels[0], &key_headers(ACME, world.key(ACME))).await, "another key went with it");
    stop.cancel();
    running.await.unwrap().unwrap();
}

async fn a_key_is_changed_for_another_while_both_are_good(world: World) {
    let old = world.insert_key(ACME, [Permission::Export].into_iter().collect()).await;
    let keys = |command: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_userdata"));
        program.args(["keys", command, id_of(&old).as_str()]).env("USERDATA_DATABASE_URL", &world.database_url).output().unwrap()
    };
    let rotated = keys("rotate");
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let new = String::from_utf8(rotated.stdout).unwrap();
    let (old_headers, new_headers) = (key_headers(ACME, &old), key_headers(ACME, new.trim_end()));

    let channel = world.channel().await;
    eventually("the old key is known", async || accepts(&channel, &old_headers).await).await;
    eventually("the new key is known", async || accepts(&channel, &new_headers).await).await;
    assert!(accepts(&channel, &old_headers).await, "the old key went when the new one came");
    let refused = Rpc::Import.call(&channel, &new_headers, "anna").await.unwrap_err();
    assert_reason(&refused, Code::PermissionDenied, "ERROR_REASON_NOT_PERMITTED");

    assert!(keys("revoke").status.success());
    eventually("the old key is refused", async || !accepts(&channel, &old_headers).await).await;
    assert!(accepts(&channel, &new_headers).await, "the new key went with the old one");
    assert_eq!(keys("rotate").status.code(), Some(1), "a revoked key has a successor");
}

async fn keys_that_cannot_be_read_any_more_admit_nobody(mut world: World) {
    world.config.auth.issuers = vec![hs256_issuer("hs", ACME)];
    world.restart().await;
    let channel = world.channel().await;
    let key = key_headers(ACME, world.key(ACME));
    assert!(accepts(&channel, &key).await);
    world.execute("ALTER TABLE api_keys RENAME TO api_keys_away").await;
    let lost = Instant::now();
    let mut refused = None;
    eventually("the key is too old", async || {
        refused = Rpc::Export.call(&channel, &key, "anna").await.err();
        refused.is_some()
    })
    .await;
    assert!(lost.elapsed() < Duration::from_secs(7), "an old key was good for {:?}", lost.elapsed());
    let refused = refused.unwrap();
    assert_reason(&refused, Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE");
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    // What needs no key from the database works on; what is no key is not helped.
    assert!(accepts(&channel, &jwt(&hs256(&claims("hs", "anna")))).await);
    assert!(!accepts(&channel, &key_headers(ACME, "udk_")).await);

    world.execute("ALTER TABLE api_keys_away RENAME TO api_keys").await;
    eventually("the key is good again", async || Rpc::Export.call(&channel, &key, "anna").await.is_ok()).await;
}
