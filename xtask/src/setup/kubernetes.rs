//! The parts of a Kubernetes cluster: built from pinned Go modules into a cache, each group once for its pins.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::{go::Go, need, unpack_package};
use crate::{
    shell,
    workspace::{Workspace, cache},
};

/// Programs that one go.mod builds.
struct Group {
    /// In [`PINS`].
    folder: &'static str,
    module: &'static str,
    /// The variable that says which version it is: the linker sets it, else it is that of no release.
    version: Option<&'static str>,
    tags: &'static str,
    /// Where each program is in the module.
    programs: &'static [(&'static str, &'static str)],
}

/// The variable that tells the programs of [`run`] to those who need them.
pub(crate) const PROGRAMS: &str = "KUBERNETES_BIN";

const PINS: &str = "tests/cluster/parts";

const GROUPS: [Group; 4] = [
    Group {
        folder: "etcd",
        module: "go.etcd.io/etcd/server/v3",
        version: None,
        tags: "",
        programs: &[("etcd", "")],
    },
    Group {
        folder: "containerd",
        module: "github.com/containerd/containerd/v2",
        version: Some("github.com/containerd/containerd/v2/version.Version"),
        // Storage that no node of a test has, and libraries that it would need.
        tags: "no_btrfs,no_devmapper,no_zfs",
        programs: &[
            ("containerd", "/cmd/containerd"),
            ("containerd-shim-runc-v2", "/cmd/containerd-shim-runc-v2"),
            ("ctr", "/cmd/ctr"),
        ],
    },
    HELM,
    Group {
        folder: "kubernetes",
        module: "k8s.io/kubernetes",
        // Helm and kubectl refuse to work with a server of version 0.
        version: Some("k8s.io/component-base/version.gitVersion"),
        tags: "",
        programs: &[
            ("kube-apiserver", "/cmd/kube-apiserver"),
            ("kube-controller-manager", "/cmd/kube-controller-manager"),
            ("kube-scheduler", "/cmd/kube-scheduler"),
            ("kube-proxy", "/cmd/kube-proxy"),
            ("kubelet", "/cmd/kubelet"),
            ("kubectl", "/cmd/kubectl"),
        ],
    },
];

const HELM: Group = Group {
    folder: "helm",
    module: "helm.sh/helm/v3",
    version: Some("helm.sh/helm/v3/internal/version.version"),
    tags: "",
    programs: &[("helm", "/cmd/helm")],
};

/// What a node runs and Debian has, by the package that has it.
const TOOLS: [(&str, &str); 8] = [
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("pkill", "procps"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// All that the containers of the tests hold; not installed, for it would push out the other busybox.
const BUSYBOX: &str = "busybox-static";

/// Sees to it that all parts are there. The folder that has their programs.
pub(crate) fn run(workspace: &Workspace) -> Result<PathBuf> {
    need(&TOOLS)?;
    let programs = folder(workspace)?;
    if !programs.exists() {
        let _lock = lock()?;
        if !programs.exists() {
            gather(&workspace.root.join(PINS), &programs)?;
        }
    }
    println!("==> setup kubernetes: everything is there ({})", programs.display());
    Ok(programs)
}

/// Where the programs are, or will be.
pub(crate) fn folder(workspace: &Workspace) -> Result<PathBuf> {
    let pins = workspace.root.join(PINS);
    let mut hash = Sha256::new();
    for group in &GROUPS {
        hash.update(group.key(&pins)?);
    }
    Ok(cache()?.join(format!("kubernetes-{}", short(hash))))
}

/// Helm alone, for what needs no cluster.
pub(crate) fn helm(workspace: &Workspace) -> Result<PathBuf> {
    let _lock = lock()?;
    let pins = workspace.root.join(PINS);
    let go = || Go::find(&pins.join("go"));
    Ok(HELM.built(&pins, &go)?.join("helm"))
}

/// Two that build the same take twice as long.
fn lock() -> Result<File> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let lock = cache.join("kubernetes.lock");
    let lock = File::create(&lock).with_context(|| format!("create {}", lock.display()))?;
    if lock.try_lock().is_err() {
        shell::step("wait for another `cargo xtask setup kubernetes`");
        lock.lock()?;
    }
    Ok(lock)
}

/// One folder with the programs of all groups, which stay in folders of their own: a new pin builds its group alone.
fn gather(pins: &Path, programs: &Path) -> Result<()> {
    let go = || Go::find(&pins.join("go"));
    let mut groups = vec![busybox()?];
    for group in &GROUPS {
        groups.push(group.built(pins, &go)?);
    }
    whole(programs, |part| {
        for entry in groups.iter().map(fs::read_dir).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            let program = entry?.path();
            let name = program.file_name().context("a program without a name")?;
            fs::hard_link(&program, part.join(name))
                .with_context(|| format!("link {}", program.display()))?;
        }
        Ok(())
    })
}

