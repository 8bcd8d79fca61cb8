//! What the application dialled: the local address of the accepted socket.

use model::{OriginalDst, canonical};

use crate::{
    connection::{Accepted, Addressed},
    connections::{Direction, Stage},
    failure::Failure,
    tuples::Tuple,
};

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
