//! Reading PostgreSQL. sqlx's pool tests each connection that comes back to it by a round trip, which is as much as a small read, so the
//! connections for reading are kept here: what goes wrong with one is seen when it is used. Absent on purpose: writing, which stays with
//! sea-orm and its pool.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::TryStreamExt;
use sea_orm::sqlx::{
    self, Arguments, ConnectOptions, Connection,
    postgres::{PgArguments, PgConnectOptions, PgConnection},
};
use tokio::{
    runtime::{self, Handle},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Error,
    connect::{ACQUIRE, IDLE},
    error::from_sqlx,
    query::{Parameter, Text},
    row::Row,
    row_security::Reach,
    share::{Share, Shares},
};

/// Connections that only read, made as they are needed. One works best on the runtime that made it, for that is woken when the database
/// answers.
#[derive(Clone, Debug)]
pub(super) struct PostgresReader {
    options: Arc<PgConnectOptions>,
    max_connections: usize,
    /// One permit for each connection in use or to be made.
    room: Arc<Semaphore>,
    shares: Shares,
    /// Whether row-level security is to be told whose rows are read.
    is_bound: bool,
    idle: Arc<Mutex<Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    home: runtime::Id,
    since: Instant,
}

impl PostgresReader {
    pub(super) fn new(options: PgConnectOptions, max_connections: u32, is_bound: bool) -> Self {
        let shares = Shares::of(max_connections, ACQUIRE);
        let max_connections = max_connections as usize;
        let room = Arc::new(Semaphore::new(max_connections));
        Self { options: Arc::new(options), max_connections, room, shares, is_bound, idle: Arc::default() }
    }

    /// A connection for reading such rows, once there is one that the application may use.
    pub(super) async fn acquire(&self, reach: Reach<'_>) -> Result<PostgresReading, Error> {
        let share = match reach.application() {
            Some(application) => Some(self.shares.take(application).await?),
            None => None,
        };
        let connection = async {
            // The room is never closed.
            let room = Arc::clone(&self.room).acquire_owned().await.map_err(|error| Error::Unavailable(error.to_string()))?;
            // One that was idle for long may have been cut without a word.
            while let Some(Idle { mut connection, home, since }) = self.pop() {
                if since.elapsed() < IDLE || connection.ping().await.is_ok() {
                    return Ok::<_, Error>((connection, home, room));
                }
            }
            Ok((self.options.connect().await.map_err(|error| from_sqlx(&error))?, Handle::current().id(), room))
        };
        let late = |_| Error::Unavailable("no connection for reading became free".to_owned());
        let (connection, home, room) = timeout(ACQUIRE, connection).await.map_err(late)??;
        let mut reading =
            PostgresReading { connection: Some(connection), home, is_sound: true, reader: self.clone(), _room: room, _share: share };
        if self.is_bound {
            reading.set(reach).await?;
        }
        Ok(reading)
    }

    /// Ends the idle connections.
    pub(super) async fn close(&self) {
        loop {
            let Some(idle) = self.idle().pop() else { break };
            // One that cannot say goodbye is gone.
            let _ = idle.connection.close().await;
        }
    }

    /// An idle connection of this runtime; one of another if no more may be made.
    fn pop(&self) -> Option<Idle> {
        let home = Handle::current().id();
        let mut idle = self.idle();
        if let Some(of_here) = idle.iter().rposition(|idle| idle.home == home) {
            return Some(idle.swap_remove(of_here));
        }
        // With the one whose permit is held already.
        let in_use = self.max_connections - self.room.available_permits();
        if in_use + idle.len() > self.max_connections { idle.pop() } else { None }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use.
pub(super) struct PostgresReading {
    /// `None` only while it is dropped.
    connection: Option<PgConnection>,
    home: runtime::Id,
    /// Whether its last read came to its end: only then it is used again.
    is_sound: bool,
    reader: PostgresReader,
    _room: OwnedSemaphorePermit,
    _share: Option<Share>,
}

impl PostgresReading {
    /// What was set for those who had the connection before is so no more.
    async fn set(&mut self, reach: Reach<'_>) -> Result<(), Error> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        self.is_sound = false;
        reach.set_for(connection).await?;
        self.is_sound = true;
        Ok(())
    }

    /// Gives the rows that a query finds to `take`, until there are no more, or it breaks off.
    pub(super) async fn read(
        &mut self,
        text: &'static Text,
        parameters: &[Parameter<'_>],
        mut take: impl FnMut(Row<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        debug_assert_eq!(text.parameters, parameters.len(), "{}", text.sql);
        let Some(connection) = &mut self.connection else { return Ok(()) };
        self.is_sound = false;
        let mut rows = sqlx::query_with(text.sql.as_str(), arguments(parameters)?).fetch(connection);
        while let Some(row) = rows.try_next().await.map_err(|error| from_sqlx(&error))? {
            if take(Row::Postgres(&row))?.is_break() {
                // sqlx reads the rest away before it sends anything else.
                break;
            }
        }
        drop(rows);
        self.is_sound = true;
        Ok(())
    }
}

impl Drop for PostgresReading {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.is_sound
        {
            self.reader.idle().push(Idle { connection, home: self.home, since: Instant::now() });
        }
    }
}

fn arguments(parameters: &[Parameter<'_>]) -> Result<PgArguments, Error> {
    let mut arguments = PgArguments::default();
    for parameter in parameters {
        let added = match parameter {
            Parameter::Integer(number) => arguments.add(number),
            Parameter::Text(text) => arguments.add(text),
        };
        added.map_err(|_| Error::Refused("a parameter cannot be sent".to_owned()))?;
    }
    Ok(arguments)
}
