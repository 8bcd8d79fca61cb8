//! What can go wrong.

use std::path::PathBuf;

use kube::{
    config::{InferConfigError, KubeconfigError},
    core::Status,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{image:?} is no name of an image; write it like registry.example.com/millstream:0.1.0")]
    Image { image: String },
    #[error("the manifests inside this program make no sense; was it built from an unfinished checkout?")]
    Manifests { source: serde_saphyr::Error },
    #[error("an object of the manifests inside this program makes no sense")]
    Object { source: serde_json::Error },
    #[error("cannot use the kubeconfig {}", path.display())]
    Kubeconfig { path: PathBuf, source: KubeconfigError },
    #[error("cannot use context {context:?} of the kubeconfig")]
    Context { context: String, source: KubeconfigError },
    #[error("no cluster to speak to; name a kubeconfig: --kubeconfig FILE")]
    Nowhere { source: InferConfigError },
    #[error("cannot make a client of the API server {url}; are certificates, keys or the proxy wrong?")]
    Client { url: String, source: kube::Error },
    #[error("not allowed to {what}: {}; it takes an administrator of the cluster", status.message)]
    Forbidden { what: String, status: Box<Status> },
    #[error("cannot {what}; is the API server there, and is it 1.30 or newer?")]
    Request { what: String, source: kube::Error },
    #[error(
        "Helm has installed this, as release {release:?} of namespace {namespace}: use `helm {instead} {release}`"
    )]
    OfHelm { release: String, namespace: String, instead: &'static str },
    #[error("not done in time: {}", left.join("; "))]
    Late { left: Vec<String> },
}

// === impl Error ===

impl Error {
    pub(crate) fn of(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        |source| match source {
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden { what, status },
            source => Self::Request { what, source },
        }
    }
}
