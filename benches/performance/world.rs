//! What the rows of the table share: how much is measured, and the databases it is measured on.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use super::{
    database::{Database, Engine},
    dataset::Dataset,
    plain_service,
    population::Population,
};

/// The middle of the three sizes of bodies.
pub(crate) const BODY_BYTES: usize = 560;

/// How much shorter calls are made for when quick.
const QUICKER: u32 = 10;

pub(crate) struct World {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// Messages of the largest user: a power of ten.
    pub(crate) largest: u32,
    main: HashMap<Engine, Rc<Dataset>>,
    plain: HashMap<Engine, Rc<Dataset>>,
    /// The last, for it is removed last.
    folder: Folder,
}

impl World {
    pub(crate) fn new(quick: bool, rounds: usize, largest: u32) -> anyhow::Result<Self> {
        Ok(Self { quick, rounds, largest, folder: Folder::fresh()?, main: HashMap::new(), plain: HashMap::new() })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// How long calls are made for: quick, a fraction of these seconds.
    pub(crate) fn time(&self, seconds: u32) -> Duration {
        Duration::from_secs(1) * seconds / if self.quick { QUICKER } else { 1 }
    }

    /// The user with so many messages.
    pub(crate) fn user_of(messages: u32) -> String {
        format!("of_{messages}_0")
    }

    pub(crate) fn largest_user(&self) -> String {
        Self::user_of(self.largest)
    }

    /// Messages of the largest user whom the plain version exports.
    pub(crate) fn largest_of_plain(&self) -> u32 {
        if self.quick { self.largest / 10 } else { self.largest }
    }

    /// One user of each power of ten, 200 of 20 messages, and among them half as much again as the largest has.
    fn population(largest: u32) -> Population {
        let sizes = (2..).map(|power| 10_u32.pow(power)).take_while(|size| *size <= largest);
        let of_each = |population: Population, size: u32| population.with(&format!("of_{size}"), 1, size, 40, BODY_BYTES);
        let population = sizes.fold(Population::default(), of_each);
        population.with("small", 200, 20, 10, BODY_BYTES).with("other", (largest / 5_000).max(1), 2_500, 40, BODY_BYTES)
    }

    /// The service's database.
    pub(crate) fn main(&mut self, engine: Engine) -> anyhow::Result<Rc<Dataset>> {
        if let Some(dataset) = self.main.get(&engine) {
            return Ok(Rc::clone(dataset));
        }
        let dataset = Rc::new(Dataset::of_service(engine, "bench_main", self.folder(), Self::population(self.largest))?);
        self.main.insert(engine, Rc::clone(&dataset));
        Ok(dataset)
    }

    /// The plain version's database, with the same records, or, quick, of fewer users.
    pub(crate) async fn plain(&mut self, engine: Engine) -> anyhow::Result<Rc<Dataset>> {
        if let Some(dataset) = self.plain.get(&engine) {
            return Ok(Rc::clone(dataset));
        }
        let database = Database::create(engine, "bench_plain", self.folder())?;
        plain_service::create_tables(&database.url).await?;
        let dataset =
            Rc::new(Dataset::fill(database, String::new(), Self::population(self.largest_of_plain()), &plain_service::layout::LAYOUT)?);
        self.plain.insert(engine, Rc::clone(&dataset));
        Ok(dataset)
    }
}

/// Where databases and logs are. What a run left that was killed is removed by the next.
struct Folder(PathBuf);

impl Folder {
    fn fresh() -> anyhow::Result<Self> {
        let folder = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join("performance"));
        if folder.0.exists() {
            fs::remove_dir_all(&folder.0)?;
        }
        fs::create_dir_all(&folder.0)?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
