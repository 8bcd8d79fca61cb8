use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::{JoinHandle, yield_now},
    time::timeout,
};

use super::*;
use crate::{Reason, buffer::Pool, fair::Share, ledger::Ledger, stream::Stream};

/// `client` and `server` are the applications' ends of a connection that is copied in between.
struct Carried {
    client: TcpStream,
    server: TcpStream,
    buffers: Arc<Ledger>,
    meter: Arc<Meter>,
    outcome: JoinHandle<Result<(), Failure>>,
}

/// The server's memory for what it has not read, so that the slow reader's test is quick.
const SMALL: usize = 64 << 10;

#[tokio::test]
async fn either_end_may_finish_first_and_still_receive() {
    for client_first in [true, false] {
        let mut copied = Carried::new().await;
        let (first, second) = if client_first {
            (&mut copied.client, &mut copied.server)
        } else {
            (&mut copied.server, &mut copied.client)
        };
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        assert_eq!(read_to_end(second).await, b"question");
        let answer = vec![b'a'; 1 << 20];
        let (written, read) = tokio::join!(
            async {
                second.write_all(&answer).await.unwrap();
                second.shutdown().await
            },
            read_to_end(first)
        );
        written.unwrap();
        assert_eq!(read.len(), answer.len());
        let (sent, received) = if client_first { (8, 1 << 20) } else { (1 << 20, 8) };
        assert_eq!((copied.meter.sent(), copied.meter.received()), (sent, received));
        assert_eq!(copied.reason().await, Reason::Closed);
    }
}

#[tokio::test]
async fn an_end_is_passed_on_once_where_the_copy_is_left_between_both() {
    let leave = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&leave);
    let mut copied = Carried::leaving(move || asked.swap(false, Ordering::Relaxed)).await;
    copied.client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut copied.server).await, b"");
    leave.store(true, Ordering::Relaxed);
    // The kernel is done with this connection before the copy hears of it.
    drop(copied.server);
    assert_eq!(read_to_end(&mut copied.client).await, b"");
    assert!(!leave.load(Ordering::Relaxed), "it was left");
    assert_eq!(reason(copied.outcome).await, Reason::Closed);
}

#[tokio::test]
async fn a_reset_of_an_idle_connection_is_passed_on() {
    let mut copied = Carried::new().await;
    reset(copied.client);
    assert_reset(&mut copied.server).await;
    assert_eq!(reason(copied.outcome).await, Reason::ClientReset);

    let mut copied = Carried::new().await;
    reset(copied.server);
    assert_reset(&mut copied.client).await;
    assert_eq!(reason(copied.outcome).await, Reason::ServerReset);
}

#[tokio::test]
async fn a_reset_is_noticed_while_the_other_end_does_not_read() {
    let mut copied = Carried::new().await;
    fill(&copied.client).await;
    reset(copied.client);
    assert_eq!(reason(copied.outcome).await, Reason::ClientReset);
    // What had arrived can still be read, then comes the reset.
    let mut sink = Vec::new();
    let end = copied.server.read_to_end(&mut sink).await.unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_after_the_end_of_data_is_not_taken_for_another_end() {
    let mut copied = Carried::new().await;
    copied.client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut copied.server).await, b"");
    reset(copied.server);
    assert_reset(&mut copied.client).await;
    assert_eq!(reason(copied.outcome).await, Reason::ServerReset);

    // The end that finished resets.
    let mut copied = Carried::new().await;
    copied.client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut copied.server).await, b"");
    reset(copied.client);
    // After the end of data a read says "end" for ever; the socket itself has the error.
    assert_eq!(stream::broken(&copied.server).await.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(reason(copied.outcome).await, Reason::ClientReset);
}

