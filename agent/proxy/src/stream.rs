//! A connected socket that is reset unless it is closed on purpose.

use std::{io, net::SocketAddr};

use socket2::{SockRef, Socket};
use tokio::{io::Interest, net::TcpStream};

/// `SO_LINGER` of zero seconds is set on it from the start, so the kernel answers its end with RST however
/// that end comes about: dropped with its task, or the whole process killed.
#[derive(Debug)]
pub(crate) struct Stream(TcpStream);

// === impl Stream ===

impl Stream {
    /// Takes what a listener accepted, which has the listener's options.
    pub(crate) fn accepted(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Takes a socket on its way to being connected; see [`Stream::connected`].
    pub(crate) fn connecting(socket: Socket) -> io::Result<Self> {
        TcpStream::from_std(socket.into()).map(Self)
    }

    /// Waits until the connect has succeeded or failed.
    pub(crate) async fn connected(&self) -> io::Result<()> {
        self.0.writable().await?;
        self.0.take_error()?.map_or(Ok(()), Err)
    }

    /// Waits until the other end breaks off.
    pub(crate) async fn broken(&self) -> io::Error {
        broken(&self.0).await
    }

    /// Ends it as finished: what is still to be sent is sent, then FIN.
    pub(crate) fn close(self) {
        if let Err(error) = SockRef::from(&self.0).set_linger(None) {
            tracing::debug!(%error, "A finished connection is reset");
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(crate) fn mark(&self) -> io::Result<u32> {
        SockRef::from(&self.0).mark()
    }

    /// For use in the lane that the task has changed to.
    pub(crate) fn moved(self) -> io::Result<Self> {
        TcpStream::from_std(self.0.into_std()?).map(Self)
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.0
    }
}

/// Waits for an error of the socket itself, which a read would show only once all data before it is read.
pub(crate) async fn broken(stream: &TcpStream) -> io::Error {
    loop {
        if let Err(error) = stream.ready(Interest::ERROR).await {
            return error;
        }
        match stream.take_error() {
            Ok(Some(error)) | Err(error) => return error,
            // Already taken by a read or a write, which will report it: wait for the next.
            Ok(None) => {
                let nothing: io::Result<()> = Err(io::ErrorKind::WouldBlock.into());
                let _cleared = stream.try_io(Interest::ERROR, || nothing);
            }
        }
    }
}
