//! Connections to PostgreSQL that are encrypted, and what an operator is told where they cannot be.

use std::{env, fs, path::Path};

use tonic_health::pb::health_check_response::ServingStatus;

use crate::{cluster::Cluster, lifecycle::all_healths_are, program::Program, tls::Files, world::eventually};

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_spoken_to_encrypted_if_the_authority_that_the_url_names_vouches_for_it() {
    let (files, folder) = (Files::new(), tempfile::tempdir().unwrap());
    let read = |name| fs::read_to_string(files.path(name)).unwrap();
    let cluster = Cluster::start_encrypted(&read("cert.pem"), &read("key.pem"));
    let vouched_for = |by: &Files| format!("{}?sslmode=verify-full&sslrootcert={}", cluster.url, by.path("ca.pem").display());

    let program = Program::serve(folder.path(), &vouched_for(&files), &["--migrate"]);
    let channel = program.channel().await;
    eventually("it serves", async || all_healths_are(&channel, ServingStatus::Serving).await).await;

    let told = refused(folder.path(), &vouched_for(&Files::new())).await;
    assert!(told.contains("certificate") && told.contains("sslrootcert=FILE"), "{told}");
    let told = refused(folder.path(), &format!("{}?sslmode=disable", cluster.url)).await;
    assert!(told.contains("no encryption"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_an_encrypted_connection_that_postgres_does_not_have_is_told_what_can_be_done() {
    let url = env::var("USERDATA_TEST_POSTGRES_URL").unwrap();
    let told = refused(tempfile::tempdir().unwrap().path(), &format!("{url}?sslmode=verify-full")).await;
    assert!(told.contains("does not support TLS") && told.contains("sslmode=disable"), "{told}");
}

/// What a server says that cannot start with this database.
async fn refused(folder: &Path, url: &str) -> String {
    let mut program = Program::serve(folder, url, &["--migrate"]);
    assert_ne!(program.ended().await.0, Some(0));
    program.stdout() + &program.stderr()
}
