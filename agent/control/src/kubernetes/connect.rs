//! How to reach the API server.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// The kubelet sets it in every pod.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";
/// Longer than any watch says nothing: its own limit is below.
const READ_TIMEOUT: Duration = Duration::from_secs(330);

/// Why it is not known how to reach the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot use the kubeconfig {}", path.display())]
    Kubeconfig { path: PathBuf, source: KubeconfigError },
    #[error("cannot use the service account of this pod; is automountServiceAccountToken off?")]
    InCluster { source: InClusterError },
    #[error(
        "this is no pod ({IN_CLUSTER} is not set), and there is no default kubeconfig; name one: \
         --source kubernetes:KUBECONFIG"
    )]
    Nowhere { source: KubeconfigError },
    #[error("cannot make a client of the API server {url}; are certificates, keys or the proxy wrong?")]
    Client { url: String, source: kube::Error },
}

pub(super) async fn client(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => from_file(path).await?,
        None if env::var_os(IN_CLUSTER).is_some() => {
            Config::incluster().map_err(|source| ConnectError::InCluster { source })?
        }
        None => Config::from_kubeconfig(&KubeConfigOptions::default())
            .await
            .map_err(|source| ConnectError::Nowhere { source })?,
    };
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    // Each watch has a backoff of its own, and says what it waits for.
    config.default_retry = false;
    // Said once for the process. Somebody else's choice is as good.
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    let url = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| ConnectError::Client { url, source })
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let wrong = |source| ConnectError::Kubeconfig { path: path.to_owned(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(wrong)
}
