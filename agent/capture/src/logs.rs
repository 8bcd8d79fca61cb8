//! What the eBPF programs log, in our own log.

use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::Log;
use tokio::io::{Interest, unix::AsyncFd};
use tracing::error;

use crate::Error;

pub(crate) fn forward(object: &mut Ebpf) -> Result<(), Error> {
    // An object without log statements has no such map.
    let Ok(logger) = EbpfLogger::init(object) else {
        return Ok(());
    };
    // SAFETY: the descriptor is that of the map inside `logger`, which moves into the AsyncFd and never lets go
    // of it.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let logger = logger.map_err(|e| Error::Map {
        op: "wait for",
        map: abi::name::AYA_LOGS,
        source: aya::maps::MapError::IoError(io::Error::other(e)),
    })?;
    tokio::spawn(flush(logger));
    Ok(())
}

async fn flush(mut logger: AsyncFd<EbpfLogger<&'static dyn Log>>) {
    loop {
        match logger.readable_mut().await {
            Ok(mut readable) => {
                readable.get_inner_mut().flush();
                readable.clear_ready();
            }
            Err(e) => {
                error!(error = %e, "What the eBPF programs log can no longer be read");
                return;
            }
        }
    }
}
