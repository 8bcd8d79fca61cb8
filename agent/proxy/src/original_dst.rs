//! What the application dialled: the local address of the accepted socket.

use model::{ClientAddr, OriginalDst, canonical};

use crate::{
    accept::{Accepted, Connection},
    connections::{Direction, Stage},
    copy::End,
    failure::Failure,
    pods::Claim,
    stream::Stream,
    tuples::Tuple,
};

/// A connection whose two addresses are known, and that is not one of ours.
#[derive(Debug)]
pub(crate) struct Addressed {
    pub(crate) client: Stream,
    pub(crate) connection: Connection,
    pub(crate) original_dst: OriginalDst,
    /// The mark of the client's socket.
    pub(crate) mark: u32,
    /// The addresses, while a delivery in this pod must not use the same.
    pub(crate) claim: Option<Claim>,
}

pub(crate) fn original_dst(accepted: Accepted) -> Result<Addressed, Failure> {
    let Accepted { client, connection } = accepted;
    let live = &connection.live;
    live.reached(Stage::OriginalDst);
    let failed = |op| move |source| Failure::Socket { op, source };

    let addr = OriginalDst(canonical(client.local_addr().map_err(failed("read the original destination"))?));
    live.learn(|facts| facts.original_dst = Some(addr));
    // `tcp_fwmark_accept` is set in the pod: an accepted socket has the mark of the one that dialled.
    let mark = client.mark().map_err(failed("read the mark"))?;

    if connection.pod.listeners.contains(&addr.0) {
        return Err(Failure::OwnListener { addr });
    }
    if mark & connection.shared.config.marks.agent != 0 {
        return Err(Failure::OwnConnection { addr });
    }
    let claim = match live.direction {
        Direction::Outbound => None,
        Direction::Inbound => {
            let tuple = Tuple { client: live.client.0, server: addr.0 };
            Some(connection.pod.claim_accepted(tuple).ok_or(Failure::OwnConnection { addr })?)
        }
    };
    Ok(Addressed { client, connection, original_dst: addr, mark, claim })
}

// === impl Addressed ===

impl Addressed {
    pub(crate) fn client_addr(&self) -> ClientAddr {
        self.connection.live.client
    }

    /// Runs a connect, and gives it up as soon as the client has gone.
    pub(crate) async fn while_client_waits<T>(
        &self,
        connecting: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            result = connecting => result,
            source = self.client.broken() => Err(Failure::Broken { end: End::Client, source }),
        }
    }
}
