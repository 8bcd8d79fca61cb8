//! Requests: for how long they are waited for, what can go wrong with them, and what that means.

use std::{error::Error, time::Duration};

use kube::core::Status;
use tokio::time::{error::Elapsed, timeout};

use crate::printable::printable;

/// An API server that has not answered for so long will not.
pub const ANSWER: Duration = Duration::from_secs(30);

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the API server has not answered for {} s", ANSWER.as_secs())]
    Silent(#[from] Elapsed),
    #[error(transparent)]
    Failed(#[from] kube::Error),
    #[error("the API server sent an object without resourceVersion")]
    NoVersion,
}

/// Waits for the answer, but no longer than `patience`: the client itself waits much longer, for it also watches.
pub async fn ask<T>(
    patience: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    Ok(timeout(patience, request).await??)
}

// === impl RequestError ===

impl RequestError {
    /// What the API server answered, if it was one that did.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Failed(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    /// The place in the stream of changes is lost, and nothing is wrong.
    pub(super) fn is_gone(&self) -> bool {
        self.status().is_some_and(|status| status.code == 410)
    }

    /// Whether a watch can be taken up where it ended. It cannot where a change was received and not understood, nor
    /// where the API server does not know that place: it may have lost its past, or its future. So it must be an error
    /// that is known to be about neither.
    pub(super) fn can_resume(&self) -> bool {
        match self {
            Self::Silent(_) => true,
            Self::NoVersion => false,
            Self::Failed(error) => match error {
                kube::Error::Api(status) => matches!(status.code, 401 | 403 | 429 | 500 | 502 | 503),
                kube::Error::Service(_) | kube::Error::HyperError(_) => true,
                kube::Error::ReadEvents(_) | kube::Error::Auth(_) => true,
                _ => false,
            },
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.status()?.details.as_ref()?.retry_after_seconds;
        Some(Duration::from_secs(seconds.into()).min(Duration::from_secs(60)))
    }

    /// One line. `needs` says what must be permitted.
    pub fn explain(&self, needs: &str) -> String {
        printable(match self {
            Self::Failed(kube::Error::Api(status)) => explain_status(status, needs),
            Self::Failed(kube::Error::SerdeError(e)) => {
                format!("what answered makes no sense: {e}; is it an API server?")
            }
            Self::Failed(kube::Error::Auth(e)) => {
                format!("no credentials: {}; is the token or its command gone?", causes(e))
            }
            Self::Failed(kube::Error::Service(e)) => format!("cannot reach the API server: {}", causes(&**e)),
            Self::Failed(e) => causes(e),
            Self::Silent(_) | Self::NoVersion => self.to_string(),
        })
    }
}

fn explain_status(status: &Status, needs: &str) -> String {
    let Status { code, message, reason, .. } = status;
    let message = if message.is_empty() { reason } else { message };
    match code {
        // What the client makes of a line that is no change.
        0 => "a change that was told makes no sense".to_owned(),
        401 => {
            format!("the API server does not know who asks ({message}); is the token or certificate expired?")
        }
        403 => format!("forbidden: {}; {needs}", message.trim_start_matches("forbidden: ")),
        _ => format!("the API server answers {code}: {message}"),
    }
}

/// The error and what it rests on, each cause once.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
