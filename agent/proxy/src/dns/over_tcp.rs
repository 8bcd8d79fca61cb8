//! Queries over TCP. Those that are not for us go on over one connection to the resolver, as they are: it may reply in
//! any order, and with several messages to one query (RFC 7766, RFC 5936).

use std::{future::pending, io, time::Duration};

use ::dns::Transport;
use model::EndpointAddr;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Step, decide};
use crate::{
    QueryOutcome, connection::Addressed, connections::Stage, end::End, failure::Failure, forward, meter::Way,
    stream::Stream,
};

mod frames;

use self::frames::{Frames, write_frame};

/// Without a message for so long, either way, the connection ends.
const IDLE: Duration = Duration::from_secs(30);
/// And so soon once the client has ended its side and every query has a reply: of a zone transfer, more may come.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What is no DNS shows itself with its first bytes; what says nothing for so long is none.
const FIRST_BYTES: Duration = Duration::from_secs(1);
/// The length of a message, and the header that begins it (RFC 1035, 4.1.1 and 4.2.2).
const BEGINNING: usize = 2 + 12;

struct Session {
    addressed: Addressed,
    asked: Frames,
    resolver: Option<Resolver>,
    /// The client has not said its last.
    is_asking: bool,
    /// Queries that went to the resolver and have no reply yet.
    pending: usize,
}

/// The connection to it.
struct Resolver {
    stream: Stream,
    replied: Frames,
}

/// What comes next, from whom; `None` at its end.
enum Heard {
    Query(io::Result<Option<Vec<u8>>>),
    Reply(io::Result<Option<Vec<u8>>>),
}

/// Whether the client begins with a query. Nothing is read of what it says: if it is something else, it goes on like any
/// other connection.
pub(crate) async fn begins(client: &Stream) -> bool {
    let mut beginning = [0; BEGINNING];
    let deadline = Instant::now() + FIRST_BYTES;
    loop {
        match timeout_at(deadline, client.socket().peek(&mut beginning)).await {
            Ok(Ok(BEGINNING)) => return is_query(&beginning),
            // They may come apart. The socket stays readable meanwhile, so it is asked now and then; and as it is ready
            // at once, the deadline must be looked at here.
            Ok(Ok(1..)) if Instant::now() < deadline => sleep(FIRST_BYTES / 100).await,
            Ok(Ok(_) | Err(_)) | Err(_) => return false,
        }
    }
}

/// One question, no answer, and no response.
fn is_query(beginning: &[u8; BEGINNING]) -> bool {
    let [_, _, _, _, flags, _, questions_and_answers @ .., _, _, _, _] = beginning;
    flags & 0x80 == 0 && *questions_and_answers == [0, 1, 0, 0]
}

pub(crate) async fn serve(addressed: Addressed) -> Result<(), Failure> {
    addressed.connection.live.reached(Stage::Answer);
    let mut session =
        Session { addressed, asked: Frames::default(), resolver: None, is_asking: true, pending: 0 };
    while session.step().await? {}
    let Session { addressed, resolver, .. } = session;
    addressed.client.close();
    if let Some(resolver) = resolver {
        resolver.stream.close();
    }
    Ok(())
}

// === impl Session ===

impl Session {
    /// Whether there is more.
    async fn step(&mut self) -> Result<bool, Failure> {
        let patience = if self.is_asking || 0 < self.pending { IDLE } else { LAST_WORDS };
        let Ok(heard) = timeout(patience, self.hear()).await else { return Ok(false) };
        match heard {
            Heard::Query(query) => match query.map_err(broken(End::Client))? {
                Some(query) => self.take(&query).await,
                // It may still wait for replies.
                None => {
                    self.is_asking = false;
                    Ok(self.resolver.is_some())
                }
            },
            Heard::Reply(reply) => match reply.map_err(broken(End::Server))? {
                Some(reply) => {
                    self.pending = self.pending.saturating_sub(1);
                    self.tell(&reply).await.map(|()| true)
                }
                // It closes when nothing is asked; the next query opens another.
                None => {
                    self.resolver = None;
                    self.pending = 0;
                    Ok(self.is_asking)
                }
            },
        }
    }

    async fn hear(&mut self) -> Heard {
        let Self { addressed, asked, resolver, is_asking, pending: _ } = self;
        let reply = async {
            match resolver {
                Some(Resolver { stream, replied }) => replied.next(stream.socket()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            query = asked.next(addressed.client.socket()), if *is_asking => Heard::Query(query),
            reply = reply => Heard::Reply(reply),
        }
    }

    async fn take(&mut self, query: &[u8]) -> Result<bool, Failure> {
        let connection = &self.addressed.connection;
        match decide(&connection.shared, &connection.pod, query, Transport::Tcp) {
            Step::Answer(message) => {
                self.count(QueryOutcome::Answered);
                self.tell(&message).await.map(|()| true)
            }
            Step::Forward => {
                let asked = self.ask(query).await;
                self.count(if asked.is_ok() { QueryOutcome::Forwarded } else { QueryOutcome::Failed });
                asked.map(|()| true)
            }
            Step::Drop => {
                self.count(QueryOutcome::Dropped);
                Ok(false)
            }
        }
    }

    async fn tell(&self, message: &[u8]) -> Result<(), Failure> {
        let addressed = &self.addressed;
        addressed.connection.live.meter.count(Way::Received, message.len());
        written(End::Client, write_frame(addressed.client.socket(), message)).await
    }

    async fn ask(&mut self, query: &[u8]) -> Result<(), Failure> {
        let addressed = &self.addressed;
        let live = &addressed.connection.live;
        let resolver = match &mut self.resolver {
            Some(resolver) => resolver,
            None => {
                let endpoint = EndpointAddr(addressed.original_dst.0);
                live.learn(|facts| facts.upstream = Some(endpoint));
                let stream = addressed.while_client_waits(forward::connect(addressed, endpoint)).await?;
                self.resolver.insert(Resolver { stream, replied: Frames::default() })
            }
        };
        live.meter.count(Way::Sent, query.len());
        self.pending += 1;
        written(End::Server, write_frame(resolver.stream.socket(), query)).await
    }

    fn count(&self, outcome: QueryOutcome) {
        self.addressed.connection.shared.queries.count(outcome);
    }
}

fn broken(end: End) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Broken { end, source }
}

/// One that does not read is given up.
async fn written(end: End, writing: impl Future<Output = io::Result<()>>) -> Result<(), Failure> {
    match timeout(IDLE, writing).await {
        Ok(written) => written.map_err(broken(end)),
        Err(_elapsed) => Err(Failure::Idle { after: IDLE }),
    }
}

#[cfg(test)]
mod tests;
