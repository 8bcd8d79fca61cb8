//! The copy by itself: what becomes of a connection once both of its sockets are connected, for measuring it without
//! the rest.

use std::io;

use tokio::net::TcpStream;

use crate::{
    Limits,
    buffer::{PodPool, Pool},
    copy::{Ended, both_ways},
    failure::Failure,
    ledger::{Account, Ledger},
    meter::Meter,
    stream::Stream,
    turns::Turns,
};

/// What its streams share, as all of one pod's do.
#[derive(Debug)]
pub struct Relay {
    pool: Pool,
    account: Account,
    turns: Turns,
}

// === impl Relay ===

impl Relay {
    pub fn new(limits: &Limits) -> Self {
        Self { pool: Pool::default(), account: Ledger::new(limits.buffers()).account(), turns: Turns::new() }
    }

    /// Carries bytes both ways until both ends have finished; when one breaks off, the other is reset. The sockets are
    /// those of the proxy: dropped, they are reset (`SO_LINGER` of zero seconds).
    pub async fn carry(&self, client: TcpStream, server: TcpStream) -> io::Result<()> {
        let (client, server) = (Stream::accepted(client), Stream::accepted(server));
        let pool = PodPool { pool: &self.pool, account: &self.account };
        let carried = both_ways(
            client.socket(),
            server.socket(),
            pool,
            &self.turns,
            &Meter::new(),
            &mut Ended::default(),
            || false,
        )
        .await;
        carried.map_err(|failure: Failure| io::Error::other(failure))?;
        client.close();
        server.close();
        Ok(())
    }
}
