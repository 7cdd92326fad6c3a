//! Key sets that issuers publish: fetched in time and never because of a call, and kept when they cannot be fetched.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use userdata::{
    config::auth::{AuthConfig, IssuerKeys, JwtAlgorithm},
    repository::Engine,
};

use crate::{
    credentials::{Pair, accepts, claims, issuer_config, jwt, key_headers},
    program::Program,
    world::{ACME, World, eventually},
};

/// How often a server here fetches: `serve` never does so that often.
const OFTEN: Duration = Duration::from_millis(100);

/// What the publisher answers.
#[derive(Clone)]
enum Answer {
    Set(Value),
    Text(&'static str),
    /// Another status than 200, with a set that is good.
    Status(&'static str, Value),
    /// A set, and then blanks without end.
    Endless(Value),
    /// A head, and then nothing.
    Stuck,
    /// The connection ends in the midst of the set.
    Cut(Value),
}

/// An HTTP server of one page, at `/jwks`; at `/moved` there is the page that a redirection leads to.
struct Publisher {
    url: String,
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<Mutex<usize>>,
    serving: JoinHandle<()>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Publisher {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let (answer, fetches) = (Arc::new(Mutex::new(answer)), Arc::new(Mutex::new(0)));
        let (answers, counts) = (Arc::clone(&answer), Arc::clone(&fetches));
        let serving = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                *counts.lock().unwrap() += 1;
                let answer = answers.lock().unwrap().clone();
                // Whoever asks may be gone before the end.
                tokio::spawn(async move { drop(reply(connection, answer).await) });
            }
        });
        Self { url, answer, fetches, serving }
    }

    fn publish(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn fetches(&self) -> usize {
        *self.fetches.lock().unwrap()
    }

    /// Until a fetch that began after this call has ended: another has begun after it.
    async fn fetched(&self) {
        let before = self.fetches();
        eventually("the set is fetched again", async || self.fetches() >= before + 2).await;
    }

    async fn world(&self, max_age: Duration) -> World {
        let keys = IssuerKeys::JwkSetUrl(self.url.parse().unwrap());
        let issuers = vec![issuer_config("id", ACME, JwtAlgorithm::Es256, keys)];
        World::start_with(Engine::Sqlite, |config| {
            config.auth = AuthConfig { issuers, jwks_max_age: max_age, ..config.auth.clone() };
        })
        .await
    }
}

async fn reply(mut connection: TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(connection.read_u8().await?);
    }
    let moved = request.starts_with(b"GET /moved ");
    let page = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\nlocation: /moved\r\n\r\n{body}", body.len())
    };
    let text = match answer {
        Answer::Status(_, set) if moved => page("200 OK", &set.to_string()),
        Answer::Status(status, set) => page(status, &set.to_string()),
        Answer::Set(set) => page("200 OK", &set.to_string()),
        Answer::Text(text) => page("200 OK", text),
        Answer::Cut(set) => page("200 OK", &set.to_string()).trim_end_matches('}').to_owned(),
        Answer::Stuck => {
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await?;
            return std::future::pending().await;
        }
        Answer::Endless(set) => {
            connection.write_all(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{set}").as_bytes()).await?;
            loop {
                connection.write_all(&[b' '; 4096]).await?;
            }
        }
    };
    connection.write_all(text.as_bytes()).await
}

