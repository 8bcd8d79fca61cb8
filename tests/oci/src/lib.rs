//! Container images as archives that `ctr images import` takes: one layer, no daemon, and the same bytes from the same
//! files, whoever makes them and when.
//!
//! Source: <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>.
#![forbid(unsafe_code)]

use std::{
    env, fmt,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

pub const FILE: u32 = 0o644;
pub const EXECUTABLE: u32 = 0o755;

/// What is run from the files of a [`Layer`], and under which name.
#[derive(Debug)]
pub struct Image<'a> {
    /// `HOST/REPOSITORY:TAG`
    pub name: &'a str,
    /// `Entrypoint`, `Cmd`, `Env`, `Labels`: what the specification has under `config`.
    pub config: Value,
    /// Of the manifest, for those who look at an image without running it.
    pub annotations: Value,
}

/// The files of an image, in the order in which they are added.
pub struct Layer(Builder<Vec<u8>>);

// === impl Image ===

impl Image<'_> {
    /// Writes an OCI image layout; returns the digest of its manifest.
    pub fn write(&self, layer: Layer, path: &Path) -> Result<String> {
        let layer = layer.0.into_inner()?;
        let config = serde_json::to_vec(&json!({
            "architecture": if env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" },
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
            "annotations": self.annotations,
        }))?;
        let mut described = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        described["annotations"] =
            json!({ "io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag });
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [described] }))?;

        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut archive = Builder::new(BufWriter::new(file));
        let mut add = |name: &str, data: &[u8]| append(&mut archive, EntryType::Regular, name, FILE, data);
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add("index.json", &index)?;
        for blob in [&layer, &config, &manifest] {
            add(&format!("blobs/{}", digest(blob).replace(':', "/")), blob)?;
        }
        let written = archive.into_inner().and_then(|mut file| file.flush());
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(digest(&manifest))
    }
}

// === impl Layer ===

impl Default for Layer {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").finish_non_exhaustive()
    }
}

impl Layer {
    pub fn folder(&mut self, name: &str, mode: u32) -> Result<()> {
        append(&mut self.0, EntryType::Directory, &format!("{name}/"), mode, &[])
    }

    pub fn file(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        append(&mut self.0, EntryType::Regular, name, mode, data)
    }

    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.0
            .append_link(&mut header, name, target)
            .with_context(|| format!("cannot add {name} to the image"))
    }
}

fn append<W: Write>(
    archive: &mut Builder<W>,
    kind: EntryType,
    name: &str,
    mode: u32,
    data: &[u8],
) -> Result<()> {
    let mut header = header(kind, mode, data.len());
    archive.append_data(&mut header, name, data).with_context(|| format!("cannot add {name} to the image"))
}

/// Nothing in it is of the machine, the hour or the user.
fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(blob), "size": blob.len() })
}

fn digest(blob: &[u8]) -> String {
    let hex: String = Sha256::digest(blob).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
