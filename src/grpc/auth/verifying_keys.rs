//! The keys that verify one issuer's tokens, checked at start so that no token is the first to show a mistake.

use std::collections::HashMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey, crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse},
};

use crate::config::auth::IssuerKeys;

const MIN_HMAC_BYTES: usize = 32;
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// What is wrong with an issuer's keys. Holds nothing of them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The key is no PEM, or a private key, or of another kind.
    #[error("the key is no public key in PEM for this algorithm")]
    Pem,
    /// The key can be read, but not used.
    #[error("the key does not fit the algorithm: RS256 needs RSA of 2048 to 8192 bits, ES256 P-256, EdDSA Ed25519")]
    Unfit,
    /// Anyone could guess it.
    #[error("the HMAC secret is {0} bytes long; HS256 needs at least 32")]
    ShortSecret(usize),
    /// A key file that is none.
    #[error("not a JSON Web Key Set (line {0})")]
    NoJwkSet(usize),
    /// A key set that would refuse every token.
    #[error("the JSON Web Key Set holds no key for this algorithm")]
    EmptyJwkSet,
    /// Something about one key of a set.
    #[error("key {index} (counted from 0) of the JSON Web Key Set {problem}")]
    Jwk {
        /// Which.
        index: usize,
        /// What.
        problem: String,
    },
}

/// An issuer whose keys cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("--jwt-issuer {issuer:?}: {problem}")]
pub struct IssuerError {
    /// The issuer.
    pub issuer: String,
    /// What is wrong with its keys.
    pub problem: KeyError,
}

/// One key for all tokens, or a key for each `kid`.
pub(super) enum VerifyingKeys {
    One(DecodingKey),
    ByKid(HashMap<String, DecodingKey>),
}

impl VerifyingKeys {
    pub(super) fn new(algorithm: Algorithm, keys: &IssuerKeys) -> Result<Self, KeyError> {
        match keys {
            IssuerKeys::Hmac(secret) => checked(DecodingKey::from_secret(secret), algorithm).map(Self::One),
            IssuerKeys::Pem(pem) => {
                let key = match algorithm.family() {
                    AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
                    AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
                    AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
                    AlgorithmFamily::Hmac => return Err(KeyError::Pem),
                };
                checked(key.map_err(|_| KeyError::Pem)?, algorithm).map(Self::One)
            }
            IssuerKeys::JwkSet(json) => match by_kid(json, algorithm, false)? {
                keys if keys.is_empty() => Err(KeyError::EmptyJwkSet),
                keys => Ok(Self::ByKid(keys)),
            },
            // Until they are fetched there are none.
            IssuerKeys::JwkSetUrl(_) => Ok(Self::ByKid(HashMap::new())),
        }
    }

    /// The keys of a set that an issuer publishes. It may have others, for other uses; those are passed over, and there may be none left.
    pub(super) fn published(json: &[u8], algorithm: Algorithm) -> Result<Self, KeyError> {
        by_kid(json, algorithm, true).map(Self::ByKid)
    }

    /// Whether every token is refused.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::ByKid(keys) if keys.is_empty())
    }

    /// The key for a token. Where there is only one, `kid` is only a name for it, and ignored.
    pub(super) fn get(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        match self {
            Self::One(key) => Some(key),
            Self::ByKid(keys) => keys.get(kid?),
        }
    }
}

fn by_kid(json: &[u8], algorithm: Algorithm, with_others: bool) -> Result<HashMap<String, DecodingKey>, KeyError> {
    // What `serde_json` says of a mistake may quote the text, which may hold a secret.
    let set: JwkSet = serde_json::from_slice(json).map_err(|error| KeyError::NoJwkSet(error.line()))?;
    let mut keys = HashMap::new();
    for (index, jwk) in set.keys.iter().enumerate() {
        let problem = |problem: String| KeyError::Jwk { index, problem };
        let (kid, key) = match usable(jwk, algorithm) {
            Ok(usable) => usable,
            Err(_) if with_others => continue,
            Err(what) => return Err(problem(what)),
        };
        if keys.insert(kid, key).is_some() {
            return Err(problem("has the `kid` of another".into()));
        }
    }
    Ok(keys)
}

