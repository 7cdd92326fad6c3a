//! The section about credentials: whose JWTs to believe, and how they are signed.

use std::{fmt, fs, path::Path, time::Duration};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use toml::{Table, Value};
use url::{Host, Url};

use super::{Error, duration};
use crate::domain::{secret::Secret, subject::ApplicationId};

const ISSUER: &str = "jwt-issuer";
const LEEWAY: &str = "jwt-leeway";
const MAX_LEEWAY: Duration = Duration::from_secs(30);
const JWKS_MAX_AGE: &str = "jwks-max-age";

/// More often no key set is fetched, whether it could be or not.
pub const MIN_JWKS_MAX_AGE: Duration = Duration::from_secs(30);

/// Flags about credentials. An issuer is taken as it is and checked later, because `clap` quotes what it refuses.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Credentials")]
pub struct AuthArgs {
    /// An issuer of users' JWTs, as a TOML table: `{issuer="…", application="…", audience="…", algorithm="ES256", key_file="…"}`.
    ///
    /// The algorithm is HS256, RS256, ES256 or EdDSA. In place of `key_file` (PEM, or the bytes of an HMAC secret) there may be `jwks_url` or
    /// `jwks_file` (a JSON Web Key Set), `public_key` (PEM) or `secret` (an HMAC secret in base64url). Repeat the flag for more issuers;
    /// the environment variable also takes an array of tables. In the file each issuer is a `[[jwt_issuer]]`.
    #[arg(long, value_name = "TABLE")]
    pub jwt_issuer: Vec<Secret>,
    /// How far the clocks of issuers may be off; 30s at most.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub jwt_leeway: Duration,
    /// How long a token may live: from when it was issued, if it says so, and from now, until its `exp`.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse_positive)]
    pub jwt_max_life: Duration,
    /// After how long a JSON Web Key Set is fetched anew from its `jwks_url`; 30s at least.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    pub jwks_max_age: Duration,
    /// How many credentials of one peer may be refused within a minute before it hears of more refusals late, by up to 5s.
    #[arg(long, value_name = "COUNT", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub failed_logins: u32,
}

/// Checked settings about credentials.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The issuers; each is named once.
    pub issuers: Vec<IssuerConfig>,
    /// How far their clocks may be off; at most 30 seconds.
    pub leeway: Duration,
    /// How long a token may live.
    pub max_life: Duration,
    /// After how long a published key set is fetched anew.
    pub jwks_max_age: Duration,
    /// How many refusals within a minute one peer hears of at once.
    pub failed_logins: u32,
}

impl Default for AuthConfig {
    /// No issuer, and the limits that `serve` has.
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            leeway: Duration::from_secs(10),
            max_life: Duration::from_secs(24 * 60 * 60),
            jwks_max_age: Duration::from_secs(5 * 60),
            failed_logins: 30,
        }
    }
}

/// An issuer of users' JWTs.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The tokens' `iss`.
    pub issuer: String,
    /// The tenant its users belong to.
    pub application: ApplicationId,
    /// What the tokens' `aud` must name.
    pub audience: String,
    /// The one algorithm of its tokens.
    pub algorithm: JwtAlgorithm,
    /// What verifies them.
    pub keys: IssuerKeys,
}

/// How tokens are signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// An issuer's keys, read but not yet understood. `Debug` shows nothing of them.
#[derive(Clone)]
pub enum IssuerKeys {
    /// A secret shared with the issuer.
    Hmac(Vec<u8>),
    /// A public key in PEM.
    Pem(Vec<u8>),
    /// A JSON Web Key Set.
    JwkSet(Vec<u8>),
    /// Where the issuer publishes a JSON Web Key Set: over TLS, or on this machine.
    JwkSetUrl(Url),
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hmac(_) => "Hmac(…)",
            Self::Pem(_) => "Pem(…)",
            Self::JwkSet(_) => "JwkSet(…)",
            Self::JwkSetUrl(_) => "JwkSetUrl(…)",
        })
    }
}

