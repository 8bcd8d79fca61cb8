//! An error as the CNI specification wants it: JSON on standard output.

use std::io;

use serde::Serialize;

use crate::version::NEWEST;

/// The specification's numbers, and from 100 on ours.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(into = "u32")]
pub(crate) enum Code {
    IncompatibleVersion = 1,
    Environment = 4,
    Io = 5,
    Decode = 6,
    InvalidConfig = 7,
    /// The agent is not there yet.
    TryAgainLater = 11,
    /// To STATUS: no ADD can be served now.
    NotAvailable = 50,
    /// The agent was asked and said no.
    Refused = 100,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    cni_version: String,
    code: Code,
    msg: String,
    details: String,
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(code: Code, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self { cni_version: NEWEST.to_owned(), code, msg: msg.into(), details: details.into() }
    }

    pub(crate) fn unreadable(error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::InvalidData { Code::Decode } else { Code::Io };
        Self::new(code, format!("cannot read the network configuration: {error}"), "")
    }

    /// In the version that the runtime speaks.
    pub(crate) fn in_version(self, cni_version: &str) -> Self {
        Self { cni_version: cni_version.to_owned(), ..self }
    }

    pub(crate) fn json(&self) -> String {
        // Strings and a number always serialize; an exit code without a message would still be a failure.
        serde_json::to_string(self).unwrap_or_default()
    }
}

// === impl Code ===

impl From<Code> for u32 {
    fn from(code: Code) -> Self {
        code as Self
    }
}
