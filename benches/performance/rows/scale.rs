//! Row 12: a user of 1,000 messages in a large table, and in a small one.

use anyhow::ensure;

use crate::{
    client::Client,
    database::Engine,
    dataset::Dataset,
    layout,
    population::Population,
    proof,
    rounds::{Goal, Outcome, Sample, alternate, measure, time},
    server::Server,
    shell::Shell,
    world::World,
};

/// How many rounds there are users for: each is used in one only.
const ROUNDS: usize = 6;
/// How often each is exported in it.
const EXPORTS: usize = 5;
const MESSAGES: u32 = 1_000;
const BODY_BYTES: usize = 60;

/// A table with users of 1,000 messages, and a server on it.
struct Table {
    data: Dataset,
    server: Server,
    client: Client,
    /// Users exported and erased in each round, and on PostgreSQL, unless quick, as many that its shell erases.
    each: usize,
    used: usize,
}

impl Table {
    async fn with(rows: u32, world: &World, engine: Engine) -> anyhow::Result<Self> {
        let population = Population::default().with("user", rows / MESSAGES, MESSAGES, 40, BODY_BYTES);
        let data = Dataset::of_service(engine, &format!("bench_{rows}"), world.folder(), population)?;
        let server = Server::ours(&data.database, world.folder(), &[])?;
        let client = Client::connect(&server, &data.key).await?;
        let last = data.population.users.last().map(|user| user.token.clone()).unwrap_or_default();
        proof::export_is_whole(&server, &data, &last).await?;
        client.delete_messages(&last).await?;
        let each = if world.quick && engine == Engine::Postgres { 4 } else { 8 };
        Ok(Self { data, server, client, each, used: 0 })
    }

    /// Users that nobody has used.
    fn unused(&mut self) -> anyhow::Result<Vec<String>> {
        let users = &self.data.population.users;
        // Far from each other in the table, whatever their number.
        let apart = users.len() / (self.each * ROUNDS * 2);
        let tokens: Vec<_> = users.iter().step_by(apart.max(1)).skip(self.used).take(self.each).map(|user| user.token.clone()).collect();
        ensure!(tokens.len() == self.each, "too few users for so many rounds");
        self.used += self.each;
        Ok(tokens)
    }

    /// Exports users, then erases them; then, on PostgreSQL and unless quick, erases others in its shell.
    async fn export_and_erase(&mut self, quick: bool) -> anyhow::Result<Vec<Sample>> {
        let tokens = self.unused()?;
        self.data.database.settle()?;
        let export = measure(self.server.pid(), &self.data.database, async {
            for token in tokens.iter().cycle().take(tokens.len() * EXPORTS) {
                let exported = self.client.export(token).await?;
                proof::same_as_made_up(&self.data, token, &exported.summary()?.sha256)?;
            }
            Ok(f64::from(MESSAGES) * (tokens.len() * EXPORTS) as f64)
        })
        .await?;
        self.data.database.settle()?;
        let erase = measure(self.server.pid(), &self.data.database, async {
            for token in &tokens {
                let erased = self.client.delete_messages(token).await?;
                ensure!(u32::try_from(erased.messages_deleted)? == MESSAGES, "{erased:?}");
            }
            Ok(f64::from(MESSAGES) * tokens.len() as f64)
        })
        .await?;
        let mut samples = vec![export, erase];
        if self.data.database.engine == Engine::Postgres && !quick {
            samples.push(self.erase_raw().await?);
        }
        Ok(samples)
    }

    async fn erase_raw(&mut self) -> anyhow::Result<Sample> {
        let subjects = self.unused()?.iter().map(|token| self.data.subject(token)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut shell = Shell::open(&self.data.database)?;
        // Its first statement costs more.
        shell.run(&layout::delete_messages(0))?;
        self.data.database.settle()?;
        measure(shell.pid(), &self.data.database, async {
            for subject in &subjects {
                shell.run(&layout::delete_messages(*subject))?;
            }
            Ok(f64::from(MESSAGES) * subjects.len() as f64)
        })
        .await
    }
}

pub(crate) async fn beside_small_table(world: &World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let [small, large] = if world.quick { [world.largest / 4, world.largest] } else { [world.largest / 10, world.largest * 10] };
    ensure!(world.rounds <= ROUNDS, "row 12 has users for {ROUNDS} rounds");
    let mut in_large = Table::with(large, world, engine).await?;
    let mut in_small = Table::with(small, world, engine).await?;
    let pairs = alternate(
        world.rounds,
        async || in_large.export_and_erase(world.quick).await,
        async || in_small.export_and_erase(world.quick).await,
    )
    .await?;
    for table in [in_large, in_small] {
        table.server.stop().await?;
    }
    // The last shows what the engine itself makes of the sizes.
    let calls = [("export", Goal::AtMost(1.3)), ("erasure", Goal::AtMost(1.3)), ("DELETE in psql", Goal::None)];
    let measured = pairs.first().map_or(0, |(large, _)| large.len());
    let outcomes = calls.into_iter().take(measured).enumerate().map(|(nth, (call, goal))| {
        let pairs = pairs.iter().map(|(large, small)| (large[nth], small[nth])).collect();
        let what = (format!("{call} of {MESSAGES} messages among {large}"), format!("among {small}"));
        Outcome::of((12, engine), what, (goal, 1.1), pairs, time)
    });
    Ok(outcomes.collect())
}
