//! accept → `SO_ORIGINAL_DST` → connect → copy, in one namespace.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use netns::Netns;
use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt},
};
use proxy::Relay;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// One listener's worth of a mesh: the way out of a pod, or the way in.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) netns: Arc<Netns>,
    pub(crate) mark: u32,
    pub(crate) relay: Arc<Relay>,
}

// === impl Hop ===

impl Hop {
    /// The agent's listeners have this backlog too.
    const BACKLOG: i32 = 4096;

    pub(crate) fn listen(&self, port: u16) -> Result<TcpListener> {
        let listener = self.netns.run(|| -> io::Result<TcpListener> {
            let socket = tcp()?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
            socket.listen(Self::BACKLOG)?;
            TcpListener::from_std(socket.into())
        })?;
        listener.context("cannot listen")
    }

    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let hop = Arc::clone(&self);
                    tokio::spawn(async move {
                        if let Err(error) = hop.serve(stream).await {
                            eprintln!("{error:#}");
                        }
                    });
                }
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    async fn serve(&self, client: TcpStream) -> Result<()> {
        let to = original_dst(&client).context("cannot read the original destination")?;
        let server = self.connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
        Ok(self.relay.carry(client, server).await?)
    }

    async fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        let socket = self.netns.run(|| -> io::Result<Socket> {
            let socket = tcp()?;
            socket.set_mark(self.mark)?;
            match socket.connect(&to.into()) {
                Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
                Ok(()) | Err(_) => Ok(socket),
            }
        })??;
        let stream = TcpStream::from_std(socket.into())?;
        stream.writable().await?;
        stream.take_error()?.map_or(Ok(stream), |error| Err(error.into()))
    }
}

/// With the options of the proxy's own sockets.
fn tcp() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    Ok(socket)
}

fn original_dst(client: &TcpStream) -> io::Result<SocketAddr> {
    let addr = getsockopt(client, sockopt::OriginalDst)?;
    let ip = Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr));
    Ok(SocketAddrV4::new(ip, u16::from_be(addr.sin_port)).into())
}
