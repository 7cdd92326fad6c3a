//! Row 12: a user of 1,000 messages in a large table, and in a small one.

use anyhow::ensure;

use crate::{
    client::Client,
    database::Engine,
    dataset::Dataset,
    population::Population,
    proof,
    rounds::{Goal, Outcome, Sample, alternate, measure, time},
    server::Server,
    world::World,
};

/// Users exported and erased in each round; each is used in one round only.
const USERS: usize = 8;
/// How often each is exported in it.
const EXPORTS: usize = 5;
const MESSAGES: u32 = 1_000;
const BODY_BYTES: usize = 60;

/// A table with users of 1,000 messages, and a server on it.
struct Table {
    data: Dataset,
    server: Server,
    client: Client,
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
        Ok(Self { data, server, client, used: 0 })
    }

    /// Exports users, then erases them.
    async fn export_and_erase(&mut self) -> anyhow::Result<[Sample; 2]> {
        let users = &self.data.population.users;
        // Far from each other in the table, whatever their number.
        let apart = users.len() / (USERS * 8);
        let tokens: Vec<_> = users.iter().step_by(apart.max(1)).skip(self.used).take(USERS).map(|user| user.token.as_str()).collect();
        ensure!(tokens.len() == USERS, "too few users for so many rounds");
        self.used += USERS;
        self.data.database.settle()?;
        let export = measure(self.server.pid(), &self.data.database, async {
            for token in tokens.iter().cycle().take(USERS * EXPORTS) {
                let exported = self.client.export(token).await?;
                proof::same_as_made_up(&self.data, token, &exported.summary()?.sha256)?;
            }
            Ok(f64::from(MESSAGES) * (USERS * EXPORTS) as f64)
        })
        .await?;
        self.data.database.settle()?;
        let erase = measure(self.server.pid(), &self.data.database, async {
            for token in &tokens {
                let erased = self.client.delete_messages(token).await?;
                ensure!(u32::try_from(erased.messages_deleted)? == MESSAGES, "{erased:?}");
            }
            Ok(f64::from(MESSAGES) * USERS as f64)
        })
        .await?;
        Ok([export, erase])
    }
}

pub(crate) async fn beside_small_table(world: &World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let [small, large] = if world.quick { [world.largest / 4, world.largest] } else { [world.largest / 10, world.largest * 10] };
    ensure!(world.rounds <= 8, "row 12 has users for 8 rounds");
    let mut in_large = Table::with(large, world, engine).await?;
    let mut in_small = Table::with(small, world, engine).await?;
    let pairs = alternate(world.rounds, async || in_large.export_and_erase().await, async || in_small.export_and_erase().await).await?;
    for table in [in_large, in_small] {
        table.server.stop().await?;
    }
    let outcomes = ["export", "erasure"].into_iter().enumerate().map(|(nth, call)| {
        let pairs = pairs.iter().map(|(large, small)| (large[nth], small[nth])).collect();
        let what = (format!("{call} of {MESSAGES} messages among {large}"), format!("among {small}"));
        Outcome::of((12, engine), what, (Goal::AtMost(1.3), 1.1), pairs, time)
    });
    Ok(outcomes.collect())
}
