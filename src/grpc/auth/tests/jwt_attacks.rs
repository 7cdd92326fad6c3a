//! The table of attacks with JWTs. Each has the refusal it must meet, so that none is refused by accident, for something else; what callers
//! see is one and the same answer.

use jsonwebtoken::crypto;

use super::*;
use crate::grpc::auth::refusal::Refusal::{
    self, CriticalHeader, LifeTooLong, NoUserToken, TokenForm, TokenNotValid, TokenTooLong, UnknownIssuer, UnknownKey, WrongAlgorithm,
    WrongType,
};

/// What is tried, the token, and why it is refused.
type Attack = (&'static str, String, Refusal);

/// The issuers: `rs`, `es`, `ed` and `hs` with a key each, `set` and `second` with one in a set, called `one` and `two`. `nobody` has a key
/// that no issuer has.
struct Stage {
    rs: Pair,
    es: Pair,
    ed: Pair,
    hs: Pair,
    set: Pair,
    second: Pair,
    nobody: Pair,
}

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token of exactly these texts, signed as `algorithm` whatever they say.
fn signed(key: &EncodingKey, algorithm: Algorithm, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

impl Pair {
    fn signed(&self, header: &str, payload: &str) -> String {
        signed(&self.private, self.algorithm, header, payload)
    }

    /// The public key's bytes, as anyone has them.
    fn public_der(&self) -> Vec<u8> {
        let body: String = self.public_pem.lines().filter(|line| !line.starts_with('-')).collect();
        STANDARD.decode(body).unwrap()
    }
}

impl Stage {
    fn new() -> Self {
        Self { rs: rsa(), es: ecdsa(), ed: eddsa(), hs: hmac(), set: ecdsa(), second: ecdsa(), nobody: rsa() }
    }

    fn issuers(&self) -> Vec<IssuerConfig> {
        let set = |pair: &Pair, kid, name| {
            let keys = json!({"keys": [pair.jwk(kid)]}).to_string();
            IssuerConfig { keys: IssuerKeys::JwkSet(keys.into()), ..pair.config(name) }
        };
        vec![
            self.rs.config("rs"),
            self.es.config("es"),
            self.ed.config("ed"),
            self.hs.config("hs"),
            set(&self.set, "one", "set"),
            set(&self.second, "two", "second"),
        ]
    }

    /// A good token of `rs`.
    fn good(&self) -> String {
        self.rs.sign(&claims("rs"))
    }

    /// A token of `rs` with other claims.
    fn claiming(&self, changes: Value) -> String {
        self.rs.sign(&with(claims("rs"), changes))
    }

    /// A token of `rs` with other header fields.
    fn headed(&self, changes: Value) -> String {
        self.rs.signed(&with(json!({"alg": "RS256", "typ": "JWT"}), changes).to_string(), &claims("rs").to_string())
    }

    fn algorithms(&self) -> Vec<Attack> {
        let good = self.good();
        let signature = good.rsplit('.').next().unwrap();
        let rs = claims("rs").to_string();
        let mut attacks = Vec::new();
        for alg in ["none", "None", "NONE", "nOnE", "none ", "", "null", "plain", "http://www.w3.org/2000/09/xmldsig#none"] {
            let unsigned = unsigned(json!({"alg": alg, "typ": "JWT"}), &claims("rs"));
            attacks.push(("no algorithm and no signature", format!("{unsigned}."), TokenForm));
            attacks.push(("no algorithm and a signature", format!("{unsigned}.{signature}"), TokenForm));
        }
        let odd = [json!({"alg": null}), json!({"alg": ["RS256"]}), json!({"alg": 256}), json!({"alg": "rs256"}), json!({"alg": "RS256 "})];
        attacks.extend(odd.into_iter().map(|alg| ("an algorithm that is none, well signed", self.headed(alg), TokenForm)));
        for twice in [r#"{"alg":"RS256","alg":"none"}"#, r#"{"alg":"none","alg":"RS256"}"#, r#"{"alg":"RS256","alg":"RS256"}"#] {
            attacks.push(("two algorithms", self.rs.signed(twice, &rs), TokenForm));
        }
        for alg in ["ES256K", "ES512", "HS1", "RS1", "A128GCM", "dir"] {
            attacks.push(("an algorithm nobody here knows", self.headed(json!({"alg": alg})), TokenForm));
        }

        let pem = self.rs.public_pem.as_bytes();
        let public = |bytes: &[u8], name: &str, alg: Algorithm| {
            let header = json!({"alg": alg, "typ": "JWT"}).to_string();
            signed(&EncodingKey::from_secret(bytes), alg, &header, &claims(name).to_string())
        };
        for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            attacks.push(("HMAC with the RSA key in PEM", public(pem, "rs", alg), WrongAlgorithm));
        }
        attacks.push((
            "HMAC with the RSA key in PEM without its last line end",
            public(pem.trim_ascii_end(), "rs", Algorithm::HS256),
            WrongAlgorithm,
        ));
        attacks.push(("HMAC with the RSA key in DER", public(&self.rs.public_der(), "rs", Algorithm::HS256), WrongAlgorithm));
        attacks.push(("HMAC with the P-256 key in PEM", public(self.es.public_pem.as_bytes(), "es", Algorithm::HS256), WrongAlgorithm));
        attacks.push(("HMAC with the Ed25519 key in PEM", public(self.ed.public_pem.as_bytes(), "ed", Algorithm::HS256), WrongAlgorithm));
        let raw = self.ed.public_der();
        attacks.push(("HMAC with the Ed25519 key itself", public(&raw[raw.len() - 32..], "ed", Algorithm::HS256), WrongAlgorithm));
        attacks.push(("HMAC with an empty secret, to RSA", public(b"", "rs", Algorithm::HS256), WrongAlgorithm));
        attacks.push(("HMAC with an empty secret", public(b"", "hs", Algorithm::HS256), TokenNotValid));
        attacks.push(("HMAC with a zero", public(&[0], "hs", Algorithm::HS256), TokenNotValid));
        attacks.push(("HS384 with the secret for HS256", public(SECRET, "hs", Algorithm::HS384), WrongAlgorithm));
        attacks.push(("HS512 with the secret for HS256", public(SECRET, "hs", Algorithm::HS512), WrongAlgorithm));
        attacks.push((
            "HS256 that is in truth HS512",
            signed(&self.hs.private, Algorithm::HS512, r#"{"alg":"HS256"}"#, &claims("hs").to_string()),
            TokenNotValid,
        ));
        for alg in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512] {
            let header = json!({"alg": alg}).to_string();
            attacks.push(("another algorithm of the RSA key", signed(&self.rs.private, alg, &header, &rs), WrongAlgorithm));
        }
        attacks.push((
            "RS256 that is in truth PS256",
            signed(&self.rs.private, Algorithm::PS256, r#"{"alg":"RS256"}"#, &rs),
            TokenNotValid,
        ));
        attacks.push(("ES384 with the P-256 key", self.es.signed(r#"{"alg":"ES384"}"#, &claims("es").to_string()), WrongAlgorithm));
        attacks.push(("ES256 to an issuer of RS256", self.es.sign(&claims("rs")), WrongAlgorithm));
        attacks.push(("EdDSA to an issuer of ES256", self.ed.sign(&claims("es")), WrongAlgorithm));
        attacks.push(("ES256 to an issuer of EdDSA", self.es.sign(&claims("ed")), WrongAlgorithm));
        attacks.push(("HS256 with another issuer's secret", self.hs.sign(&claims("rs")), WrongAlgorithm));
        attacks
    }

    fn signatures(&self) -> Vec<Attack> {
        let good = self.good();
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let rs = |bytes: &[u8]| format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes));
        let flipped = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            rs(&bytes)
        };
        // 256 bytes leave two bits of the last digit unused: another digit, the same bytes.
        let last = signature.chars().last().unwrap();
        let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = digits.chars().nth(digits.find(last).unwrap() + 1).unwrap();
        let es = self.es.sign(&claims("es"));
        let (es_message, es_signature) = es.rsplit_once('.').unwrap();
        let es_bytes = URL_SAFE_NO_PAD.decode(es_signature).unwrap();
        let es = |bytes: &[u8]| format!("{es_message}.{}", URL_SAFE_NO_PAD.encode(bytes));
        let ed = self.ed.sign(&claims("ed"));
        let (ed_message, ed_signature) = ed.rsplit_once('.').unwrap();
        let ed_bytes = URL_SAFE_NO_PAD.decode(ed_signature).unwrap();
        let ed = |bytes: &[u8]| format!("{ed_message}.{}", URL_SAFE_NO_PAD.encode(bytes));
        let one = |at: usize| {
            let mut scalar = [0; 64];
            scalar[at] = 1;
            scalar[31] = 1;
            scalar
        };
        let attacks = vec![
            ("no signature", format!("{message}.")),
            ("a signature of one byte", rs(&[0])),
            ("a signature of zeros", rs(&[0; 256])),
            ("a signature of ones", rs(&[0xff; 256])),
            ("the first bit changed", flipped(0)),
            ("the last bit changed", flipped(255)),
            ("a signature cut short", rs(&bytes[..255])),
            ("a signature and a zero", rs(&[&bytes[..], &[0]].concat())),
            ("a zero and a signature", rs(&[&[0], &bytes[..]].concat())),
            ("a signature backwards", rs(&bytes.iter().rev().copied().collect::<Vec<_>>())),
            ("a signature with padding", format!("{good}==")),
            ("a signature in the other base64", format!("{message}.+/{}", &signature[2..])),
            ("a signature with bits beyond its end", format!("{message}.{}{next}", &signature[..signature.len() - 1])),
            ("a signature and a space", format!("{good} x")),
            ("the signature of another token", format!("{message}.{}", self.claiming(json!({"sub": "bert"})).rsplit('.').next().unwrap())),
            ("another payload", format!("{header}.{}.{signature}", part(&with(claims("rs"), json!({"sub": "bert"})).to_string()))),
            ("another header", format!("{}.{}", part(r#"{"alg":"RS256","kid":"x"}"#), good.split_once('.').unwrap().1)),
            ("ECDSA: r and s are zero", es(&[0; 64])),
            ("ECDSA: r and s are one", es(&one(63))),
            ("ECDSA: s is zero", es(&[&es_bytes[..32], &[0; 32]].concat())),
            ("ECDSA: r is zero", es(&[&[0; 32], &es_bytes[32..]].concat())),
            ("ECDSA: r and s beyond the order", es(&[0xff; 64])),
            ("ECDSA: in DER", es(&[&[0x30, 0x44, 2, 0x20], &es_bytes[..32], &[2, 0x20], &es_bytes[32..]].concat())),
            ("ECDSA: r and s exchanged", es(&[&es_bytes[32..], &es_bytes[..32]].concat())),
            ("ECDSA: nothing", es(&[])),
            ("Ed25519: zeros", ed(&[0; 64])),
            ("Ed25519: S and the order more", ed(&[&ed_bytes[..32], &plus_order(&ed_bytes[32..])[..]].concat())),
            ("Ed25519: the neutral point and S zero", ed(&one(0))),
            ("a key of nobody", self.nobody.sign(&claims("rs"))),
            ("another issuer's key of the same kind", self.set.sign(&claims("es"))),
        ];
        attacks.into_iter().map(|(what, token)| (what, token, TokenNotValid)).collect()
    }

    fn structures(&self) -> Vec<Attack> {
        let good = self.good();
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else { unreachable!("a JWT has three parts") };
        let raw = |header: &[u8], payload: &[u8]| {
            let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
            let signature = crypto::sign(message.as_bytes(), &self.rs.private, Algorithm::RS256).unwrap();
            format!("{message}.{signature}")
        };
        let (fine_header, fine_payload) = (r#"{"alg":"RS256"}"#, claims("rs").to_string());
        let marked = ["\u{feff}", &fine_payload].concat();
        let json = json!({"protected": header, "payload": payload, "signature": signature}).to_string();
        let attacks = vec![
            ("nothing", String::new()),
            ("one part", "hello".to_owned()),
            ("two empty parts", ".".to_owned()),
            ("three empty parts", "..".to_owned()),
            ("four empty parts", "...".to_owned()),
            ("two parts", format!("{header}.{payload}")),
            ("four parts", format!("{good}.{signature}")),
            ("five parts, as encrypted tokens have", format!("{header}.{payload}.{signature}.{signature}.{signature}")),
            ("an empty part before", format!(".{good}")),
            ("an empty part after", format!("{good}.")),
            ("the JSON form of a signature", json),
            ("no header", format!(".{payload}.{signature}")),
            ("no payload", format!("{header}..{signature}")),
            ("a header with padding", format!("{header}=.{payload}.{signature}")),
            ("a payload with padding", format!("{header}.{payload}=.{signature}")),
            ("a payload that is not encoded", format!("{header}.{fine_payload}.{signature}").replace('.', "_").replacen('_', ".", 1)),
            ("a header that is a list", raw(b"[]", fine_payload.as_bytes())),
            ("a header that is no JSON", raw(b"alg=RS256", fine_payload.as_bytes())),
            ("a header and more", raw(format!("{fine_header}{fine_header}").as_bytes(), fine_payload.as_bytes())),
            ("a header that is not UTF-8", raw(b"{\"alg\":\"RS256\",\"x\":\"\xff\"}", fine_payload.as_bytes())),
            ("a payload that is a list", raw(fine_header.as_bytes(), b"[]")),
            ("a payload that is a text", raw(fine_header.as_bytes(), b"\"anna\"")),
            ("a payload that is null", raw(fine_header.as_bytes(), b"null")),
            ("a payload that is no JSON", raw(fine_header.as_bytes(), b"sub=anna")),
            ("a payload and more", raw(fine_header.as_bytes(), format!("{fine_payload}{{}}").as_bytes())),
            ("a payload with a byte order mark", raw(fine_header.as_bytes(), marked.as_bytes())),
            ("a payload cut short", raw(fine_header.as_bytes(), &fine_payload.as_bytes()[..fine_payload.len() - 1])),
            ("a token in a token", raw(br#"{"alg":"RS256","cty":"JWT"}"#, good.as_bytes())),
        ];
        let mut attacks: Vec<Attack> = attacks.into_iter().map(|(what, token)| (what, token, TokenForm)).collect();
        attacks.push(("over 4 KiB, well signed", self.claiming(json!({"extra": "x".repeat(4096)})), TokenTooLong));
        attacks.push(("over 4 KiB, and no token", ".".repeat(4097), TokenTooLong));
        attacks
    }

    fn times(&self) -> Vec<Attack> {
        let now = seconds();
        let day = 24 * 60 * 60;
        let mut attacks = Vec::new();
        let ends = [
            ("no `exp`", json!(null)),
            ("an `exp` that is a text", json!("never")),
            ("an `exp` that is a number in a text", json!((now + 60).to_string())),
            ("an `exp` that is a list", json!([now + 60])),
            ("an `exp` that is true", json!(true)),
            ("an `exp` that is zero", json!(0)),
            ("an `exp` below zero", json!(-1)),
            ("an `exp` beyond all numbers", json!(1e300)),
            ("expired a minute ago", json!(now - 60)),
            ("expired a moment before the leeway", json!(now - 12)),
        ];
        attacks.extend(ends.map(|(what, exp)| (what, self.claiming(json!({"exp": exp})), TokenNotValid)));
        let begins = [
            ("not yet valid", json!(now + 60)),
            ("an `nbf` that is a text", json!("now")),
            ("an `nbf` that is a list", json!([now])),
            ("an `nbf` in milliseconds", json!(now * 1000)),
        ];
        attacks.extend(begins.map(|(what, nbf)| (what, self.claiming(json!({"nbf": nbf})), TokenNotValid)));
        attacks.push(("an `iat` that is a text", self.claiming(json!({"iat": "now"})), TokenNotValid));
        attacks.push(("an `exp` in milliseconds", self.claiming(json!({"exp": now * 1000})), LifeTooLong));
        attacks.push(("an `exp` beyond the longest life", self.claiming(json!({"exp": now + day + 60})), LifeTooLong));
        attacks.push(("an `exp` at the end of time", self.claiming(json!({"exp": u64::MAX / 2})), LifeTooLong));
        attacks.push(("an `exp` too long after `iat`", self.claiming(json!({"iat": now - day})), LifeTooLong));
        attacks.push(("an `iat` at the beginning of time", self.claiming(json!({"iat": 0})), LifeTooLong));
        attacks.push(("an `iat` below zero", self.claiming(json!({"iat": -1e300})), LifeTooLong));
        attacks.push(("issued in the future", self.claiming(json!({"iat": now + 60})), LifeTooLong));
        attacks
    }

    fn claims(&self) -> Vec<Attack> {
        let mut attacks = Vec::new();
        for iss in ["nobody", "", "RS", "rs/", " rs", "rs\u{0}"] {
            attacks.push(("another issuer", self.claiming(json!({"iss": iss})), UnknownIssuer));
        }
        for iss in [json!(null), json!(["rs"]), json!(["rs", "nobody"]), json!(7), json!({"rs": "rs"})] {
            attacks.push(("an issuer that is no text", self.claiming(json!({"iss": iss})), TokenForm));
        }
        attacks.push(("another issuer's name", self.claiming(json!({"iss": "es"})), WrongAlgorithm));
        for aud in [
            json!(null),
            json!(""),
            json!("other"),
            json!("USERDATA"),
            json!("userdata "),
            json!("userdata.example"),
            json!("*"),
            json!([]),
            json!(["other", "USERDATA"]),
            json!(7),
            json!({"userdata": true}),
            json!([["userdata"]]),
        ] {
            attacks.push(("another audience", self.claiming(json!({"aud": aud})), TokenNotValid));
        }
        for sub in [json!(null), json!(7), json!(["anna"]), json!({"anna": 1}), json!(true)] {
            attacks.push(("a `sub` that is no text", self.claiming(json!({"sub": sub})), TokenNotValid));
        }
        for sub in [String::new(), "an\u{7}na".to_owned(), "anna\n".to_owned(), "anna\u{0}".to_owned(), "a".repeat(257)] {
            attacks.push(("a `sub` that is no user token", self.claiming(json!({"sub": sub})), NoUserToken));
        }
        let fine = claims("rs").to_string();
        let twice = |more: &str| self.rs.signed(r#"{"alg":"RS256"}"#, &fine.replacen('{', &format!("{{{more},"), 1));
        attacks.push(("two issuers", twice(r#""iss":"es""#), TokenForm));
        attacks.push(("two `sub`", twice(r#""sub":"bert""#), TokenNotValid));
        attacks.push(("two `exp`", twice(&format!(r#""exp":{}"#, seconds() + 90)), TokenNotValid));
        attacks.push(("two `aud`", twice(r#""aud":"other""#), TokenNotValid));
        attacks.push(("two `nbf`", twice(r#""nbf":1,"nbf":2"#), TokenNotValid));
        attacks
    }

    fn keys(&self) -> Vec<Attack> {
        let of_set = |header: Value| self.set.signed(&with(json!({"alg": "ES256"}), header).to_string(), &claims("set").to_string());
        let mut attacks = vec![("no `kid` where keys have names", of_set(json!({})), UnknownKey)];
        for kid in ["", "two", "ONE", "one ", "one\u{0}", "../one", "/dev/null", "one' OR '1'='1", "http://evil.example/jwks"] {
            attacks.push(("a `kid` of nobody", of_set(json!({"kid": kid})), UnknownKey));
        }
        for kid in [json!(1), json!(["one"]), json!({"one": 1})] {
            attacks.push(("a `kid` that is no text", of_set(json!({"kid": kid})), TokenForm));
        }
        attacks.push(("two `kid`", self.set.signed(r#"{"alg":"ES256","kid":"two","kid":"one"}"#, &claims("set").to_string()), TokenForm));
        let foreign = |kid: &str| self.second.signed(&json!({"alg": "ES256", "kid": kid}).to_string(), &claims("set").to_string());
        attacks.push(("another issuer's key under its own name", foreign("two"), UnknownKey));
        attacks.push(("another issuer's key under this one's name", foreign("one"), TokenNotValid));
        // Keys that a token brings along.
        let brought = |field: &str, value: Value| {
            let header = with(json!({"alg": "RS256", "typ": "JWT"}), json!({field: value})).to_string();
            self.nobody.signed(&header, &claims("rs").to_string())
        };
        let certificate = STANDARD.encode(self.nobody.public_der());
        attacks.push(("its own key as `jwk`", brought("jwk", self.nobody.jwk("x")), TokenNotValid));
        attacks.push(("its own keys by `jku`", brought("jku", json!("https://evil.example/jwks")), TokenNotValid));
        attacks.push(("its own certificate by `x5u`", brought("x5u", json!("https://evil.example/cert")), TokenNotValid));
        attacks.push(("its own certificate as `x5c`", brought("x5c", json!([certificate])), TokenNotValid));
        attacks.push(("the thumbprint of another key", brought("x5t", json!("AAAA")), TokenNotValid));
        let secret = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(b"secret"), "kid": "x"});
        attacks.push((
            "its own secret as `jwk`",
            {
                let header = json!({"alg": "HS256", "jwk": secret}).to_string();
                signed(&EncodingKey::from_secret(b"secret"), Algorithm::HS256, &header, &claims("hs").to_string())
            },
            TokenNotValid,
        ));
        attacks
    }

    fn headers(&self) -> Vec<Attack> {
        let mut attacks = Vec::new();
        for crit in [json!([]), json!(["b64"]), json!(["exp"]), json!(["alg"]), json!(["http://example.com/unknown"])] {
            attacks.push(("critical fields", self.headed(json!({"crit": crit})), CriticalHeader));
        }
        attacks.push(("critical fields that are there", self.headed(json!({"crit": ["b64"], "b64": false})), CriticalHeader));
        for crit in [json!("b64"), json!({"b64": true}), json!([1]), json!(true)] {
            attacks.push(("critical fields that are no list of names", self.headed(json!({"crit": crit})), TokenForm));
        }
        for typ in ["", "JWE", "JOSE", "JWT ", "jwt+at", "logout+jwt", "dpop+jwt", "secevent+jwt", "application/", "text/jwt", "id_token"] {
            attacks.push(("a token for something else", self.headed(json!({"typ": typ})), WrongType));
        }
        for typ in [json!(1), json!(["JWT"])] {
            attacks.push(("a `typ` that is no text", self.headed(json!({"typ": typ})), TokenForm));
        }
        attacks
    }
}

/// A scalar of Ed25519 and the group's order: the same to those who do not check it is reduced.
fn plus_order(scalar: &[u8]) -> [u8; 32] {
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0;
    std::array::from_fn(|at| {
        let sum = u16::from(scalar[at]) + u16::from(order[at]) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    })
}

#[test]
fn every_attack_with_a_jwt_meets_its_refusal_and_all_look_alike() {
    let stage = Stage::new();
    let interceptor = interceptor(vec![], stage.issuers());
    let issuers = issuers(stage.issuers()).unwrap();
    let header = |typ: &str| stage.headed(json!({"typ": typ}));
    for good in [
        stage.good(),
        stage.set.signed(r#"{"alg":"ES256","kid":"one"}"#, &claims("set").to_string()),
        stage.claiming(json!({"iat": seconds() - 60, "exp": seconds() + 24 * 60 * 60 - 120})),
        stage.claiming(json!({"exp": seconds() as f64 + 0.5})),
        header("jwt"),
        header("AT+JWT"),
        header("application/at+jwt"),
        header("application/JWT"),
        stage.headed(json!({"typ": null})),
    ] {
        assert!(call(&interceptor, jwt(&good)).is_ok(), "what the attacks are made of is not good: {good}");
    }

    let groups = [stage.algorithms(), stage.signatures(), stage.structures(), stage.times(), stage.claims(), stage.keys(), stage.headers()];
    let attacks = groups.concat();
    assert!(attacks.len() >= 64, "{}", attacks.len());
    for (what, token, expected) in &attacks {
        assert_eq!(issuers.principal(token).err(), Some(*expected), "{what}: {token}");
    }
    // A text that no header can hold never gets this far.
    let headers = attacks.iter().filter(|(_, token, _)| token.parse::<tonic::metadata::AsciiMetadataValue>().is_ok());
    assert_refused(&interceptor, headers.map(|(what, token, _)| (*what, jwt(token))).collect());
}

#[test]
fn a_good_token_in_bad_company_gets_the_same_answer() {
    let interceptor = interceptor(vec![], vec![hmac().config("hs"), hmac().config("other")]);
    let good = hmac().sign(&claims("hs"));
    let bearer = format!("Bearer {}", hmac().sign(&claims("other")));
    let bad = vec![
        ("two tokens", metadata(&[("x-access-token", &good), ("authorization", &bearer)])),
        ("one token twice", metadata(&[("x-access-token", &good), ("x-access-token", &good)])),
        ("another application", metadata(&[("x-access-token", &good), ("x-application-id", "OTHER")])),
        ("two applications", metadata(&[("x-access-token", &good), ("x-application-id", "DEMO"), ("x-algolia-application-id", "OTHER")])),
        ("a token as a key", metadata(&[("x-application-id", "DEMO"), ("x-api-key", &good)])),
        ("a bearer in the wrong header", metadata(&[("x-access-token", &format!("Bearer {good}"))])),
        ("no scheme", metadata(&[("authorization", &good)])),
        ("another scheme", metadata(&[("authorization", &format!("Token {good}"))])),
    ];
    assert!(call(&interceptor, jwt(&good)).is_ok());
    assert_refused(&interceptor, bad);
}