fn set(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_changes_its_keys_without_a_restart() {
    let (one, two) = (Pair::ecdsa(), Pair::ecdsa());
    // What an issuer publishes for others is passed over.
    let others = [json!({"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"}), json!({"kty": "new", "kid": "x"}), one.jwk("one")];
    let publisher = Publisher::start(Answer::Set(set(&others))).await;
    let world = publisher.world(OFTEN).await;
    let channel = world.channel().await;
    let accepted = async |pair: &Pair, kid: &str| accepts(&channel, &jwt(&pair.sign_as(kid, &claims("id", "anna")))).await;
    assert!(accepted(&one, "one").await, "the server began to serve without the issuer's keys");
    assert!(!accepted(&two, "two").await);

    publisher.publish(Answer::Set(set(&[one.jwk("one"), two.jwk("two")])));
    eventually("the new key is believed", async || accepted(&two, "two").await).await;
    assert!(accepted(&one, "one").await, "both are good while the issuer changes over");
    assert!(!accepted(&one, "two").await && !accepted(&two, "one").await);

    publisher.publish(Answer::Set(set(&[two.jwk("two")])));
    eventually("the old key is believed no more", async || !accepted(&one, "one").await).await;
    assert!(accepted(&two, "two").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_cannot_be_had_or_used_leaves_the_last_good_one() {
    let (good, evil) = (Pair::ecdsa(), Pair::ecdsa());
    let publisher = Publisher::start(Answer::Set(set(&[good.jwk("one")]))).await;
    let world = publisher.world(OFTEN).await;
    let channel = world.channel().await;
    let other = || set(&[evil.jwk("one")]);
    let answers = [
        ("a failure", Answer::Status("500 Internal Server Error", other())),
        ("a redirection", Answer::Status("302 Found", other())),
        ("another success", Answer::Status("203 Non-Authoritative Information", other())),
        ("nothing", Answer::Text("")),
        ("no JSON", Answer::Text("<html>")),
        ("no set", Answer::Text("{}")),
        ("two keys of one name", Answer::Set(set(&[evil.jwk("one"), good.jwk("one")]))),
        ("a set that is cut", Answer::Cut(other())),
        ("a set without end", Answer::Endless(other())),
        ("a set that does not come", Answer::Stuck),
    ];
    for (what, answer) in answers {
        publisher.publish(answer);
        publisher.fetched().await;
        assert!(accepts(&channel, &jwt(&good.sign_as("one", &claims("id", "anna")))).await, "the keys were lost to {what}");
        assert!(!accepts(&channel, &jwt(&evil.sign_as("one", &claims("id", "anna")))).await, "keys were taken from {what}");
    }
    publisher.publish(Answer::Set(other()));
    eventually("a good set is taken again", async || accepts(&channel, &jwt(&evil.sign_as("one", &claims("id", "anna")))).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_without_a_key_that_can_be_used_withdraws_the_last_one() {
    let one = Pair::ecdsa();
    let publisher = Publisher::start(Answer::Set(set(&[one.jwk("one")]))).await;
    let world = publisher.world(OFTEN).await;
    let channel = world.channel().await;
    let token = jwt(&one.sign_as("one", &claims("id", "anna")));
    for (what, nothing) in [("no key", vec![]), ("a key for others", vec![json!({"kty": "RSA", "kid": "one", "n": "AQAB", "e": "AQAB"})])] {
        publisher.publish(Answer::Set(set(&nothing)));
        eventually(&format!("{what} ends belief in the last one"), async || !accepts(&channel, &token).await).await;
        publisher.publish(Answer::Text("a failure changes nothing"));
        publisher.fetched().await;
        assert!(!accepts(&channel, &token).await, "after {what}");
        publisher.publish(Answer::Set(set(&[one.jwk("one")])));
        eventually("it is believed again", async || accepts(&channel, &token).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_publishes_no_key_is_an_error_in_the_log() {
    let publisher = Publisher::start(Answer::Set(set(&[]))).await;
    let folder = tempfile::tempdir().unwrap();
    let table = format!(r#"{{issuer="id", application="ACME", audience="userdata", algorithm="ES256", jwks_url="{}"}}"#, publisher.url);
    let program = Program::serve(folder.path(), "sqlite://userdata.db", &["--jwt-issuer", &table]);
    program.address().await;
    let told: Vec<Value> = program.log().into_iter().filter(|line| line["issuer"] == "id").collect();
    assert!(matches!(&told[..], [line] if line["level"] == "ERROR"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_set_the_server_starts_and_believes_the_issuer_once_there_is_one() {
    let one = Pair::ecdsa();
    let publisher = Publisher::start(Answer::Text("not yet")).await;
    let world = publisher.world(OFTEN).await;
    let channel = world.channel().await;
    let token = jwt(&one.sign_as("one", &claims("id", "anna")));
    assert!(accepts(&channel, &key_headers(ACME, world.key(ACME))).await, "API keys have nothing to do with it");
    assert!(!accepts(&channel, &token).await);
    publisher.publish(Answer::Set(set(&[one.jwk("one")])));
    eventually("the issuer is believed", async || accepts(&channel, &token).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_has_a_set_fetched_whatever_key_it_names() {
    let (one, stranger) = (Pair::ecdsa(), Pair::ecdsa());
    let publisher = Publisher::start(Answer::Set(set(&[one.jwk("one")]))).await;
    let world = publisher.world(Duration::from_secs(3600)).await;
    let channel = world.channel().await;
    for number in 0..50 {
        let token = stranger.sign_as(&format!("stranger {number}"), &claims("id", "anna"));
        assert!(!accepts(&channel, &jwt(&token)).await);
    }
    assert!(accepts(&channel, &jwt(&one.sign_as("one", &claims("id", "anna")))).await);
    assert_eq!(publisher.fetches(), 1, "only the start fetches");
}
