use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::*;
use crate::stream::Stream;

fn runtime() -> tokio::runtime::Id {
    Handle::current().id()
}

#[tokio::test]
async fn a_task_goes_on_in_the_lane_of_its_pod_with_its_socket_and_comes_back() {
    let lanes = Arc::new(Lanes::new().unwrap());
    let usage = Arc::new(Usage::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();

    let (place, calm) = (lanes.place(&usage), runtime());
    let (told, hears) = oneshot::channel();
    let here = Arc::clone(&place);
    place.spawn(async move {
        let mut stream = Stream::accepted(accepted);
        assert!(!here.is_stale());
        here.usage.charge(now(), Duration::from_secs(1), Clock::Thread);
        assert!(here.is_stale());
        here.change().await;
        stream = stream.moved().unwrap();
        let busy = runtime();
        assert!(!here.is_stale());

        let beside = here.beside();
        let (tell, heard) = oneshot::channel();
        beside.spawn(async move { tell.send(runtime()).unwrap() });
        assert_eq!(heard.await.unwrap(), busy, "what a task starts begins where it is itself");

        stream.socket().readable().await.unwrap();
        here.change().await;
        stream = stream.moved().unwrap();
        stream.socket().writable().await.unwrap();
        let written = stream.socket().try_write(b"pong").unwrap();
        told.send((busy, runtime(), written)).unwrap();
        stream.close();
    });
    client.write_all(b"ping").await.unwrap();
    let mut pong = Vec::new();
    drop(client.read_to_end(&mut pong).await);
    let (busy, back, written) = hears.await.unwrap();
    assert_ne!(busy, calm);
    assert_eq!((back, written, pong.as_slice()), (calm, 4, &b"pong"[..]));
}
