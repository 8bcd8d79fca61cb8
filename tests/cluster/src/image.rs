//! The image that all pods of the tests run: busybox and `peer`, as an archive that containerd imports.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::programs::program;

/// It is in no registry: `imagePullPolicy: Never`.
pub const NAME: &str = "localhost/millstream-test:1";

const EXECUTABLE: u32 = 0o755;

/// Writes the archive: an OCI image layout.
pub(crate) fn write(path: &Path) -> Result<()> {
    let layer = layer()?;
    let config = serde_json::to_vec(&json!({
        "architecture": if env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" },
        "os": "linux",
        // Long enough for a sandbox, which does nothing.
        "config": { "Env": ["PATH=/bin"], "Cmd": ["sleep", "2147483647"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut described = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    described["annotations"] = json!({ "io.containerd.image.name": NAME });
    let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [described] }))?;

    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut archive = Builder::new(file);
    add(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut archive, "index.json", 0o644, &index)?;
    for blob in [&layer, &config, &manifest] {
        add(&mut archive, &format!("blobs/{}", digest(blob).replace(':', "/")), 0o644, blob)?;
    }
    archive.into_inner().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// The files of a container.
fn layer() -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (dir, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)] {
        append(&mut archive, EntryType::Directory, &format!("{dir}/"), mode, &[])?;
    }
    add(&mut archive, "etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")?;

    let busybox = program("busybox")?;
    add(&mut archive, "bin/busybox", EXECUTABLE, &read(&busybox)?)?;
    for applet in say(Command::new(&busybox).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
        let mut link = header(EntryType::Symlink, 0o777, 0);
        archive.append_link(&mut link, format!("bin/{applet}"), "busybox")?;
    }

    let peer = harness::peer_program()?;
    add(&mut archive, "bin/peer", EXECUTABLE, &read(&peer)?)?;
    // `libc.so.6 => /lib/…/libc.so.6 (0x…)`, and the loader without an arrow.
    let needed = say(Command::new("ldd").arg(&peer))?;
    for library in needed.split_whitespace().filter(|word| word.starts_with('/')) {
        let name = library.trim_start_matches('/');
        add(&mut archive, name, EXECUTABLE, &read(Path::new(library))?)?;
    }
    Ok(archive.into_inner()?)
}

fn add<W: std::io::Write>(archive: &mut Builder<W>, name: &str, mode: u32, data: &[u8]) -> Result<()> {
    append(archive, EntryType::Regular, name, mode, data)
}

fn append<W: std::io::Write>(
    archive: &mut Builder<W>,
    kind: EntryType,
    name: &str,
    mode: u32,
    data: &[u8],
) -> Result<()> {
    let mut header = header(kind, mode, data.len());
    archive.append_data(&mut header, name, data).with_context(|| format!("cannot add {name} to the image"))
}

/// The same for the same files, whoever makes it and when.
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

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn say(command: &mut Command) -> Result<String> {
    let program = PathBuf::from(command.get_program());
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success(), "{}: {}", program.display(), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
