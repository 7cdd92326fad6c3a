//! Rows 1, 2, 3 and 11: the export of a large user.

use std::rc::Rc;

use crate::{
    client::Client,
    database::Engine,
    dataset::Dataset,
    layout, proof,
    rounds::{Goal, Outcome, Sample, alternate, measure, speed, thrift, time},
    server::Server,
    shell::Shell,
    world::World,
};

/// How often a small user is exported in place of a large one.
const REPEATED: u32 = 20;

/// The service, and a client of it.
struct Ours {
    data: Rc<Dataset>,
    server: Server,
    client: Client,
}

impl Ours {
    async fn start(world: &mut World, engine: Engine) -> anyhow::Result<Self> {
        let data = world.main(engine)?;
        let server = Server::ours(&data.database, world.folder(), &[])?;
        let client = Client::connect(&server, &data.key).await?;
        Ok(Self { data, server, client })
    }

    async fn export(&self, token: &str, times: u32) -> anyhow::Result<Sample> {
        measure(self.server.pid(), &self.data.database, async {
            for _ in 0..times {
                let exported = self.client.export(token).await?;
                proof::same_as_made_up(&self.data, token, &exported.summary()?.sha256)?;
            }
            Ok(f64::from(times * self.data.messages(token)?))
        })
        .await
    }
}

/// Rows 1 and 2: beside the engine's own shell.
pub(crate) async fn beside_shell(world: &mut World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let ours = Ours::start(world, engine).await?;
    let (data, token) = (&ours.data, world.largest_user());
    proof::export_is_whole(&ours.server, data, &token).await?;
    proof::query_finds_the_same(data, &token)?;

    let mut shell = Shell::open(&data.database)?;
    let subject = data.subject(&token)?;
    let queries = [layout::select_conversations(subject), layout::select_messages(subject)];
    shell.print_to_nowhere(&queries)?;
    let pairs = alternate(
        world.rounds,
        async || ours.export(&token, 1).await,
        async || {
            measure(shell.pid(), &data.database, async {
                shell.print_to_nowhere(&queries)?;
                Ok(f64::from(data.messages(&token)?))
            })
            .await
        },
    )
    .await?;
    ours.server.stop().await?;
    let what = format!("export of {} messages", world.largest);
    Ok(vec![match engine {
        Engine::Postgres => Outcome::of((1, engine), (what, "psql COPY"), (Goal::AtLeast(0.9), 1.15), pairs, speed),
        Engine::Sqlite => Outcome::of((2, engine), (what, "sqlite3 shell"), (Goal::AtLeast(1.0), 1.5), pairs, speed),
    }])
}

/// Row 3: beside the plain version; unless quick, also beside one without the digest that the contract asks for.
pub(crate) async fn beside_plain(world: &mut World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let ours = Ours::start(world, engine).await?;
    let plain = world.plain(engine).await?;
    let (messages, times) = (world.largest_of_plain(), if world.quick { 5 } else { 1 });
    let token = World::user_of(messages);
    let (goal, want) = if engine == Engine::Sqlite { (4.0, 6.0) } else { (2.0, 3.0) };
    let mut outcomes = Vec::new();
    for with_digests in if world.quick { &[true][..] } else { &[true, false] }.iter().copied() {
        let server = Server::plain(&plain.database, world.folder(), with_digests)?;
        let client = Client::connect(&server, "none").await?;
        ours.export(&token, 1).await?;
        let exported = client.export(&token).await?.summary()?;
        if with_digests {
            proof::same_as_made_up(&plain, &token, &exported.sha256)?;
        }
        let pairs = alternate(
            world.rounds,
            async || ours.export(&token, times).await,
            async || {
                measure(server.pid(), &plain.database, async {
                    for _ in 0..times {
                        client.export(&token).await?;
                    }
                    Ok(f64::from(times * plain.messages(&token)?))
                })
                .await
            },
        )
        .await?;
        server.stop().await?;
        let what = format!("export of {messages} messages per CPU second");
        let (against, goal) =
            if with_digests { ("plain version", Goal::AtLeast(goal)) } else { ("plain version without SHA-256", Goal::None) };
        outcomes.push(Outcome::of((3, engine), (what, against), (goal, want), pairs, thrift));
    }
    ours.server.stop().await?;
    Ok(outcomes)
}

/// Row 11: the time for a message of a large user beside that of a user of 1,000.
pub(crate) async fn beside_small(world: &mut World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let ours = Ours::start(world, engine).await?;
    let (large, small) = (world.largest_user(), World::user_of(1_000));
    for token in [&large, &small] {
        proof::export_is_whole(&ours.server, &ours.data, token).await?;
    }
    let pairs = alternate(world.rounds, async || ours.export(&large, 1).await, async || ours.export(&small, REPEATED).await).await?;
    ours.server.stop().await?;
    let what = format!("time per message, of {}", world.largest);
    Ok(vec![Outcome::of((11, engine), (what, "of 1000"), (Goal::AtMost(1.2), 1.0), pairs, time)])
}