impl AuthArgs {
    /// Checks the section and reads the key files.
    ///
    /// # Errors
    /// Which flag cannot be used, and why.
    pub fn check(self) -> Result<AuthConfig, Error> {
        if self.jwt_leeway > MAX_LEEWAY {
            return Err(Error::new(LEEWAY, "must be at most 30s"));
        }
        if self.jwks_max_age < MIN_JWKS_MAX_AGE {
            return Err(Error::new(JWKS_MAX_AGE, "must be at least 30s"));
        }
        let mut issuers: Vec<IssuerConfig> = Vec::new();
        for table in self.jwt_issuer.iter().map(tables).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            let issuer = Entries(table).issuer()?;
            if issuers.iter().any(|other| other.issuer == issuer.issuer) {
                return Err(Error::new(ISSUER, format!("the issuer {:?} is there twice", issuer.issuer)));
            }
            issuers.push(issuer);
        }
        Ok(AuthConfig {
            issuers,
            leeway: self.jwt_leeway,
            max_life: self.jwt_max_life,
            jwks_max_age: self.jwks_max_age,
            failed_logins: self.failed_logins,
        })
    }
}

/// The tables in one value of the flag: a table, or an array of them.
fn tables(text: &Secret) -> Result<Vec<Table>, Error> {
    // What `toml` says of a mistake quotes the text, which may hold a secret.
    let refuse = || Error::new(ISSUER, "is no TOML table; write {issuer=\"…\", application=\"…\", …}");
    let mut document: Table = format!("value = {}", text.expose()).parse().map_err(|_| refuse())?;
    let values = match document.remove("value") {
        Some(Value::Array(values)) => values,
        Some(value) => vec![value],
        None => return Err(refuse()),
    };
    if !document.is_empty() {
        return Err(refuse());
    }
    values.into_iter().map(|value| if let Value::Table(table) = value { Ok(table) } else { Err(refuse()) }).collect()
}

/// What an issuer's table may hold; the last five are where its keys come from.
const KEYS: [&str; 9] = ["issuer", "application", "audience", "algorithm", "secret", "public_key", "key_file", "jwks_file", "jwks_url"];

/// What is left to read of an issuer's table.
struct Entries(Table);

impl Entries {
    fn issuer(mut self) -> Result<IssuerConfig, Error> {
        // First, for a misspelt key is not a missing one.
        if let Some(unknown) = self.0.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(Error::new(ISSUER, format!("unknown key `{unknown}`; there are {}", KEYS.join(", "))));
        }
        let issuer = self.take("issuer")?;
        let application = ApplicationId::parse(self.take("application")?)
            .map_err(|complaint| Error::new(ISSUER, format!("`application` of {issuer:?} {complaint}")))?;
        let audience = self.take("audience")?;
        let algorithm = match self.take("algorithm")?.as_str() {
            "HS256" => JwtAlgorithm::Hs256,
            "RS256" => JwtAlgorithm::Rs256,
            "ES256" => JwtAlgorithm::Es256,
            "EdDSA" => JwtAlgorithm::EdDsa,
            _ => return Err(Error::new(ISSUER, "`algorithm` must be HS256, RS256, ES256 or EdDSA")),
        };
        let keys = self.keys(algorithm).map_err(|problem| Error::new(ISSUER, format!("{issuer:?}: {problem}")))?;
        Ok(IssuerConfig { issuer, application, audience, algorithm, keys })
    }

    fn take(&mut self, key: &'static str) -> Result<String, Error> {
        match self.0.remove(key) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            Some(_) => Err(Error::new(ISSUER, format!("`{key}` must be text, and not empty"))),
            None => Err(Error::new(ISSUER, format!("`{key}` is missing"))),
        }
    }

    fn keys(&mut self, algorithm: JwtAlgorithm) -> Result<IssuerKeys, String> {
        let hmac = algorithm == JwtAlgorithm::Hs256;
        let sources: Vec<_> = KEYS[4..].iter().copied().filter(|key| self.0.contains_key(*key)).collect();
        let [source] = sources[..] else {
            return Err("needs exactly one of `secret`, `public_key`, `key_file`, `jwks_file` and `jwks_url`".to_owned());
        };
        let text = self.take(source).map_err(|error| error.problem)?;
        match source {
            "secret" if !hmac => Err("`secret` is for HS256 alone; give the public key".to_owned()),
            "public_key" if hmac => Err("HS256 needs `secret`, and never a public key".to_owned()),
            "jwks_url" if hmac => Err("HS256 needs `secret`; what is published is no secret".to_owned()),
            "secret" => {
                let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
                let secret = GeneralPurpose::new(&alphabet::URL_SAFE, lenient).decode(text);
                secret.map(IssuerKeys::Hmac).map_err(|_| "`secret` is not base64url".to_owned())
            }
            "public_key" => Ok(IssuerKeys::Pem(text.into_bytes())),
            "jwks_file" => read(&text).map(IssuerKeys::JwkSet),
            "jwks_url" => jwks_url(&text).map(IssuerKeys::JwkSetUrl),
            _ if hmac => read(&text).and_then(|secret| hmac_secret(&text, secret)),
            _ => read(&text).map(IssuerKeys::Pem),
        }
    }
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    fs::read(Path::new(file)).map_err(|error| format!("cannot read {file}: {error}"))
}

