//! An echo server for thousands of clients.

use std::{io, net::TcpListener};

use nix::errno::Errno;

pub(super) fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut stream, _) = match listener.accept().await {
                // It gave up while it waited.
                Err(error) if error.raw_os_error() == Some(Errno::ECONNABORTED as i32) => continue,
                accepted => accepted?,
            };
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                // How a client ends is its own business.
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    })
}
