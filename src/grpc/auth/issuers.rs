//! Users' JWTs.

use std::collections::HashMap;

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, Validation, dangerous::insecure_decode_claims, decode, decode_header, get_current_timestamp};
use serde::Deserialize;

use super::{
    refusal::Refusal,
    verifying_keys::{IssuerError, KeyError, VerifyingKeys},
};
use crate::{
    config::auth::{AuthConfig, IssuerConfig, JwtAlgorithm},
    domain::{
        principal::Principal,
        subject::{ApplicationId, UserToken},
        timestamp::Timestamp,
    },
};

const MAX_TOKEN_BYTES: usize = 4096;

/// What a token may call itself (`typ`): a JWT, or an access token of RFC 9068. An issuer's other tokens are for others.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// The issuers whose tokens are believed, by `iss`.
pub struct Issuers(HashMap<String, Issuer>);

struct Issuer {
    application: ApplicationId,
    algorithm: Algorithm,
    keys: ArcSwap<VerifyingKeys>,
    validation: Validation,
    /// In seconds, as all times of tokens.
    max_life: f64,
}

/// What is read of a token before its signature is verified, and used for nothing but to choose who should have signed it.
#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

/// What is read of a token once its signature is verified.
#[derive(Deserialize)]
struct Verified {
    sub: String,
    exp: f64,
    iat: Option<f64>,
}

/// RFC 7515, 4.1.9: in any case, and `application/` may be left out.
fn is_expected_type(mut typ: String) -> bool {
    typ.make_ascii_lowercase();
    TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}

impl Issuers {
    /// Checks the keys of all configured issuers.
    ///
    /// # Errors
    /// The issuer whose keys cannot be used, and why.
    pub fn new(config: &AuthConfig) -> Result<Self, IssuerError> {
        let issuers = config.issuers.iter().map(|issuer| match Issuer::new(issuer, config) {
            Ok(built) => Ok((issuer.issuer.clone(), built)),
            Err(problem) => Err(IssuerError { issuer: issuer.issuer.clone(), problem }),
        });
        issuers.collect::<Result<_, _>>().map(Self)
    }

    /// Has an issuer's tokens verified with the keys of a JSON Web Key Set, from now on and with no others. Gives whether there are any: what
    /// an issuer publishes no more it has withdrawn, and be it the last.
    ///
    /// # Errors
    /// Why the set cannot be used; the keys stay as they were.
    pub fn replace_keys(&self, issuer: &str, set: &[u8]) -> Result<bool, KeyError> {
        let Some(issuer) = self.0.get(issuer) else { return Ok(true) };
        let keys = VerifyingKeys::published(set, issuer.algorithm)?;
        let are_there = !keys.is_empty();
        issuer.keys.store(keys.into());
        Ok(are_there)
    }

    /// The principal of a token, and until when it is believed.
    pub(super) fn principal(&self, token: &str) -> Result<(Principal, Timestamp), Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TokenTooLong);
        }
        let header = decode_header(token).map_err(|_| Refusal::TokenForm)?;
        if header.crit.is_some() {
            return Err(Refusal::CriticalHeader);
        }
        if !header.typ.is_none_or(is_expected_type) {
            return Err(Refusal::WrongType);
        }
        let claimed: Claimed = insecure_decode_claims(token).map_err(|_| Refusal::TokenForm)?;
        let issuer = self.0.get(&claimed.iss).ok_or(Refusal::UnknownIssuer)?;
        if header.alg != issuer.algorithm {
            return Err(Refusal::WrongAlgorithm);
        }
        let keys = issuer.keys.load();
        let key = keys.get(header.kid.as_deref()).ok_or(Refusal::UnknownKey)?;
        let verified = decode::<Verified>(token, key, &issuer.validation).map_err(|_| Refusal::TokenNotValid)?;
        if !issuer.is_short_lived(&verified.claims) {
            return Err(Refusal::LifeTooLong);
        }
        let user_token = UserToken::parse(verified.claims.sub).map_err(|_| Refusal::NoUserToken)?;
        Ok((Principal::User { application: issuer.application.clone(), user_token }, issuer.believes_until(verified.claims.exp)))
    }
}

impl Issuer {
    fn new(config: &IssuerConfig, of_all: &AuthConfig) -> Result<Self, KeyError> {
        let algorithm = match config.algorithm {
            JwtAlgorithm::Hs256 => Algorithm::HS256,
            JwtAlgorithm::Rs256 => Algorithm::RS256,
            JwtAlgorithm::Es256 => Algorithm::ES256,
            JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        };
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.validate_nbf = true;
        validation.leeway = of_all.leeway.as_secs();
        Ok(Self {
            application: config.application.clone(),
            algorithm,
            keys: ArcSwap::from_pointee(VerifyingKeys::new(algorithm, &config.keys)?),
            validation,
            max_life: of_all.max_life.as_secs_f64(),
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a time as near as the longest life of a token")]
    fn believes_until(&self, exp: f64) -> Timestamp {
        let seconds = (exp as i64).saturating_add_unsigned(self.validation.leeway);
        Timestamp::from_parts(seconds, 0).unwrap_or(Timestamp(i64::MAX))
    }

    /// Whether the token ends soon enough: counted from now, and from when it says it was issued.
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 have 31 bits")]
    fn is_short_lived(&self, Verified { exp, iat, .. }: &Verified) -> bool {
        let latest_now = (get_current_timestamp() + self.validation.leeway) as f64;
        *exp <= latest_now + self.max_life && iat.is_none_or(|iat| iat <= latest_now && *exp <= iat + self.max_life)
    }
}
