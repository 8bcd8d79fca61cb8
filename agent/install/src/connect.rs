//! How to reach the API server: by a kubeconfig, or in a pod by its service account.

use std::path::Path;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::Error;

/// Without a file: that of `KUBECONFIG`, `~/.kube/config`, or this pod's account.
pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, Error> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = match (kubeconfig, context) {
        (Some(path), _) => {
            let wrong = |source| Error::Kubeconfig { path: path.to_owned(), source };
            let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?
        }
        (None, Some(context)) => Config::from_kubeconfig(&options)
            .await
            .map_err(|source| Error::Context { context: context.to_owned(), source })?,
        (None, None) => Config::infer().await.map_err(|source| Error::Nowhere { source })?,
    };
    // Said once for the process. Somebody else's choice is as good.
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    let url = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| Error::Client { url, source })
}
