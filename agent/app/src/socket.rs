//! Sockets of the run directory, for root alone.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    net::{UnixListener, UnixStream},
    time::sleep,
};
use tracing::{debug, warn};

use crate::run_dir::remove_if_there;

/// Between tries to accept. Out of descriptors, most likely: they come back.
const BACKOFF: Duration = Duration::from_millis(100);

/// Makes the socket, in place of the one of the agent before: at each moment there is one.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    let new = path.with_extension("new");
    remove_if_there(&new)?;
    let bind = || -> io::Result<_> {
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        Ok(listener)
    };
    bind().with_context(|| format!("cannot listen at {}", path.display()))
}

/// Converses with each that connects in a task of its own, until this is dropped. `name` is for the log.
pub(crate) async fn serve<C>(listener: UnixListener, name: &'static str, converse: impl Fn(UnixStream) -> C)
where
    C: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let conversation = converse(stream);
                tokio::spawn(async move {
                    if let Err(error) = conversation.await {
                        debug!(socket = name, %error, "Connection ended");
                    }
                });
            }
            Err(error) => {
                warn!(socket = name, %error, "Cannot accept");
                sleep(BACKOFF).await;
            }
        }
    }
}
