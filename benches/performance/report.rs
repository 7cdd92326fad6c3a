//! What is printed and written down.

use std::{
    fs,
    io::{Write, stderr, stdout},
    path::Path,
    process::Command,
};

use serde_json::json;

use super::{
    curves::Curve,
    rounds::{Goal, Outcome, Sample, median},
};

/// Where results go.
pub(crate) const RESULTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../bench/results.json");

/// Tells how it goes.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(stderr().lock(), "bench: {line}")?)
}

/// Machine and versions.
pub(crate) fn surroundings() -> Vec<(&'static str, String)> {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let first = |path: &str, begin: &str| {
        let text = file(path);
        let line = text.lines().find(|line| line.starts_with(begin)).unwrap_or_default();
        line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let run = |command: &str, arguments: &[&str]| {
        let output = Command::new(command).args(arguments).output();
        output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    vec![
        ("processor", first("/proc/cpuinfo", "model name")),
        ("cores", std::thread::available_parallelism().map_or_else(|_| String::new(), |cores| cores.to_string())),
        ("memory", first("/proc/meminfo", "MemTotal")),
        ("kernel", file("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("commit", run("git", &["describe", "--always", "--dirty"])),
        ("rustc", run("rustc", &["--version"])),
        ("psql", run("psql", &["--version"])),
        ("sqlite3 shell", run("sqlite3", &["--version"]).split_whitespace().next().unwrap_or_default().to_owned()),
    ]
}

const HEAD: [&str; 13] = [
    "row",
    "engine",
    "what",
    "against",
    "median",
    "min",
    "max",
    "goal",
    "want",
    "met",
    "ours: wall/server/database s",
    "reference: the same",
    "peak MiB",
];

/// The table of all rows.
pub(crate) fn table(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let mut lines: Vec<Vec<String>> = vec![HEAD.iter().map(|&name| name.to_owned()).collect()];
    for outcome in outcomes {
        let (min, max) = extremes(outcome);
        let number = |value: f64| format!("{value:.2}{}", outcome.unit);
        let goal = match outcome.goal {
            Goal::AtLeast(goal) => format!(">= {}", number(goal)),
            Goal::AtMost(goal) => format!("<= {}", number(goal)),
            Goal::Within(goal) => format!("1 +- {goal}"),
            Goal::None => "-".to_owned(),
        };
        lines.push(vec![
            outcome.row.to_string(),
            outcome.engine.to_string(),
            outcome.what.clone(),
            outcome.against.clone(),
            number(outcome.median()),
            number(min),
            number(max),
            goal,
            outcome.want.map_or_else(|| "-".to_owned(), number),
            if outcome.is_met() { "yes" } else { "NO" }.to_owned(),
            seconds(outcome.pairs.iter().map(|(ours, _)| ours)),
            seconds(outcome.pairs.iter().map(|(_, reference)| reference)),
            outcome
                .pairs
                .iter()
                .map(|(ours, _)| ours.peak)
                .max()
                .map_or_else(String::new, |peak| format!("{:.0}", peak as f64 / 1048576.0)),
        ]);
    }
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let mut out = stdout().lock();
    for (name, value) in surroundings() {
        writeln!(out, "{name}: {value}")?;
    }
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn extremes(outcome: &Outcome) -> (f64, f64) {
    let values = || outcome.values.iter().copied();
    (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
}

/// The medians of wall time, and of the CPU times of program and database.
fn seconds<'a>(samples: impl Iterator<Item = &'a Sample> + Clone) -> String {
    if samples.clone().next().is_none() {
        return String::new();
    }
    let of = |part: fn(&Sample) -> f64| median(samples.clone().map(part));
    format!("{:.3}/{:.2}/{:.2}", of(|sample| sample.wall), of(|sample| sample.program_cpu), of(|sample| sample.database_cpu))
}

/// The same for programs.
pub(crate) fn write_json(outcomes: &[Outcome], curves: &[Curve], quick: bool) -> anyhow::Result<()> {
    let side = |sample: &Sample| {
        json!({
            "wall_seconds": sample.wall,
            "program_cpu_seconds": sample.program_cpu,
            "database_cpu_seconds": sample.database_cpu,
            "peak_bytes": sample.peak,
            "units": sample.units,
            "p99_seconds": sample.p99,
        })
    };
    let results: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let (min, max) = extremes(outcome);
            let (goal, must_be) = match outcome.goal {
                Goal::AtLeast(goal) => (Some(goal), Some("at least")),
                Goal::AtMost(goal) => (Some(goal), Some("at most")),
                Goal::Within(goal) => (Some(goal), Some("within")),
                Goal::None => (None, None),
            };
            json!({
                "row": outcome.row,
                "engine": outcome.engine.to_string(),
                "what": outcome.what,
                "against": outcome.against,
                "unit": if outcome.unit == "x" { "ratio" } else { outcome.unit.trim() },
                "ratio": { "median": outcome.median(), "min": min, "max": max },
                "must_be": must_be,
                "goal": goal,
                "want": outcome.want,
                "met": outcome.is_met(),
                "rounds": outcome.pairs.iter().map(|(ours, reference)| json!({"ours": side(ours), "reference": side(reference)}))
                    .collect::<Vec<_>>(),
            })
        })
        .collect();
    let curves: Vec<_> = curves
        .iter()
        .map(|curve| {
            let engine = curve.engine.to_string();
            json!({ "engine": engine, "call": curve.call, "curve": curve.label, "messages_and_microseconds_per_message": curve.points })
        })
        .collect();
    let surroundings: serde_json::Map<_, _> = surroundings().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let all = json!({ "quick": quick, "surroundings": surroundings, "results": results, "growth": curves });
    if let Some(folder) = Path::new(RESULTS).parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(RESULTS, serde_json::to_string_pretty(&all)?)?)
}
