//! Both sides do the same work, and the rows are what an import would have made: shown before anything is timed.

use std::{
    hash::{DefaultHasher, Hasher},
    path::Path,
};

use anyhow::{Context, ensure};
use userdata::grpc::{
    client::{self, Credential},
    document::UserDocument,
    proto::ExportUserDataRequest,
};

use super::{
    client::Client,
    database::{APPLICATION, Database, Engine},
    dataset::{Dataset, hash_message},
    layout,
    population::{Population, User},
    server::Server,
    shell::Shell,
};

/// The user as a document, as an import takes it.
pub(crate) fn document(user: &User) -> UserDocument {
    let mut document = UserDocument::new(user.token.clone());
    for nth in 0..user.conversations() {
        let mut conversation = user.conversation(nth);
        conversation.messages = user.messages_of(nth).map(|nth| user.message(nth)).collect();
        document.conversations.push(conversation);
    }
    document
}

/// What is written directly is what an import writes.
pub(crate) async fn rows_are_as_imported(engine: Engine, folder: &Path) -> anyhow::Result<()> {
    let population = Population::default().with("imported", 1, 300, 40, 560).with("short", 1, 21, 10, 60).with("long", 1, 50, 50, 4096);
    let imported = Database::create(engine, "bench_imported", folder)?;
    let key = imported.migrate()?;
    let server = Server::ours(&imported, folder, &[])?;
    let client = Client::connect(&server, &key).await?;
    for user in &population.users {
        client.import(document(user).into_requests().collect()).await?;
    }
    server.stop().await?;
    let written = Dataset::of_service(engine, "bench_written", folder, population)?;
    let [imported, written] = [&imported, &written.database].map(|database| Shell::open(database)?.run(&layout::select_all(engine)));
    let (imported, written) = (imported?, written?);
    ensure!(written.lines().count() > 300, "{engine}: nothing was written");
    let differing = imported.lines().zip(written.lines()).find(|(imported, written)| imported != written);
    ensure!(imported == written, "{engine}: rows written directly differ from imported ones: {differing:?}; bring {} up to date", file!());
    Ok(())
}

/// The service exports the user as it was made up: the records decoded, counted and hashed here.
pub(crate) async fn export_is_whole(server: &Server, dataset: &Dataset, token: &str) -> anyhow::Result<()> {
    if !dataset.is_unproven(&format!("export of {token}")) {
        return Ok(());
    }
    let credential = Credential::api_key(APPLICATION, &dataset.key)?;
    let client = client::Client::connect(&format!("http://{}", server.address), client::ClientTls::default(), credential).await?;
    let request = ExportUserDataRequest { user_token: token.to_owned(), ..ExportUserDataRequest::default() };
    let mut export = client.export(request);
    while export.next().await?.is_some() {}
    let summary = export.summary().context("an export without a summary")?;
    same_as_made_up(dataset, token, &summary.sha256)?;
    let messages = summary.counts.context("a summary without counts")?.messages;
    ensure!(u32::try_from(messages)? == dataset.messages(token)?, "{messages} messages of {token} were exported");
    Ok(())
}

/// An export that was not decoded is the same as one that was.
pub(crate) fn same_as_made_up(dataset: &Dataset, token: &str, sha256: &str) -> anyhow::Result<()> {
    let expected = dataset.expected(token)?.digest.hex();
    ensure!(sha256 == expected, "{}: the export of {token} is not what was written", dataset.database.engine);
    Ok(())
}

/// The query of the reference finds the same messages, in the same order.
pub(crate) fn query_finds_the_same(dataset: &Dataset, token: &str) -> anyhow::Result<()> {
    if !dataset.is_unproven(&format!("query of {token}")) {
        return Ok(());
    }
    let engine = dataset.database.engine;
    let (mut hasher, mut rows, mut wrong) = (DefaultHasher::new(), 0_u32, 0_u32);
    let query = layout::select_for_proof(engine, dataset.subject(token)?);
    Shell::open(&dataset.database)?.run_to(&query, |line| {
        rows += 1;
        match line.split_once(' ').map(|(id, body)| (id, hex::decode(body))) {
            Some((id, Ok(body))) => hash_message(&mut hasher, id, &body),
            _ => wrong += 1,
        }
    })?;
    ensure!(rows == dataset.messages(token)? && wrong == 0, "{engine}: the reference reads {rows} rows of {token}, {wrong} of them wrong");
    ensure!(hasher.finish() == dataset.expected(token)?.messages.finish(), "{engine}: the reference reads other rows of {token}");
    Ok(())
}

/// Nothing is left of a user's messages.
pub(crate) fn none_left(database: &Database, subject: i64) -> anyhow::Result<()> {
    let left = Shell::open(database)?.run(&layout::count_messages(subject))?;
    ensure!(left.trim() == "0", "{}: {} messages are left after a delete", database.engine, left.trim());
    Ok(())
}
