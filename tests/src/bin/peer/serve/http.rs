//! An HTTP server that tells what it sees.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;

use super::canonical;
use crate::say::say;

pub(super) fn serve(listener: TcpListener, name: String) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let name: Arc<str> = name.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, client) = listener.accept().await?;
            let client = canonical(client);
            say(&json!({"event": "accepted", "client": client}));
            let name = Arc::clone(&name);
            let service = service_fn(move |request| {
                let response = answer(&name, client, &request);
                async { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(async move {
                // How a client ends is its own business.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

fn answer(name: &str, client: SocketAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let text = format!("{name}: {} {path} from {}\n", request.method(), client.ip());
    Response::new(Full::new(text.into()))
}
