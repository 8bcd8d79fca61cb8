//! A way to the API server that can be cut. It runs inside the network of the control plane.

use std::{
    net::{SocketAddr, TcpListener},
    thread::{self, JoinHandle},
};

use cluster::Cluster;
use tokio::{io::copy_bidirectional, net::TcpStream, runtime::Builder, select, sync::watch};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// What is there is reset, and what comes is closed.
    Cut,
    /// What comes is taken, and nothing is done with it.
    Deaf,
    Ended,
}

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
    thread: Option<JoinHandle<()>>,
}

// === impl Relay ===

impl Relay {
    pub(crate) fn start(cluster: &Cluster, to: SocketAddr, first: Way) -> Self {
        let place = cluster.control().clone();
        let listener = place.exec(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (way, ways) = watch::channel(first);
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            place.exec(|| runtime.block_on(serve(listener, to, ways))).unwrap();
        });
        Self { address, way, thread: Some(thread) }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.set(Way::Ended);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

async fn serve(listener: TcpListener, to: SocketAddr, ways: watch::Receiver<Way>) {
    let mut end = ways.clone();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        select! {
            accepted = listener.accept() => {
                tokio::spawn(relay(accepted.unwrap().0, to, ways.clone()));
            }
            _ = end.wait_for(|way| *way == Way::Ended) => return,
        }
    }
}

async fn relay(mut client: TcpStream, to: SocketAddr, mut ways: watch::Receiver<Way>) {
    let begun = *ways.borrow();
    let through = async {
        match begun {
            Way::Open => {
                let mut server = TcpStream::connect(to).await?;
                copy_bidirectional(&mut client, &mut server).await.map(drop)
            }
            Way::Deaf => std::future::pending().await,
            Way::Cut | Way::Ended => Ok(()),
        }
    };
    // What became of it is for its two ends to notice.
    select! {
        _ended = through => {}
        _changed = ways.wait_for(|way| *way != begun) => {}
    }
}
