//! Keys that cannot be used stop the start.

use super::*;

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
        (JwtAlgorithm::Rs256, json!([with(rsa.jwk("one"), json!({"e": "AQ"}))]), "not usable"),
        (JwtAlgorithm::Rs256, json!([with(rsa.jwk("one"), json!({"e": "Ag"}))]), "not usable"),
        (JwtAlgorithm::Hs256, json!([oct(b"short")]), "5 bytes long"),
    ];
    for (algorithm, keys, expected) in bad {
        let error = start(algorithm, set(keys.clone())).unwrap_err().to_string();
        assert!(error.contains(expected), "{keys}: {error}");
    }
}
