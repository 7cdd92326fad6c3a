//! What the time of an answer tells: not which API keys exist. Timed, so only run alone and on purpose.

use std::time::Instant;

use userdata::repository::Engine;

use crate::{
    credentials::key_headers,
    rpc::Rpc,
    world::{ACME, World},
};

/// How many of each kind are measured.
const SAMPLES: usize = 10_000;

/// How many come before, of each kind, until all is warm.
const WARM_UP: usize = 1_000;

/// Of all samples, the slowest twentieth is cut off: what the machine did beside.
const KEPT: f64 = 0.95;

/// Beyond this, two kinds are told apart: one in 100,000 by chance.
const TOLD_APART: f64 = 4.5;

fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).unwrap();
    hex::encode(random)
}

/// Welch's t of two samples.
fn welch(one: &[f64], two: &[f64]) -> f64 {
    let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
    let error = |samples: &[f64]| {
        let (mean, count) = (mean(samples), samples.len() as f64);
        samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0) / count
    };
    (mean(one) - mean(two)) / (error(one) + error(two)).sqrt()
}

#[test]
fn what_differs_is_told_apart_and_what_does_not_is_not() {
    let samples = |mean: f64| (0..SAMPLES).map(|nth| mean + (nth * 7919 % 1000) as f64).collect::<Vec<_>>();
    assert!(welch(&samples(0.0), &samples(1.0)).abs() < TOLD_APART);
    assert!(welch(&samples(0.0), &samples(30.0)).abs() > TOLD_APART);
}

#[tokio::test]
#[ignore = "timed: scripts/attack runs it alone, against a release build"]
async fn timing_of_api_keys() {
    let world = World::start(Engine::Sqlite).await;
    let channel = world.channel().await;
    let known = &world.key(ACME)[..20];
    // Unknown ids, and a known one with wrong secrets.
    let mut took = [Vec::new(), Vec::new()];
    for nth in 0..WARM_UP + SAMPLES {
        for kind in [nth % 2, 1 - nth % 2] {
            let name = if kind == 0 { format!("udk_{}", random_hex(8)) } else { known.to_owned() };
            let headers = key_headers(ACME, &format!("{name}_{}", random_hex(32)));
            let begun = Instant::now();
            let refused = Rpc::ErasureStatus.call(&channel, &headers, "anna").await;
            let elapsed = begun.elapsed();
            assert!(refused.is_err());
            if nth >= WARM_UP {
                took[kind].push(elapsed.as_secs_f64() * 1e6);
            }
        }
    }
    let mut all = took.concat();
    all.sort_by(f64::total_cmp);
    let limit = all[(all.len() as f64 * KEPT) as usize];
    let [unknown, wrong] = took.map(|samples| samples.into_iter().filter(|sample| *sample < limit).collect::<Vec<_>>());
    let t = welch(&unknown, &wrong);
    let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
    eprintln!("unknown id {:.2} µs, wrong secret {:.2} µs, Welch's t {t:.2}", mean(&unknown), mean(&wrong));
    assert!(t.abs() < TOLD_APART, "the time tells which ids exist: t = {t}");
}