/// A URL whose answer nobody on the way can have written. What it holds is not repeated.
fn jwks_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`jwks_url` is no URL: {error}"))?;
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        Err("`jwks_url` must begin with https:// (or http:// on this machine), or anyone on the way could sign tokens".to_owned())
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("`jwks_url` must not hold a password: what is published needs none".to_owned())
    } else {
        Ok(url)
    }
}

/// Guards against two mistakes that would only show in tokens nobody can explain: a public key used as a secret, which lets anyone sign, and
/// a line end that an editor added.
fn hmac_secret(file: &str, secret: Vec<u8>) -> Result<IssuerKeys, String> {
    if secret.starts_with(b"-----BEGIN") {
        Err(format!("{file} holds a PEM key, which is no HMAC secret"))
    } else if secret.ends_with(b"\n") {
        Err(format!("{file} ends with a line end, and every byte of it counts; write the secret without, or give it as `secret`"))
    } else {
        Ok(IssuerKeys::Hmac(secret))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const COMMON: &str = r#"issuer="https://id", application="DEMO", audience="userdata""#;

    fn check(issuers: &[String]) -> Result<AuthConfig, Error> {
        args(issuers).check()
    }

    fn args(issuers: &[String]) -> AuthArgs {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            auth: AuthArgs,
        }
        let issuers = issuers.iter().map(|issuer| format!("--jwt-issuer={issuer}"));
        Command::parse_from(std::iter::once("test".to_owned()).chain(issuers)).auth
    }

    #[test]
    fn the_usual_limits_are_those_of_the_flags() {
        assert_eq!(format!("{:?}", args(&[]).check().unwrap()), format!("{:?}", AuthConfig::default()));
    }

    #[test]
    fn an_issuer_is_a_table_and_several_are_an_array() {
        let one = format!(r#"{{{COMMON}, algorithm="HS256", secret="AAEC_w"}}"#);
        let config = check(std::slice::from_ref(&one)).unwrap();
        assert_eq!(config.issuers[0].issuer, "https://id");
        assert_eq!(config.issuers[0].algorithm, JwtAlgorithm::Hs256);
        assert!(matches!(&config.issuers[0].keys, IssuerKeys::Hmac(secret) if secret == &[0, 1, 2, 255]));
        assert_eq!(check(&[format!("[{one}, {}]", one.replace("https://id", "other"))]).unwrap().issuers.len(), 2);
        assert!(check(&[one.clone(), one]).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn a_bad_issuer_is_refused_without_quoting_a_secret() {
        let bad = [
            "hunter2".to_owned(),
            r#"{secret="hunter2""#.to_owned(),
            "{}\nsecret = \"hunter2\"".to_owned(),
            r#"{secret="hunter2"}"#.to_owned(),
            format!(r#"{{{COMMON}, algorithm="none", secret="hunter2"}}"#),
            format!(r#"{{{COMMON}, algorithm="HS256", secret="hunter2!"}}"#),
            format!(r#"{{{COMMON}, algorithm="HS256", secret=["hunter2"]}}"#),
            format!(r#"{{{COMMON}, algorithm="RS256", secret="hunter2"}}"#),
            format!(r#"{{{COMMON}, algorithm="HS256", public_key="hunter2"}}"#),
            format!(r#"{{{COMMON}, algorithm="HS256", secret="hunter2", key_file="x"}}"#),
            format!(r#"{{{COMMON}, algorithm="HS256", secret="hunter22", colour="hunter2"}}"#),
            format!(r#"{{{COMMON}, algorithm="HS256"}}"#),
            format!(r#"{{{COMMON}, algorithm="RS256", key_file="/nowhere/at/all"}}"#),
        ];
        for bad in bad {
            let error = check(std::slice::from_ref(&bad)).unwrap_err().to_string();
            assert!(error.starts_with("--jwt-issuer: ") && !error.contains("hunter2"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_misspelt_key_is_named_before_the_one_that_it_should_have_been() {
        let table = format!(r#"{{{}, algorithm="HS256", secret="AAEC_w"}}"#, COMMON.replace("audience", "audiance"));
        let error = check(&[table]).unwrap_err().to_string();
        assert!(error.contains("unknown key `audiance`"), "{error}");
    }

    #[test]
    fn an_hmac_key_file_must_be_a_secret_and_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let table = format!(r#"{{{COMMON}, algorithm="HS256", key_file={:?}}}"#, file.to_str().unwrap());
        for (content, good) in [("0123", true), ("0123\n", false), ("-----BEGIN PUBLIC KEY-----", false)] {
            fs::write(&file, content).unwrap();
            assert_eq!(check(std::slice::from_ref(&table)).is_ok(), good, "{content:?}");
        }
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        let args = args(&[format!(r#"{{{COMMON}, algorithm="HS256", secret="hunter22"}}"#)]);
        let shown = format!("{args:?} {:?}", args.clone().check().unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains("133"), "{shown}");
    }

    #[test]
    fn a_published_set_comes_over_tls_or_from_this_machine() {
        let table = |algorithm: &str, url: &str| format!(r#"{{{COMMON}, algorithm="{algorithm}", jwks_url="{url}"}}"#);
        for good in
            ["https://id.example/jwks", "https://192.0.2.1:8443/", "http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://localhost/"]
        {
            let config = check(&[table("ES256", good)]).unwrap();
            assert!(matches!(&config.issuers[0].keys, IssuerKeys::JwkSetUrl(url) if url.as_str() == good), "{good}");
        }
        let bad = [
            ("ES256", "http://id.example/hunter2"),
            ("ES256", "http://127.0.0.1.evil.example/hunter2"),
            ("ES256", "http://localhost.evil.example/hunter2"),
            ("ES256", "http://10.0.0.1/hunter2"),
            ("ES256", "file:///etc/hunter2"),
            ("ES256", "hunter2"),
            ("ES256", "https://anna:hunter2@id.example/"),
            ("ES256", "https://hunter2@id.example/"),
            ("HS256", "https://id.example/hunter2"),
        ];
        for (algorithm, url) in bad {
            let error = check(&[table(algorithm, url)]).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn a_published_set_is_not_fetched_all_the_time() {
        let args = |seconds| AuthArgs { jwks_max_age: Duration::from_secs(seconds), ..args(&[]) };
        assert!(args(30).check().is_ok());
        assert!(args(29).check().is_err());
    }

    #[test]
    fn clocks_may_be_off_by_thirty_seconds_at_most() {
        let args = |seconds| AuthArgs { jwt_leeway: Duration::from_secs(seconds), ..args(&[]) };
        assert!(args(30).check().is_ok());
        assert!(args(31).check().is_err());
    }
}