/// A key of a set with its name, or what is wrong with it.
fn usable(jwk: &Jwk, algorithm: Algorithm) -> Result<(String, DecodingKey), String> {
    let kid = jwk.common.key_id.clone().ok_or("has no `kid`")?;
    if !fits(jwk, algorithm) {
        return Err(format!("is not for {algorithm:?}: look at `kty`, `crv`, `alg`, `use` and `key_ops`"));
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|_| "cannot be read")?;
    let key = checked(key, algorithm).map_err(|error| format!("is not usable: {error}"))?;
    Ok((kid, key))
}

fn fits(jwk: &Jwk, algorithm: Algorithm) -> bool {
    let common = &jwk.common;
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => algorithm == Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) => algorithm == Algorithm::ES256 && key.curve == EllipticCurve::P256,
        AlgorithmParameters::OctetKeyPair(key) => algorithm == Algorithm::EdDSA && key.curve == EllipticCurve::Ed25519,
        AlgorithmParameters::OctetKey(_) => algorithm == Algorithm::HS256,
        _ => false,
    };
    kind && common.key_algorithm.is_none_or(|named| Algorithm::try_from(named).is_ok_and(|named| named == algorithm))
        && common.public_key_use.as_ref().is_none_or(|named| *named == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|named| named.contains(&KeyOperations::Verify))
}

/// The key, if a signature could be verified with it.
fn checked(key: DecodingKey, algorithm: Algorithm) -> Result<DecodingKey, KeyError> {
    if key.family() != algorithm.family() {
        return Err(KeyError::Unfit);
    }
    let fits = match (algorithm.family(), key.kind()) {
        (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) if secret.len() < MIN_HMAC_BYTES => {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(_)) => true,
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => {
            // The other forms of a point would pass here and fail at every token.
            point.first() == Some(&4) && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).parse().is_ok()
        }
        (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(bytes)) => UnparsedPublicKey::new(&ED25519, bytes).parse().is_ok(),
        (AlgorithmFamily::Rsa, DecodingKeyKind::SecretOrDer(der)) => {
            let fits = |key: aws_lc_rs::rsa::PublicKey| {
                RSA_MODULUS_BYTES.contains(&key.modulus_len()) && is_exponent(key.exponent().big_endian_without_leading_zero())
            };
            aws_lc_rs::rsa::PublicKey::from_der(der).is_ok_and(fits)
        }
        (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            RSA_MODULUS_BYTES.contains(&without_zeros(n).len())
                && is_exponent(without_zeros(e))
                && RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).is_ok()
        }
        _ => false,
    };
    if fits && verifies(&key, algorithm) { Ok(key) } else { Err(KeyError::Unfit) }
}

/// Whether signatures need the private key: with 1 anyone can make them, and an even exponent has no private key. Parsing minds neither.
fn is_exponent(e: &[u8]) -> bool {
    e.last().is_some_and(|last| last % 2 == 1) && e != [1]
}

fn without_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

/// Whether the code that tokens will meet can work with the key: what nobody has signed is refused, for its signature and for nothing else,
/// and what a secret has signed is accepted.
fn verifies(key: &DecodingKey, algorithm: Algorithm) -> bool {
    let message = b"self-test";
    let verify = |signature: &str| crypto::verify(signature, message, key, algorithm).ok();
    let signed = match key.kind() {
        DecodingKeyKind::SecretOrDer(secret) if algorithm.family() == AlgorithmFamily::Hmac => {
            crypto::sign(message, &EncodingKey::from_secret(secret), algorithm).is_ok_and(|signature| verify(&signature) == Some(true))
        }
        _ => true,
    };
    signed && verify("AAAA") == Some(false)
}
