//! The settings that every connection to SQLite has, read from the pools themselves.

use std::{ops::ControlFlow, os::unix::fs::PermissionsExt, time::Instant};

use futures::future::join_all;

use super::*;
use crate::repository::query::Text;

#[tokio::test]
async fn every_sqlite_connection_has_the_settings_that_erasing_and_surviving_rest_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("of its own").join("userdata.db");
    let url: StorageUrl = format!("sqlite://{}", file.display()).parse().unwrap();
    let repository = Repository::open(&url, 3, Clock::default()).await.unwrap();
    repository.migrate().await.unwrap();
    let full = 2;
    for (pool, query_only, patience) in [(repository.write(), 0, SQLITE_TRY), (repository.watch(), 1, SQLITE_BUSY)] {
        let settings = [("synchronous", full), ("secure_delete", 1), ("foreign_keys", 1), ("query_only", query_only)];
        for (name, value) in settings.into_iter().chain([("busy_timeout", patience.as_millis() as i64)]) {
            let statement = Statement::from_string(DbBackend::Sqlite, format!("PRAGMA {name}"));
            let row = pool.query_one_raw(statement).await.unwrap().unwrap();
            assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), value, "{name}");
        }
        let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA journal_mode");
        let mode: String = pool.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap();
        assert_eq!(mode, "wal");
    }
    let Reader::Sqlite(reader) = &repository.read else { panic!("SQLite is read through its own interface") };
    let mut query_only = None;
    let read = |row: crate::repository::row::Row<'_>| {
        query_only = Some(row.get::<i64>(0)?);
        Ok(ControlFlow::Break(()))
    };
    let query_only_of = Text { sql: "PRAGMA query_only".to_owned(), parameters: 0 };
    reader.snapshot().unwrap().read(&query_only_of, &[], read).unwrap();
    assert_eq!(query_only, Some(1));
    for name in ["userdata.db", "userdata.db-wal", "userdata.db-shm"] {
        let mode = fs::metadata(file.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_reader_keeps_the_log_from_being_emptied_and_erasures_from_being_answered_for_a_moment_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("userdata.db");
    let repository = Repository::open(&format!("sqlite://{}", file.display()).parse().unwrap(), 3, Clock::default()).await.unwrap();
    repository.migrate().await.unwrap();
    let reader = rusqlite::Connection::open(&file).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM subjects").unwrap();
    let bytes_in_log = || fs::metadata(folder.path().join("userdata.db-wal")).unwrap().len();
    for reads in [true, true, false, false] {
        repository.log_will_hold_erased();
        repository.write().execute_unprepared("PRAGMA user_version = 1").await.unwrap();
        if !reads {
            reader.execute_batch("ROLLBACK").ok();
        }
        assert!(bytes_in_log() > 0);
        let asked = Instant::now();
        repository.empty_log_of_erased().await;
        assert_eq!(bytes_in_log() > 0, reads);
        assert!(asked.elapsed() < SQLITE_BUSY / 2);
    }
}

#[tokio::test]
async fn whoever_empties_the_log_in_turn_gets_there_however_many_want_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("userdata.db");
    let repository = Repository::open(&format!("sqlite://{}", file.display()).parse().unwrap(), 3, Clock::default()).await.unwrap();
    repository.migrate().await.unwrap();
    repository.log_will_hold_erased();
    let pool = repository.write().get_sqlite_connection_pool().clone();
    let crowd = join_all((0..4).map(async |_| {
        loop {
            let _connection = pool.acquire().await.unwrap();
            tokio::time::sleep(SQLITE_TRY / 2).await;
        }
    }));
    let bytes_in_log = || fs::metadata(folder.path().join("userdata.db-wal")).unwrap().len();
    let empty = async {
        repository.empty_log_of_erased().await;
        assert!(bytes_in_log() > 0, "there was no crowd");
        repository.empty_log_in_turn().await;
        assert_eq!(bytes_in_log(), 0);
    };
    tokio::select! {
        biased;
        _ = crowd => {}
        () = empty => {}
    }
}

#[tokio::test]
async fn a_transaction_waits_longer_for_another_process_than_one_try_of_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("userdata.db");
    let repository = Repository::open(&format!("sqlite://{}", file.display()).parse().unwrap(), 3, Clock::default()).await.unwrap();
    repository.migrate().await.unwrap();
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let in_its_way = tokio::time::sleep(SQLITE_TRY * 3);
    let begin = repository.begin();
    tokio::pin!(begin);
    tokio::select! {
        _ = &mut begin => panic!("it began while another wrote"),
        () = in_its_way => other.execute_batch("ROLLBACK").unwrap(),
    }
    begin.await.unwrap().rollback().await.unwrap();
}

#[tokio::test]
async fn a_log_that_may_hold_what_was_erased_before_a_crash_is_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("userdata.db");
    let url: StorageUrl = format!("sqlite://{}", file.display()).parse().unwrap();
    let before = Repository::open(&url, 3, Clock::default()).await.unwrap();
    before.migrate().await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["userdata.db", "userdata.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let url: StorageUrl = format!("sqlite://{}", copy.path().join("userdata.db").display()).parse().unwrap();
    let after = Repository::open(&url, 3, Clock::default()).await.unwrap();
    let bytes_in_log = || fs::metadata(copy.path().join("userdata.db-wal")).unwrap().len();
    assert!(bytes_in_log() > 0);
    after.empty_log_of_erased().await;
    assert_eq!(bytes_in_log(), 0);
}
