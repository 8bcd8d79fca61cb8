//! Where the objects come from, and what a source has to say beside its snapshots. PURE.

use std::{
    fmt, io,
    path::{self, PathBuf},
    str::FromStr,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// Written `file:DIR`, `kubernetes` or `kubernetes:KUBECONFIG`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    File(PathBuf),
    Kubernetes {
        /// Without one the pod's service account is used or, outside of a pod, the default kubeconfig.
        kubeconfig: Option<PathBuf>,
    },
}

/// A text that names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("file: needs a folder, e.g. file:/etc/millstream/manifests")]
    NoFolder,
    #[error(
        "kubernetes: needs a file, e.g. kubernetes:/etc/millstream/kubeconfig; or leave the colon out, for the pod's \
         service account or the default kubeconfig"
    )]
    NoKubeconfig,
    #[error("{0:?} is no source that is known; use kubernetes, kubernetes:KUBECONFIG or file:DIR")]
    Unknown(String),
}

/// What a source has to say at one moment, beside its snapshot. Empty when all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    pub refusals: Vec<SourceRefusal>,
    pub troubles: Vec<WatchTrouble>,
}

/// Something that was not taken. The last good version of it, if there was one, is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRefusal {
    /// The name of the file in the folder, if the source is one.
    pub file: Option<String>,
    /// Counted from 1; `None` where the file as a whole is to blame.
    pub document: Option<usize>,
    /// E.g. `Pod shop/cart`, where that much is known.
    pub object: Option<String>,
    /// The path of the field, e.g. `spec.ports[0].port`.
    pub field: Option<String>,
    pub reason: String,
}

/// A watch that does not stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchTrouble {
    /// What it is about, e.g. `EndpointSlices`.
    pub watch: String,
    pub since: Timestamp,
    /// `None`: it is on its way for the first time.
    pub error: Option<String>,
    pub in_force: InForce,
}

/// What holds while a watch does not stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InForce {
    /// It is about to stand for the first time, and the agent waits for it.
    Nothing,
    /// A kind of policies that came later.
    TheWorst,
    /// Another kind that came later.
    Without,
    LastKnown,
}

// === impl Source ===

impl Source {
    /// The same, whatever becomes of the working directory.
    pub fn absolute(self) -> io::Result<Self> {
        Ok(match self {
            Self::File(dir) => Self::File(path::absolute(dir)?),
            Self::Kubernetes { kubeconfig } => {
                Self::Kubernetes { kubeconfig: kubeconfig.map(path::absolute).transpose()? }
            }
        })
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        match text.split_once(':') {
            Some(("file", "")) => Err(SourceError::NoFolder),
            Some(("file", dir)) => Ok(Self::File(dir.into())),
            Some(("kubernetes", "")) => Err(SourceError::NoKubeconfig),
            Some(("kubernetes", file)) => Ok(Self::Kubernetes { kubeconfig: Some(file.into()) }),
            None if text == "kubernetes" => Ok(Self::Kubernetes { kubeconfig: None }),
            _ => Err(SourceError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(dir) => write!(f, "file:{}", dir.display()),
            Self::Kubernetes { kubeconfig: None } => f.write_str("kubernetes"),
            Self::Kubernetes { kubeconfig: Some(file) } => write!(f, "kubernetes:{}", file.display()),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = SourceError;

    fn try_from(text: String) -> Result<Self, SourceError> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

// === impl SourceRefusal ===

impl SourceRefusal {
    pub(crate) fn of_file(file: String) -> Self {
        Self { file: Some(file), document: None, object: None, field: None, reason: String::new() }
    }
}

impl From<Refusal> for SourceRefusal {
    fn from(refusal: Refusal) -> Self {
        let Refusal { object, field, reason } = refusal;
        Self { file: None, document: None, object: Some(object.to_string()), field: Some(field), reason }
    }
}

impl fmt::Display for SourceRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, document, object, field, reason } = self;
        let file = file.as_ref().map(|file| match document {
            Some(document) => format!("{file}, document {document}"),
            None => file.clone(),
        });
        for part in [&file, object, field].into_iter().flatten() {
            write!(f, "{part}: ")?;
        }
        f.write_str(reason)
    }
}

// === impl WatchTrouble ===

impl fmt::Display for WatchTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { watch, since, error, in_force } = self;
        match error {
            Some(error) => write!(f, "cannot watch {watch} (since {since:.0}): {error}")?,
            None => write!(f, "the API server has been asked for {watch} at {since:.0}")?,
        }
        f.write_str(match in_force {
            InForce::Nothing => "; nothing is known of them yet, so the agent is not ready",
            InForce::TheWorst => "; until they are known, one is taken to select every pod",
            InForce::Without => "; until they are known, the agent does without",
            InForce::LastKnown => "; what was last known of them stays in force",
        })
    }
}

#[cfg(test)]
mod tests;
