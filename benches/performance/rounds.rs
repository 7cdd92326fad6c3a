//! Measuring ours and the reference alternately, and what comes of it.

use std::time::Instant;

use super::{
    database::{Database, Engine},
    process,
};

/// One measurement of one side.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) wall: f64,
    /// CPU seconds of the server, or of the shell.
    pub(crate) program_cpu: f64,
    /// CPU seconds of the database's processes.
    pub(crate) database_cpu: f64,
    /// The most memory the program had.
    pub(crate) peak: u64,
    /// Messages, or calls.
    pub(crate) units: f64,
    /// The seconds that 99 of 100 calls do not exceed, where calls were timed.
    pub(crate) p99: f64,
}

impl Sample {
    pub(crate) fn per_second(&self) -> f64 {
        self.units / self.wall
    }

    pub(crate) fn per_cpu_second(&self) -> f64 {
        // The kernel counts in hundredths.
        self.units / (self.program_cpu + self.database_cpu).max(0.01)
    }
}

/// Measures some work of a program, done in the meantime; `work` tells how much it was.
pub(crate) async fn measure(program: u32, database: &Database, work: impl Future<Output = anyhow::Result<f64>>) -> anyhow::Result<Sample> {
    process::reset_peak(program)?;
    let (program_before, database_before) = (process::cpu_of(program)?, database.cpu()?);
    let began = Instant::now();
    let units = work.await?;
    let wall = began.elapsed().as_secs_f64();
    Ok(Sample {
        wall,
        program_cpu: process::cpu_of(program)? - program_before,
        database_cpu: database.cpu()? - database_before,
        peak: process::memory_of(program, "VmHWM:")?,
        units,
        p99: 0.0,
    })
}

/// So many rounds of both sides, each of which begins every other round.
pub(crate) async fn alternate<T>(
    rounds: usize,
    mut ours: impl AsyncFnMut() -> anyhow::Result<T>,
    mut reference: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<Vec<(T, T)>> {
    let mut pairs = Vec::with_capacity(rounds);
    for round in 0..rounds {
        pairs.push(if round.is_multiple_of(2) {
            let ours = ours().await?;
            (ours, reference().await?)
        } else {
            let reference = reference().await?;
            (ours().await?, reference)
        });
    }
    Ok(pairs)
}

#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// As far from 1 at most.
    Within(f64),
    /// Shown beside the goals.
    None,
}

/// What a row of the table of goals came to.
pub(crate) struct Outcome {
    pub(crate) row: u8,
    pub(crate) engine: Engine,
    pub(crate) what: String,
    pub(crate) against: String,
    /// `x` for a ratio.
    pub(crate) unit: &'static str,
    /// One for each round.
    pub(crate) values: Vec<f64>,
    pub(crate) goal: Goal,
    pub(crate) want: Option<f64>,
    /// What was measured in each round, ours first.
    pub(crate) pairs: Vec<(Sample, Sample)>,
}

impl Outcome {
    /// A row whose values are made of its pairs.
    pub(crate) fn of(
        (row, engine): (u8, Engine),
        (what, against): (impl Into<String>, impl Into<String>),
        (goal, want): (Goal, f64),
        pairs: Vec<(Sample, Sample)>,
        ratio: impl Fn(&Sample, &Sample) -> f64,
    ) -> Self {
        let values = pairs.iter().map(|(ours, reference)| ratio(ours, reference)).collect();
        Self { row, engine, what: what.into(), against: against.into(), unit: "x", values, goal, want: Some(want), pairs }
    }

    pub(crate) fn median(&self) -> f64 {
        median(self.values.iter().copied())
    }

    pub(crate) fn is_met(&self) -> bool {
        match self.goal {
            Goal::AtLeast(goal) => self.median() >= goal,
            Goal::AtMost(goal) => self.median() <= goal,
            Goal::Within(goal) => (self.median() - 1.0).abs() <= goal,
            Goal::None => true,
        }
    }
}

/// Ours is so many times as fast.
pub(crate) fn speed(ours: &Sample, reference: &Sample) -> f64 {
    ours.per_second() / reference.per_second()
}

/// Ours does so many times as much for a CPU second.
pub(crate) fn thrift(ours: &Sample, reference: &Sample) -> f64 {
    ours.per_cpu_second() / reference.per_cpu_second()
}

/// Ours takes so many times as long for each unit.
pub(crate) fn time(ours: &Sample, reference: &Sample) -> f64 {
    reference.per_second() / ours.per_second()
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}
