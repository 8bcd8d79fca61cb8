//! The port that is asked: `GET /metrics`, as of ztunnel.

use std::{
    convert::Infallible,
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Anybody who reaches the node may ask: who comes in crowds waits, and takes no descriptors from the pods.
const AT_ONCE: usize = 32;

/// A question and its answer take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

const BACKLOG: u32 = 128;

/// Between tries to listen: an agent that is about to end may still have the port.
const BACKOFF: Duration = Duration::from_secs(1);

/// What is asked, each time.
pub(crate) type Page = Arc<dyn Fn() -> Result<String, fmt::Error> + Send + Sync>;

/// Serves until the agent ends.
pub(crate) async fn serve(port: u16, page: Page) {
    let listener = listen(port).await;
    let seats = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // Never closed.
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = Arc::clone(&page);
                tokio::spawn(async move {
                    let _seat = seat;
                    if let Ok(Err(error)) = timeout(PATIENCE, converse(stream, &page)).await {
                        debug!(%error, "Metrics connection ended");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "Metrics port cannot accept");
                sleep(BACKOFF).await;
            }
        }
    }
}

async fn listen(port: u16) -> TcpListener {
    let mut is_told = false;
    loop {
        match bind(port) {
            Ok(listener) => {
                info!(port, "Metrics are served");
                return listener;
            }
            Err(error) if !is_told => {
                warn!(port, %error, "Metrics cannot be served; set metrics.port if the port is taken. Trying on");
                is_told = true;
            }
            Err(_) => {}
        }
        sleep(BACKOFF).await;
    }
}

/// On all addresses; on those of IPv4 where the kernel has no IPv6.
fn bind(port: u16) -> io::Result<TcpListener> {
    match bind_at((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(e),
        Err(_) => bind_at((Ipv4Addr::UNSPECIFIED, port).into()),
        listener => listener,
    }
}

/// Beside an agent that is about to step down, too.
fn bind_at(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn converse(stream: TcpStream, page: &Page) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let response = answer(&request, page);
        async { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await
}

fn answer(request: &Request<Incoming>, page: &Page) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return response(StatusCode::NOT_FOUND, None, "ask for /metrics\n".to_owned());
    }
    if request.method() != Method::GET {
        return response(StatusCode::METHOD_NOT_ALLOWED, Some((ALLOW, "GET")), "ask with GET\n".to_owned());
    }
    match page() {
        Ok(page) => response(StatusCode::OK, Some((CONTENT_TYPE, OPEN_METRICS)), page),
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, None, format!("{error}\n")),
    }
}

fn response(
    status: StatusCode,
    header: Option<(HeaderName, &'static str)>,
    text: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().extend(header.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}
