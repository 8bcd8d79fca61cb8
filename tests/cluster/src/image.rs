//! The image that all pods of the tests run: busybox and `peer`, as an archive that containerd imports.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use oci::{EXECUTABLE, FILE, Image, Layer};
use serde_json::json;

use crate::programs::program;

/// It is in no registry: `imagePullPolicy: Never`.
pub const NAME: &str = "localhost/millstream-test:1";

pub(crate) fn write(path: &Path) -> Result<()> {
    let image = Image {
        name: NAME,
        // Long enough for a sandbox, which does nothing.
        config: json!({ "Env": ["PATH=/bin"], "Cmd": ["sleep", "2147483647"] }),
        annotations: json!({}),
    };
    image.write(layer()?, path).map(drop)
}

/// The files of a container.
fn layer() -> Result<Layer> {
    let mut layer = Layer::default();
    for (folder, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)] {
        layer.folder(folder, mode)?;
    }
    layer.file("etc/passwd", FILE, b"root:x:0:0:root:/:/bin/sh\n")?;

    let busybox = program("busybox")?;
    layer.file("bin/busybox", EXECUTABLE, &read(&busybox)?)?;
    for applet in say(Command::new(&busybox).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }

    let peer = harness::peer_program()?;
    layer.file("bin/peer", EXECUTABLE, &read(&peer)?)?;
    // `libc.so.6 => /lib/…/libc.so.6 (0x…)`, and the loader without an arrow.
    let needed = say(Command::new("ldd").arg(&peer))?;
    for library in needed.split_whitespace().filter(|word| word.starts_with('/')) {
        layer.file(library.trim_start_matches('/'), EXECUTABLE, &read(Path::new(library))?)?;
    }
    Ok(layer)
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
