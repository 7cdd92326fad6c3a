//! Rows 4 and 5: exports of small users, many at once.

use std::time::Duration;

use futures::future::try_join_all;

use crate::{
    client::{Client, percentile},
    database::{Database, Engine},
    h2load,
    pgbench::Pgbench,
    proof,
    rounds::{Goal, Outcome, Sample, alternate, measure, speed, thrift},
    server::Server,
    world::World,
};

/// Calls at once.
pub(crate) const CALLERS: usize = 8;
/// Users whose calls are recorded for `pgbench`, and made beside it.
const RECORDED: usize = 8;

/// Calls at once on one connection: enough that the server always has one to answer.
const STREAMS: usize = 32;
/// Over so many connections where clients are compared.
const CONNECTIONS: usize = 2;

/// `h2load` and `pgbench` count in whole seconds.
const WHOLE: Duration = Duration::from_secs(1);

/// Has as many as `callers` export users, over as many connections as there are clients.
async fn load(
    server: &Server,
    database: &Database,
    (clients, callers): (&[Client], usize),
    users: &[String],
    time: Duration,
) -> anyhow::Result<Sample> {
    let mut took = Vec::new();
    let sample = measure(server.pid(), database, async {
        took = try_join_all(clients.iter().map(|client| client.export_for(users, callers / clients.len(), time))).await?.concat();
        Ok(took.len() as f64)
    })
    .await?;
    Ok(Sample { p99: percentile(&mut took, 99)?.as_secs_f64(), ..sample })
}

/// Row 4: beside a server that only answers.
pub(crate) async fn beside_echo(world: &mut World) -> anyhow::Result<Vec<Outcome>> {
    let data = world.main(Engine::Sqlite)?;
    let users = data.tokens("small_");
    let ours = Server::ours(&data.database, world.folder(), &[])?;
    let our_clients = [Client::connect(&ours, &data.key).await?];
    proof::export_is_whole(&ours, &data, &users[0]).await?;
    let reply = our_clients[0].export(&users[0]).await?;
    let echo = Server::echo(usize::try_from(reply.bytes)?, world.folder())?;
    let echo_clients = [Client::connect(&echo, "none").await?];
    let echoed = echo_clients[0].export(&users[0]).await?;
    anyhow::ensure!(echoed.bytes == reply.bytes, "the echo's reply has {} bytes, not {}", echoed.bytes, reply.bytes);

    let time = world.time(5);
    for (server, client) in [(&ours, &our_clients), (&echo, &echo_clients)] {
        load(server, &data.database, (client, STREAMS), &users, time / 4).await?;
    }
    let pairs = alternate(
        world.rounds,
        async || load(&ours, &data.database, (&our_clients, STREAMS), &users, time).await,
        async || load(&echo, &data.database, (&echo_clients, STREAMS), &users, time).await,
    )
    .await?;
    let row = (4, Engine::Sqlite);
    let what = format!("export of 20 messages, {} bytes in {} frames, calls per CPU second", reply.bytes, reply.frames);
    let mut outcomes = vec![Outcome::of(row, (what, "bare tonic echo"), (Goal::AtLeast(0.5), 0.7), pairs, thrift)];
    if !world.quick {
        let reading = Server::reading_echo(&data.database, usize::try_from(reply.bytes)?, world.folder())?;
        let reading_clients = [Client::connect(&reading, "none").await?];
        load(&reading, &data.database, (&reading_clients, STREAMS), &users, time / 4).await?;
        let most = alternate(
            world.rounds,
            async || load(&reading, &data.database, (&reading_clients, STREAMS), &users, time).await,
            async || load(&echo, &data.database, (&echo_clients, STREAMS), &users, time).await,
        )
        .await?;
        // It just ends: who closes the database last removes its log.
        reading.stop().await?;
        let what = "an echo that reads all this through rusqlite and drops it, calls per CPU second";
        outcomes.push(Outcome::of(row, (what, "bare tonic echo"), (Goal::None, 0.7), most, thrift));
    }
    echo.stop().await?;
    // On one user, for h2load knows one request only; and with two connections, so that the server has one to serve while the client is at
    // the other. The server has one processor, so that its threads do not compete with the client for both.
    let (user, clients) = (&users[..1], Client::connect_each(&ours, &data.key, CONNECTIONS).await?);
    let time = time.max(WHOLE);
    ours.stay_on_one_processor()?;
    let agreement = alternate(
        world.rounds,
        async || load(&ours, &data.database, (&clients, STREAMS), user, time).await,
        async || h2load::export_for(&ours, &data.database, (&data.key, &user[0]), (CONNECTIONS, STREAMS), time, world.folder()),
    )
    .await?;
    ours.stop().await?;
    outcomes.push(Outcome::of(row, ("calls/s as our client counts them", "h2load"), (Goal::Within(0.1), 1.0), agreement, speed));
    Ok(outcomes)
}

/// Row 5: beside the same queries by `pgbench`.
pub(crate) async fn beside_pgbench(world: &mut World) -> anyhow::Result<Vec<Outcome>> {
    let data = world.main(Engine::Postgres)?;
    let mut users = data.tokens("small_");
    users.truncate(RECORDED);
    let pgbench = Pgbench::record(&data, &users, world.folder()).await?;
    let server = Server::ours(&data.database, world.folder(), &[])?;
    // As pgbench has.
    let clients = Client::connect_each(&server, &data.key, CALLERS).await?;
    proof::export_is_whole(&server, &data, &users[0]).await?;

    let time = world.time(5).max(WHOLE);
    load(&server, &data.database, (&clients, CALLERS), &users, time / 4).await?;
    let pairs = alternate(
        world.rounds,
        async || load(&server, &data.database, (&clients, CALLERS), &users, time).await,
        async || pgbench.run(&data.database, CALLERS, time),
    )
    .await?;
    server.stop().await?;
    let against = format!("pgbench -M prepared, {} SELECTs", pgbench.statements());
    let row = (5, Engine::Postgres);
    let calls = Outcome::of(row, ("export of 20 messages, calls/s", against.clone()), (Goal::AtLeast(0.8), 1.0), pairs.clone(), speed);
    let p99 = Outcome::of(row, ("export of 20 messages, p99", against), (Goal::AtMost(1.5), 1.0), pairs, |ours, reference| {
        ours.p99 / reference.p99
    });
    Ok(vec![calls, p99])
}