#[tokio::test]
async fn an_answer_before_a_reset_arrives() {
    for _ in 0..50 {
        let mut copied = Carried::new().await;
        copied.client.write_all(&[b'q'; 100_000]).await.unwrap();
        copied.server.readable().await.unwrap();
        copied.server.write_all(b"too large").await.unwrap();
        // Closed with data unread, which the kernel answers with a reset.
        drop(copied.server);

        let mut answer = [0; 9];
        copied.client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"too large");
        assert_reset(&mut copied.client).await;
        assert_eq!(reason(copied.outcome).await, Reason::ServerReset);
    }
}

#[tokio::test]
async fn a_connection_cut_short_looks_cut_short() {
    let mut copied = Carried::new().await;
    copied.client.write_all(b"half of it").await.unwrap();
    let mut start = [0; 10];
    copied.server.read_exact(&mut start).await.unwrap();
    copied.outcome.abort();
    assert_reset(&mut copied.server).await;
    assert_reset(&mut copied.client).await;
}

#[tokio::test]
async fn single_bytes_are_not_held_back_and_idle_streams_hold_no_buffer() {
    let mut copied = Carried::new().await;
    // The server speaks first.
    for byte in 0..=255 {
        copied.server.write_all(&[byte]).await.unwrap();
        assert_eq!(copied.client.read_u8().await.unwrap(), byte);
        copied.client.write_all(&[byte]).await.unwrap();
        assert_eq!(copied.server.read_u8().await.unwrap(), byte);
    }
    // The buffer goes back after the byte was written: let the copy come to that.
    while copied.buffers.used() != 0 {
        yield_now().await;
    }
}

#[tokio::test]
async fn urgent_data_stays_in_its_place_and_stops_nothing() {
    let mut copied = Carried::new().await;
    // All of it is there before the copy comes to read.
    copied.client.try_write(b"before").unwrap();
    SockRef::from(&copied.client).send_out_of_band(b"!").unwrap();
    copied.client.try_write(b"after").unwrap();
    let mut all = [0; 12];
    copied.server.read_exact(&mut all).await.unwrap();
    assert_eq!(&all, b"before!after");
}

