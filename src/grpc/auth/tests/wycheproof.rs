//! Wycheproof's vectors for JWS. Their payloads are no claims, so none of them could be let in; what is looked at besides is whose signature
//! is believed, by the keys that an issuer would have published.

use jsonwebtoken::{Validation, decode, decode_header, errors::ErrorKind};
use wycheproof_ng_kdf_jose::json_web::TestName;

use super::*;
use crate::grpc::auth::verifying_keys::VerifyingKeys;

const ALGORITHMS: [(JwtAlgorithm, Algorithm); 3] =
    [(JwtAlgorithm::Hs256, Algorithm::HS256), (JwtAlgorithm::Rs256, Algorithm::RS256), (JwtAlgorithm::Es256, Algorithm::ES256)];

/// Vectors about which we differ, by their number: the first two are the same text as 357, which is valid.
const LACK_THE_PADDING_THEY_ARE_NAMED_FOR: [u64; 2] = [367, 370];
const VALID_IF_CHARACTERS_THAT_BASE64_DOES_NOT_HAVE_ARE_PASSED_OVER: [u64; 2] = [372, 373];

/// Whether the token is refused for its payload and for nothing before that.
fn is_believed(token: &str, keys: &VerifyingKeys, algorithm: Algorithm) -> bool {
    let Ok(header) = decode_header(token) else { return false };
    let key = keys.get(header.kid.as_deref()).filter(|_| header.alg == algorithm && header.crit.is_none());
    let refused = key.map(|key| decode::<Value>(token, key, &Validation::new(algorithm)).unwrap_err().into_kind());
    matches!(refused, Some(ErrorKind::Json(_) | ErrorKind::MissingRequiredClaim(_)))
}

#[test]
fn of_wycheproofs_signatures_no_invalid_one_is_believed_and_no_token_let_in() {
    let vectors: Value = serde_json::from_str(TestName::JsonWebSignature.json_data()).unwrap();
    let (mut wrong, mut invalid, mut believed, mut valid) = (Vec::new(), 0, 0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let set = json!({"keys": [group.get("public").unwrap_or(&group["private"])]}).to_string();
        for (configured, algorithm) in ALGORITHMS {
            let keys = VerifyingKeys::published(set.as_bytes(), algorithm).unwrap();
            let url = IssuerKeys::JwkSetUrl("https://id.example".parse().unwrap());
            let config = IssuerConfig { algorithm: configured, keys: url, ..hmac().config("id") };
            let issuers = Issuers::new(&AuthConfig { issuers: vec![config], ..AuthConfig::default() }).unwrap();
            issuers.replace_keys("id", set.as_bytes()).unwrap();
            for test in group["tests"].as_array().unwrap() {
                let (token, id) = (test["jws"].as_str().unwrap(), test["tcId"].as_u64().unwrap());
                let is_valid = test["result"] == "valid" && !VALID_IF_CHARACTERS_THAT_BASE64_DOES_NOT_HAVE_ARE_PASSED_OVER.contains(&id)
                    || LACK_THE_PADDING_THEY_ARE_NAMED_FOR.contains(&id);
                let is_believed = is_believed(token, &keys, algorithm);
                (invalid, believed) = (invalid + usize::from(!is_valid), believed + usize::from(is_believed));
                valid += usize::from(is_valid && !keys.is_empty());
                if is_believed && !is_valid || is_valid && !is_believed && !keys.is_empty() || issuers.principal(token).is_ok() {
                    wrong.push(format!("{algorithm:?} {id} {} {is_believed}", test["comment"]));
                }
            }
        }
    }
    assert!(invalid > 1_000 && valid > 15, "the vectors are not there: {invalid} invalid, {valid} valid");
    assert!(wrong.is_empty(), "{believed} of {valid} valid ones are believed; wrong:\n{}", wrong.join("\n"));
}
