//! Files that the object store does not let go: the answers name exactly these, and they go by themselves once the store works again.

use std::{collections::BTreeSet, time::Duration};

use futures::{future::join_all, join};
use tokio::time::sleep;
use userdata::repository::Engine;

use crate::{
    file_faults::{Failing, Fault},
    fleet::Fleet,
    program::Stores,
    trial::{Random, Trial},
    vaulted::Vaulted,
};

/// Servers on one store, whether they are killed now and then, and how many of a hundred schedules they see.
const FLEETS: [(&str, usize, bool, usize); 4] = [
    ("one server", 1, false, 40),
    ("two servers", 2, false, 20),
    ("a server that is killed", 1, true, 25),
    ("two servers that are killed", 2, true, 15),
];

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_files_that_cannot_be_removed_are_named_and_go_later() {
    run(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_files_that_cannot_be_removed_are_named_and_go_later() {
    run(Engine::Postgres).await;
}

async fn run(engine: Engine) {
    let trial = Trial::begin(format!("files {engine:?}"));
    let hundreds = trial.size(1, 5);
    let fleets = FLEETS.map(async |(name, servers, killed, of_hundred)| {
        let fleet = Fleet::start(Stores::make(engine).await, servers, killed).await;
        let schedules = (0..of_hundred * hundreds).map(async |number| {
            let name = format!("{name} {number}");
            play(&trial, &fleet, &name, killed, trial.random(&name)).await;
        });
        let kills = async {
            if killed {
                let kills = 3 + hundreds;
                fleet.kill_now_and_then(kills, &mut trial.random(name)).await;
                trial.tried("kills", kills);
            }
        };
        join!(join_all(schedules), kills);
    });
    join_all(fleets).await;
    trial.end();
}

/// Imports a user, has the store fail for it, erases, and has the store work again.
async fn play(trial: &Trial, fleet: &Fleet, name: &str, killed: bool, mut random: Random) {
    let mut user = Vaulted::import(trial, fleet, name, &mut random).await;
    let (all, with_content) = user.erasable();
    let none = BTreeSet::new();
    // Of a hundred files so many fail; above, the store does.
    let percent = *random.pick(&[0, 20, 50, 50, 80, 100, 101, 101]);
    let some: BTreeSet<String> = with_content.iter().filter(|_| random.percent(percent)).cloned().collect();
    let everything = percent > 100;
    let (failing, must, may) = match percent {
        0 => (Failing::Nothing, &none, &none),
        // Then nobody can tell that there is no content where there is none.
        101 => (Failing::Everything, &with_content, &all),
        _ => (Failing::Some(some.clone()), &some, &some),
    };
    let request_id = if random.percent(60) { random.request_id() } else { String::new() };
    let memory = random.percent(40);
    let fault = Fault::set(&fleet.folder(), name, failing);
    let (mut first, mut late) = (None, false);
    if everything && random.percent(40) {
        // The store works again before the erasure is answered.
        let after = Duration::from_micros(random.below(40_000) as u64);
        let clear = async {
            sleep(after).await;
            fault.clear();
        };
        (first, ()) = join!(user.erase_and_check((&none, may), memory, &request_id), clear);
    } else {
        if !everything && !killed && random.percent(25) {
            user.erase_twice_and_check((must, may), memory, &request_id).await;
        } else {
            first = user.erase_and_check((must, may), memory, &request_id).await;
        }
        let attempts = user.check_pending().await;
        if random.percent(30) {
            user.erase_and_check((must, may), memory, "").await;
        }
        if let Some(first) = first.as_ref().filter(|_| !request_id.is_empty()) {
            user.check_repetition(memory, &request_id, first).await;
        }
        late = !everything && random.percent(40);
        if late {
            user.import_late().await;
        }
        sleep(Duration::from_millis(random.below(5_000) as u64)).await;
        let later = user.check_pending().await;
        trial.check(later >= attempts, || format!("{name}: {attempts} attempts, then {later}"));
        fault.clear();
    }
    user.check_that_nothing_is_left().await;
    if let Some(first) = first.filter(|_| !request_id.is_empty()) {
        user.check_repetition(memory, &request_id, &first).await;
    }
    if !late {
        user.erase_and_check((&none, &none), true, "").await;
    }
    trial.tried("schedules", 1);
}