#[tokio::test]
async fn a_slow_reader_stops_the_writer_and_memory_stays_bounded() {
    let mut copied = Carried::new().await;
    let written = fill(&copied.client).await;
    assert!(copied.buffers.used() <= LARGEST, "{}", copied.buffers.used());
    copied.client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut copied.server).await.len(), written, "and nothing is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_stream_is_exact_both_ways_at_once() {
    both_ways_at_once(Carried::new().await, 256 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_stream_is_exact_where_the_copy_is_left_and_taken_up_again_in_between() {
    let asked = AtomicUsize::new(0);
    let each_seventh = move || asked.fetch_add(1, Ordering::Relaxed) % 7 == 6;
    both_ways_at_once(Carried::leaving(each_seventh).await, 64 << 20).await;
}

async fn both_ways_at_once(copied: Carried, length: usize) {
    let (client_read, client_write) = copied.client.into_split();
    let (server_read, server_write) = copied.server.into_split();
    // The length of the pattern has no common factor with that of any buffer.
    let pattern: Arc<Vec<u8>> =
        Arc::new((0..1_000_003_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect());
    let write = move |mut to: tokio::net::tcp::OwnedWriteHalf, pattern: Arc<Vec<u8>>| async move {
        let mut left = length;
        while left > 0 {
            let part = left.min(pattern.len());
            to.write_all(&pattern[..part]).await.unwrap();
            left -= part;
        }
        to.shutdown().await.unwrap();
    };
    let read = move |mut from: tokio::net::tcp::OwnedReadHalf, pattern: Arc<Vec<u8>>| async move {
        let mut left = length;
        let mut block = vec![0; pattern.len()];
        while left > 0 {
            let part = left.min(pattern.len());
            from.read_exact(&mut block[..part]).await.unwrap();
            assert!(block[..part] == pattern[..part], "differs {left} bytes before the end");
            left -= part;
        }
        assert_eq!(from.read(&mut block).await.unwrap(), 0);
    };
    let tasks = [
        tokio::spawn(write(client_write, Arc::clone(&pattern))),
        tokio::spawn(write(server_write, Arc::clone(&pattern))),
    ];
    let readers = [
        tokio::spawn(read(client_read, Arc::clone(&pattern))),
        tokio::spawn(read(server_read, Arc::clone(&pattern))),
    ];
    for task in tasks {
        task.await.unwrap();
    }
    for task in readers {
        task.await.unwrap();
    }
    assert_eq!((copied.meter.sent(), copied.meter.received()), (length as u64, length as u64));
    assert_eq!(reason(copied.outcome).await, Reason::Closed);
}

#[test]
fn sizes_follow_what_reads_find() {
    for (name, size, given, read, expected) in [
        ("full: doubled", SMALLEST, SMALLEST, SMALLEST, SMALLEST * 2),
        ("full at the largest", LARGEST, LARGEST, LARGEST, LARGEST),
        ("part: kept", SMALLEST * 4, SMALLEST * 4, SMALLEST, SMALLEST * 4),
        ("little: halved", SMALLEST * 4, SMALLEST * 4, SMALLEST - 1, SMALLEST * 2),
        ("little at the smallest", SMALLEST, SMALLEST, 1, SMALLEST),
        ("full, but memory was short", LARGEST, SMALLEST, SMALLEST, SMALLEST * 2),
    ] {
        assert_eq!(next_size(size, given, read), expected, "{name}");
    }
}

// === impl Carried ===

impl Carried {
    async fn new() -> Self {
        Self::leaving(|| false).await
    }

    async fn leaving(may_leave: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let (client, near) = pair().await;
        let (far, server) = pair().await;
        let buffers = Ledger::new(Share { node: 64 << 20, pod: 64 << 20, reserve: 0 });
        let meter = Arc::new(Meter::new());
        for ours in [&near, &far] {
            SockRef::from(ours).set_linger(Some(Duration::ZERO)).unwrap();
            SockRef::from(ours).set_out_of_band_inline(true).unwrap();
        }
        let (account, counted) = (buffers.account(), Arc::clone(&meter));
        let outcome = tokio::spawn(async move {
            let pool = PodPool { pool: &Pool::default(), account: &account };
            let mut ended = Ended::default();
            let (turns, mut near, mut far) = (Turns::new(), Stream::accepted(near), Stream::accepted(far));
            while both_ways(near.socket(), far.socket(), pool, &turns, &counted, &mut ended, &may_leave)
                .await?
                == Copied::Left
            {
                (near, far) = (near.moved().unwrap(), far.moved().unwrap());
            }
            near.close();
            far.close();
            Ok(())
        });
        Self { client, server, buffers, meter, outcome }
    }

    async fn reason(self) -> Reason {
        reason(self.outcome).await
    }
}

/// The dialling end and the accepted one, which has little memory.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    SockRef::from(&listener).set_recv_buffer_size(SMALL).unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    for stream in [&dialled, &accepted] {
        stream.set_nodelay(true).unwrap();
    }
    (dialled, accepted)
}

async fn reason(outcome: JoinHandle<Result<(), Failure>>) -> Reason {
    outcome.await.unwrap().map_or_else(|failure| failure.reason(), |()| Reason::Closed)
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

async fn assert_reset(stream: &mut TcpStream) {
    let end = stream.read(&mut [0; 64]).await;
    assert!(matches!(&end, Err(e) if e.kind() == io::ErrorKind::ConnectionReset), "{end:?}");
}

async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    all
}

/// Writes until nothing more is taken; returns how much was.
async fn fill(stream: &TcpStream) -> usize {
    let block = vec![b'x'; 64 << 10];
    let mut written = 0;
    while timeout(Duration::from_millis(300), stream.writable()).await.is_ok() {
        written += stream.try_write(&block).unwrap_or(0);
    }
    written
}
