//! TLS: who is let in, with what, and that new certificates come into use without anybody noticing.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
        crypto::aws_lc_rs::default_provider,
        version::{TLS12, TLS13},
    },
};
use tonic::{
    Status,
    transport::{Certificate as Ca, Channel, ClientTlsConfig, Endpoint, Error, Identity},
};
use userdata::{
    config::tls::TlsFiles,
    grpc::proto::{ExportUserDataRequest, ImportUserDataRequest, user_data_service_client::UserDataServiceClient},
    repository::Engine,
};

use crate::{
    credentials::key_headers,
    program::Program,
    records,
    rpc::{Rpc, with},
    world::{ACME, World, eventually},
};

/// More than enough for a handshake, and less than anything that is waited for here.
const SOON: Duration = Duration::from_secs(10);

/// One that signs certificates.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    /// A certificate of 127.0.0.1, and its key.
    fn issue(&self, until_year: i32) -> (Certificate, String) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key.serialize_pem())
    }
}

/// The files of a server with TLS, and who signs them.
pub(crate) struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new() };
        fs::write(files.path("ca.pem"), files.authority.certificate.pem()).unwrap();
        files.renew();
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another certificate and key, one after the other as programs write them; gives the certificate.
    fn renew(&self) -> Vec<u8> {
        let (certificate, key) = self.authority.issue(4000);
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key).unwrap();
        certificate.der().to_vec()
    }

    fn settings(&self) -> TlsFiles {
        TlsFiles { certificate: self.path("cert.pem"), key: self.path("key.pem"), client_ca: None }
    }

    /// Shakes hands as a client that speaks these versions.
    async fn shake_hands(
        &self,
        world: &World,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let connection = TcpStream::connect(world.address).await?;
        TlsConnector::from(self.client(versions, alpn)).connect("127.0.0.1".try_into().unwrap(), connection).await
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion], alpn: &[u8]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(versions).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }

    /// A connection as somebody; `None` shows no certificate.
    async fn channel(&self, world: &World, identity: Option<&(Certificate, String)>) -> Result<Channel, Error> {
        let mut config = ClientTlsConfig::new().ca_certificate(Ca::from_pem(self.authority.certificate.pem()));
        if let Some((certificate, key)) = identity {
            config = config.identity(Identity::from_pem(certificate.pem(), key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", world.address)).unwrap().tls_config(config).unwrap();
        endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535).connect().await
    }
}

/// The certificate that a server has shown.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_new_certificates_fail_no_handshake_and_cut_no_stream() {
    let files = Arc::new(Files::new());
    let world = Arc::new(World::start_with(Engine::Sqlite, |config| config.tls = Some(files.settings())).await);
    let key = key_headers(ACME, world.key(ACME));
    let channel = files.channel(&world, None).await.unwrap();
    let conversation = |number: usize| {
        let mut conversation = records::conversation(&format!("c-{number}"), 0);
        conversation.title = Some("x".repeat(250));
        conversation
    };
    let request =
        ImportUserDataRequest { user_token: "anna".into(), conversations: (0..2_000).map(conversation).collect(), ..Default::default() };
    let mut imports = userdata::grpc::proto::import_service_client::ImportServiceClient::new(channel.clone());
    assert_eq!(imports.import_user_data(with(&key, tokio_stream::iter([request]))).await.unwrap().get_ref().rejected, 0);

    // 600 KB do not go into the windows of this client, so its export runs across all that follows.
    let request = ExportUserDataRequest { user_token: "anna".into(), ..Default::default() };
    let mut export = UserDataServiceClient::new(channel).export_user_data(with(&key, request)).await.unwrap().into_inner();
    export.message().await.unwrap().unwrap();

    let (stop, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (files, world, stop, handshakes) = (files.clone(), world.clone(), stop.clone(), handshakes.clone());
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    files.shake_hands(&world, &[&TLS13, &TLS12], b"h2").await.expect("a handshake failed");
                    handshakes.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let new = files.renew();
        let is_in_use = async || shown(&files.shake_hands(&world, &[&TLS13], b"h2").await.expect("a handshake failed")) == new;
        eventually("the new certificate is in use", is_in_use).await;
    }
    stop.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let handshakes = handshakes.load(Relaxed);
    assert!(handshakes > 300, "only {handshakes} handshakes");

    let mut summary = None;
    while let Some(response) = export.message().await.unwrap() {
        summary = response.summary;
    }
    assert_eq!(summary.unwrap().counts.unwrap().conversations, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_make_no_tls_are_told_once_and_change_nothing() {
    let files = Files::new();
    let flags = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let mut program = Program::serve(files.folder.path(), "sqlite://userdata.db", &flags);
    let server = format!("https://{}", program.address().await);
    let says = |what: &str| program.log().iter().filter(|line| line["message"].as_str().unwrap_or_default().contains(what)).count();
    let is_healthy = async || {
        let mut probe = Program::start(files.folder.path(), &["health", "--server", &server, "--ca", "ca.pem"]);
        probe.ended().await.0 == Some(0)
    };

    let refused = "cannot be used; what they held before stays";
    for (number, content) in [Some("-----BEGIN PRIVATE KEY-----\nhunter2"), None].into_iter().enumerate() {
        let key = files.path("key.pem");
        content.map_or_else(|| fs::remove_file(&key), |content| fs::write(&key, content)).unwrap();
        let told = Instant::now();
        eventually("it is told", async || says(refused) == number + 1).await;
        eventually("it was looked at again", async || told.elapsed() > Duration::from_secs(3)).await;
        assert_eq!(says(refused), number + 1, "{}", program.stderr());
        assert!(is_healthy().await);
    }
    files.renew();
    eventually("the files are in use again", async || says("have changed and are in use") == 1).await;
    assert!(is_healthy().await);
    program.signal("TERM");
    assert_eq!(program.ended().await.0, Some(0));
    assert!(!program.stderr().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_ca_of_clients_only_those_with_its_valid_certificate_are_served() {
    let files = Files::new();
    let settings = TlsFiles { client_ca: Some(files.path("ca.pem")), ..files.settings() };
    let world = World::start_with(Engine::Sqlite, |config| config.tls = Some(settings)).await;
    let key = key_headers(ACME, world.key(ACME));
    let call = async |identity: Option<&(Certificate, String)>| {
        let channel = files.channel(&world, identity).await.map_err(|error| Status::from_error(error.into()))?;
        Rpc::ErasureStatus.call(&channel, &key, "anna").await
    };
    let (good, expired, foreign) = (files.authority.issue(4000), files.authority.issue(2020), Authority::new().issue(4000));
    call(Some(&good)).await.unwrap();
    for (whose, identity) in [("nobody's", None), ("an expired", Some(&expired)), ("a foreign", Some(&foreign))] {
        assert!(call(identity).await.is_err(), "{whose} certificate is accepted");
    }
    // Without TLS a connection begins before the server has said anything.
    if let Ok(plain) = Endpoint::from_shared(format!("http://{}", world.address)).unwrap().connect().await {
        assert!(Rpc::ErasureStatus.call(&plain, &key, "anna").await.is_err(), "plain text is served");
    }

    fs::write(files.path("client.pem"), good.0.pem()).unwrap();
    fs::write(files.path("client.key"), &good.1).unwrap();
    let server = format!("https://{}", world.address);
    let plain = server.replace("https", "http");
    let export = ["export", "anna", "--application", ACME, "--api-key", world.key(ACME), "--server", &server];
    let health = ["health", "--server", &server];
    let all = ["--ca", "ca.pem", "--cert", "client.pem", "--key", "client.key"];
    for (command, tls, code, says) in [
        (health.as_slice(), all.as_slice(), 0, ""),
        (&export, &all, 0, ""),
        (&health, &all[..2], 1, "error: "),
        (&export, &all[..4], 1, "--cert and --key"),
        (&export, &all[2..], 1, "error: "),
        (&["health", "--server", &plain], &all, 1, "https://"),
    ] {
        let mut program = Program::start(files.folder.path(), &[command, tls].concat());
        assert_eq!(program.ended().await.0, Some(code), "{command:?} {tls:?}: {}", program.stderr());
        assert!(program.stderr().contains(says), "{}", program.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_spoken_and_nothing_below_and_nothing_but_http_2() {
    let files = Files::new();
    let world = World::start_with(Engine::Sqlite, |config| config.tls = Some(files.settings())).await;
    for version in [&TLS12, &TLS13] {
        let stream = files.shake_hands(&world, &[version], b"h2").await.unwrap();
        assert_eq!((stream.get_ref().1.protocol_version(), stream.get_ref().1.alpn_protocol()), (Some(version.version), Some(&b"h2"[..])));
        files.shake_hands(&world, &[version], b"http/1.1").await.expect_err("HTTP/1.1 is spoken");
    }
    // A hello of TLS 1.1: AES-128-CBC with RSA, by ECDHE and without; P-256, and ECDSA with SHA-256 or RSA with SHA-1.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 6, 0, 4, 4, 3, 2, 1];
    let hello = [[3, 2].as_slice(), &[7; 32], &[0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0, 0, 18], &extensions].concat();
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], hello.as_slice()].concat();
    let mut old = TcpStream::connect(world.address).await.unwrap();
    old.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, old.read_to_end(&mut answer)).await.unwrap().unwrap();
    // A fatal alert: protocol_version.
    assert_eq!((answer[0], &answer[3..]), (21, &[0, 2, 2, 70][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_not_waited_for_and_in_nobodys_way() {
    let files = Files::new();
    let world = World::start_with(Engine::Sqlite, |config| {
        config.tls = Some(files.settings());
        config.listen.max_handshakes = 1;
        config.listen.handshake_timeout = Duration::from_secs(2);
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(world.address).await.unwrap());
    }
    let begun = Instant::now();
    timeout(SOON, files.shake_hands(&world, &[&TLS13], b"h2")).await.unwrap().unwrap();
    for mut connection in silent {
        assert!(matches!(timeout(SOON, connection.read(&mut [0; 64])).await.expect("a silent connection is kept"), Ok(0) | Err(_)));
    }
    assert!(begun.elapsed() > Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_after_his_hello_is_not_in_the_way_of_other_peers() {
    let files = Files::new();
    let world = World::start_with(Engine::Sqlite, |config| {
        config.tls = Some(files.settings());
        config.listen.max_connections_per_peer = 100;
        config.listen.max_handshakes = 4;
        config.listen.handshake_timeout = Duration::from_secs(60);
    })
    .await;
    let config = files.client(&[&TLS13], b"h2");
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut hello = Vec::new();
        let mut client = ClientConnection::new(Arc::clone(&config), "127.0.0.1".try_into().unwrap()).unwrap();
        client.write_tls(&mut hello).unwrap();
        let mut connection = TcpStream::connect(world.address).await.unwrap();
        connection.write_all(&hello).await.unwrap();
        slow.push(connection);
    }
    // The others wait for their peer's share.
    eventually("one of them is answered", async || slow.iter().any(|connection| connection.try_read(&mut [0]).is_ok())).await;

    let other = TcpSocket::new_v4().unwrap();
    other.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let other = other.connect(world.address).await.unwrap();
    let handshake = TlsConnector::from(config).connect("127.0.0.1".try_into().unwrap(), other);
    timeout(SOON, handshake).await.expect("another peer has to wait").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_tls_or_with_half_of_it_where_others_reach_it_is_refused() {
    let files = Files::new();
    let other = Authority::new().issue(4000);
    fs::write(files.path("other.key"), other.1).unwrap();
    let start = async |folder: &Path, flags: &[&str]| {
        let mut program =
            Program::start(folder, &[&["serve", "--database-url", "sqlite://userdata.db", "--log-filter", "error"], flags].concat());
        assert_eq!(program.ended().await.0, Some(1), "{flags:?}");
        let said = program.stderr();
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
        said
    };
    for (flags, says) in [
        (["--listen", "0.0.0.0:0"].as_slice(), "--allow-plaintext"),
        (&["--listen", "[::]:0"], "--tls-cert"),
        (&["--tls-cert", "cert.pem"], "--tls-key"),
        (&["--tls-cert", "cert.pem", "--tls-key", "nowhere.pem"], "nowhere.pem"),
        (&["--tls-cert", "cert.pem", "--tls-key", "cert.pem"], "private key"),
        (&["--tls-cert", "cert.pem", "--tls-key", "other.key"], "other.key"),
        (&["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-client-ca", "key.pem"], "certificate"),
    ] {
        let said = start(files.folder.path(), flags).await;
        assert!(said.contains(says), "{flags:?}: {said}");
    }
    let mut demo = Program::start(files.folder.path(), &["demo", "--listen", "0.0.0.0:0"]);
    assert_eq!(demo.ended().await.0, Some(1));
    assert!(demo.stderr().contains("--allow-plaintext"), "{}", demo.stderr());
}
