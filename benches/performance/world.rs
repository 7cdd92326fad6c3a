//! What the rows of the table share: how much is measured, and the databases it is measured on.

use std::{collections::HashMap, path::Path, rc::Rc};

use super::{
    database::{Database, Engine},
    dataset::Dataset,
    plain_service,
    population::Population,
};

/// The middle of the three sizes of bodies.
pub(crate) const BODY_BYTES: usize = 560;

pub(crate) struct World {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// Messages of the largest user: a power of ten.
    pub(crate) largest: u32,
    folder: tempfile::TempDir,
    main: HashMap<Engine, Rc<Dataset>>,
    plain: HashMap<Engine, Rc<Dataset>>,
}

impl World {
    pub(crate) fn new(quick: bool, rounds: usize, largest: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        Ok(Self { quick, rounds, largest, folder, main: HashMap::new(), plain: HashMap::new() })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The user with so many messages.
    pub(crate) fn user_of(messages: u32) -> String {
        format!("of_{messages}_0")
    }

    pub(crate) fn largest_user(&self) -> String {
        Self::user_of(self.largest)
    }

    /// One user of each power of ten, 200 of 20 messages, and among them half as much again as the largest has.
    fn population(&self) -> Population {
        let sizes = (2..).map(|power| 10_u32.pow(power)).take_while(|size| *size <= self.largest);
        let of_each = |population: Population, size: u32| population.with(&format!("of_{size}"), 1, size, 40, BODY_BYTES);
        let population = sizes.fold(Population::default(), of_each);
        population.with("small", 200, 20, 10, BODY_BYTES).with("other", (self.largest / 5_000).max(4), 2_500, 40, BODY_BYTES)
    }

    /// The service's database.
    pub(crate) fn main(&mut self, engine: Engine) -> anyhow::Result<Rc<Dataset>> {
        if let Some(dataset) = self.main.get(&engine) {
            return Ok(Rc::clone(dataset));
        }
        let dataset = Rc::new(Dataset::of_service(engine, "bench_main", self.folder(), self.population())?);
        self.main.insert(engine, Rc::clone(&dataset));
        Ok(dataset)
    }

    /// The plain version's database, with the same records.
    pub(crate) async fn plain(&mut self, engine: Engine) -> anyhow::Result<Rc<Dataset>> {
        if let Some(dataset) = self.plain.get(&engine) {
            return Ok(Rc::clone(dataset));
        }
        let database = Database::create(engine, "bench_plain", self.folder())?;
        plain_service::create_tables(&database.url).await?;
        let dataset = Rc::new(Dataset::fill(database, String::new(), self.population(), &plain_service::layout::LAYOUT)?);
        self.plain.insert(engine, Rc::clone(&dataset));
        Ok(dataset)
    }
}
