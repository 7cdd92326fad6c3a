//! The table of bad API keys.

use super::*;

#[test]
fn every_bad_key_gets_the_same_answer() {
    let (good, text) = mint(1, None);
    let (mut revoked, revoked_text) = mint(2, None);
    revoked.revoked_at = Some(Timestamp(1));
    let (expired, expired_text) = mint(3, Some(NOW));
    let (_, unknown_text) = mint(4, None);
    let last = if text.ends_with('0') { '1' } else { '0' };
    let digest = hex::encode(good.digest.as_bytes());
    let (id, secret) = (&text[4..20], &text[21..]);
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
        ("a known id with the secret of an unknown key", key(&format!("udk_{id}_{}", &unknown_text[21..]))),
        ("an unknown id with the secret of a known key", key(&format!("{}{secret}", &unknown_text[..21]))),
        ("a secret of zeros", key(&format!("udk_{id}_{}", "0".repeat(64)))),
        ("an id alone", key(&format!("udk_{id}"))),
        ("a secret alone", key(secret)),
        ("no secret", key(&format!("udk_{id}_"))),
        ("a secret cut short", key(&text[..text.len() - 1])),
        ("another prefix", key(&text.replacen("udk", "sk", 1))),
        ("the digest of the key", key(&format!("udk_{id}_{digest}"))),
        ("a key as a JWT", jwt(&text)),
        ("a statement of SQL", key("' OR '1'='1")),
        ("12 KiB", key(&"0".repeat(12 * 1024))),
    ];
    assert!(bad.len() >= 24);
    assert!(call(&interceptor, key(&text)).is_ok(), "the good key is not good");
    assert_refused(&interceptor, bad);
}
