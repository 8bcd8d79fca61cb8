//! Kubeconfig files: where the API server is, and as whom to speak to it.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::json;

use crate::pki::{Identity, Pki};

/// Writes one for `identity`.
pub(crate) fn write(path: &Path, server: &str, pki: &Pki, identity: &Identity) -> Result<()> {
    // JSON is YAML.
    let text = serde_json::to_string_pretty(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "millstream",
            "cluster": { "server": server, "certificate-authority": pki.authority().certificate },
        }],
        "users": [{
            "name": "user",
            "user": { "client-certificate": identity.certificate, "client-key": identity.key },
        }],
        "contexts": [{ "name": "millstream", "context": { "cluster": "millstream", "user": "user" } }],
        "current-context": "millstream",
    }))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