/// Fills a folder beside, so that what has the name is whole.
fn whole(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let part = folder.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))?;
    }
    fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
    fill(&part)?;
    fs::rename(&part, folder).with_context(|| format!("rename {}", part.display()))
}

fn busybox() -> Result<PathBuf> {
    let folder = cache()?.join(format!("part-{BUSYBOX}"));
    if !folder.exists() {
        whole(&folder, |part| {
            let unpacked = part.join("package");
            unpack_package(BUSYBOX, &unpacked)?;
            let busybox = ["usr/bin/busybox", "bin/busybox"].map(|path| unpacked.join(path));
            let busybox = busybox.iter().find(|path| path.is_file());
            let busybox = busybox.with_context(|| format!("no busybox in the package {BUSYBOX}"))?;
            fs::rename(busybox, part.join("busybox"))?;
            fs::remove_dir_all(&unpacked).with_context(|| format!("remove {}", unpacked.display()))
        })?;
    }
    Ok(folder)
}

fn short(hash: Sha256) -> String {
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

// === impl Group ===

impl Group {
    /// Sees to it that its programs are built. The folder that has them.
    fn built(&self, pins: &Path, go: &impl Fn() -> Result<Go>) -> Result<PathBuf> {
        let folder = cache()?.join(format!("part-{}-{}", self.folder, self.key(pins)?));
        if !folder.exists() {
            let go = go()?;
            whole(&folder, |part| self.build(&go, &pins.join(self.folder), part))?;
        }
        Ok(folder)
    }

    fn build(&self, go: &Go, pins: &Path, into: &Path) -> Result<()> {
        let version = self.pinned_version(pins)?;
        for (name, package) in self.programs {
            shell::step(&format!(
                "build {name} {version}, once; a whole cluster takes eight minutes on two cores"
            ));
            let begin = Instant::now();
            let mut command = go.build(pins);
            command.arg("-ldflags").arg(self.linker_flags(&version)).arg("-tags").arg(self.tags);
            command.arg("-o").arg(into.join(name)).arg(format!("{}{package}", self.module));
            shell::quietly(&mut command)?;
            println!("    {} s", begin.elapsed().as_secs());
        }
        Ok(())
    }

    /// Changes with every pin, and with how the programs are built.
    fn key(&self, pins: &Path) -> Result<String> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum"] {
            let path = pins.join(self.folder).join(file);
            let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            hash.update(text);
        }
        hash.update(self.linker_flags("") + self.tags);
        for (name, package) in self.programs {
            hash.update([*name, *package].concat());
        }
        hash.update(env::consts::ARCH);
        Ok(short(hash))
    }

    /// As its go.mod asks for it.
    fn pinned_version(&self, folder: &Path) -> Result<String> {
        let path = folder.join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let words = |line: &'_ str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut pins = text.lines().filter(|line| !line.contains("=>")).map(words);
        let version = pins.find_map(|words| {
            let at = words.iter().position(|word| word == self.module)?;
            words.get(at + 1).cloned()
        });
        let version = version.with_context(|| format!("{} asks for no {}", path.display(), self.module))?;
        ensure!(version.starts_with('v'), "{}: {version:?} is no version", path.display());
        Ok(version)
    }

    fn linker_flags(&self, version: &str) -> String {
        let set = self.version.map(|variable| format!(" -X {variable}={version}"));
        // No symbols, no debugging information: half the size.
        format!("-s -w{}", set.unwrap_or_default())
    }
}
