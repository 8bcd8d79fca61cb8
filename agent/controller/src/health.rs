//! `GET /readyz`, for the kubelet: whether every ServiceEntry is known, be this the one that leads or not.

use std::{convert::Infallible, io, net::Ipv6Addr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{Response, StatusCode, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens, and then serves until it is aborted.
pub(crate) async fn serve(port: u16, is_ready: watch::Receiver<bool>) -> io::Result<JoinHandle<()>> {
    if port == 0 {
        return Ok(tokio::spawn(async {}));
    }
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        // A kernel without IPv6.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(("0.0.0.0", port)).await?
        }
        bound => bound?,
    };
    Ok(tokio::spawn(accept(listener, is_ready)))
}

async fn accept(listener: TcpListener, is_ready: watch::Receiver<bool>) {
    let seats = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // Never closed.
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let is_ready = is_ready.clone();
                tokio::spawn(async move {
                    let _seat = seat;
                    if let Ok(Err(error)) = timeout(PATIENCE, converse(stream, &is_ready)).await {
                        debug!(%error, "Health connection ended");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "Health port cannot accept");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, is_ready: &watch::Receiver<bool>) -> hyper::Result<()> {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (status, text) = match (request.uri().path(), *is_ready.borrow()) {
            ("/readyz", true) => (StatusCode::OK, "ready\n"),
            ("/readyz", false) => (StatusCode::SERVICE_UNAVAILABLE, "not every watch has stood yet\n"),
            _ => (StatusCode::NOT_FOUND, "ask for /readyz\n"),
        };
        let mut response = Response::new(Full::<Bytes>::from(text));
        *response.status_mut() = status;
        async { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await
}
