//! One connection to the first of several addresses that takes it (RFC 8305).

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::sleep;

/// How long one try may go on alone, the "Connection Attempt Delay".
const HEAD_START: Duration = Duration::from_millis(250);
/// Each has a socket, of which the agent has not any number.
const AT_ONCE: usize = 4;

/// Begins with the first; with the next when that has failed, or has not succeeded for a while. The first that
/// succeeds wins, and the others are dropped. If all fail, the failure of the first; `None` if there are none.
pub(crate) async fn race<C, T, E, F>(
    candidates: impl IntoIterator<Item = C>,
    attempt: impl Fn(C) -> F,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = candidates.into_iter().enumerate().peekable();
    let mut running = FuturesUnordered::new();
    let mut failure: Option<(usize, E)> = None;
    loop {
        if running.len() < AT_ONCE
            && let Some((place, candidate)) = waiting.next()
        {
            let attempt = attempt(candidate);
            running.push(async move { (place, attempt.await) });
        }
        let may_start = running.len() < AT_ONCE && waiting.peek().is_some();
        tokio::select! {
            biased;
            ended = running.next() => match ended {
                Some((_, Ok(winner))) => return Some(Ok(winner)),
                Some((place, Err(error))) => {
                    if failure.as_ref().is_none_or(|(first, _)| place < *first) {
                        failure = Some((place, error));
                    }
                }
                None => return failure.map(|(_, error)| Err(error)),
            },
            () = sleep(HEAD_START), if may_start => {}
        }
    }
}

#[cfg(test)]
mod tests;
