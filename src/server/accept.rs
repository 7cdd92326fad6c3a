//! Taking connections, and handing each to one of the threads that serve them.

use std::time::Duration;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// How long no connection is taken after one could not be: out of descriptors, the next cannot either.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that no runtime knows yet.
pub(super) type Accepted = std::net::TcpStream;

/// Hands connections to `threads` in turn, for as long as it is asked to.
pub(super) async fn accept(listener: TcpListener, threads: Vec<mpsc::UnboundedSender<Accepted>>) {
    for thread in threads.iter().cycle() {
        let connection = loop {
            match listener.accept().await.and_then(|(connection, _)| prepare(connection)) {
                Ok(connection) => break connection,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        // A thread that serves no more is one of a server that stops.
        let _ = thread.send(connection);
    }
}

fn prepare(connection: TcpStream) -> std::io::Result<Accepted> {
    connection.set_nodelay(true)?;
    connection.into_std()
}
