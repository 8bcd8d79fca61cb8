//! Where programs run: a network namespace together with a cgroup, and perhaps a holder.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use netns::Netns;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
};

use crate::{
    cgroup,
    holder::Holder,
    namespace, netlink,
    process::{Io, Output, Process, Spawner},
};

/// Long enough for anything that is not broken, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A pod or a node, as far as programs are concerned.
#[derive(Clone, Debug)]
pub struct Place {
    name: String,
    netns_path: PathBuf,
    netns: Arc<Netns>,
    cgroup: PathBuf,
    lifetime: Lifetime,
    /// Where it is a machine of its own.
    holder: Option<Arc<Holder>>,
    /// What its programs see as `/etc/resolv.conf`, if not that of the machine.
    resolv_conf: Option<CString>,
}

/// How long programs live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// They are killed when we end, however we end.
    WithUs,
    /// They stay, with the standing lab.
    Standing,
}

// === impl Place ===

impl Place {
    /// Makes a namespace and a cgroup. `name` is what people call it, `netns_name` is unique on the machine.
    pub(crate) fn create(name: &str, netns_name: &str, cgroup: PathBuf, lifetime: Lifetime) -> Result<Self> {
        let netns = Arc::new(namespace::create(netns_name)?);
        let place = Self {
            name: name.to_owned(),
            netns_path: namespace::path(netns_name),
            netns,
            cgroup,
            lifetime,
            holder: None,
            resolv_conf: None,
        };
        cgroup::create(&place.cgroup)?;
        // Addresses are usable at once, link-local ones too.
        for interfaces in ["all", "default"] {
            place.sysctl(&format!("net/ipv6/conf/{interfaces}/accept_dad"), "0")?;
        }
        place.within(async |links| links.up("lo").await)?;
        Ok(place)
    }

    /// A place that is there already.
    pub(crate) fn open(name: &str, netns_path: &Path, cgroup: &Path) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            netns_path: netns_path.to_owned(),
            netns: Arc::new(Netns::open(netns_path)?),
            cgroup: cgroup.to_owned(),
            lifetime: Lifetime::WithUs,
            holder: None,
            resolv_conf: None,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    pub fn netns_path(&self) -> &Path {
        &self.netns_path
    }

    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// The same namespace with a cgroup of its own, below.
    pub fn with_cgroup(&self, name: &str) -> Result<Self> {
        let cgroup = self.cgroup.join(name);
        cgroup::create(&cgroup)?;
        Ok(Self { cgroup, ..self.clone() })
    }

    /// The same place, whose programs find this text in `/etc/resolv.conf`; it is kept in `file`.
    pub(crate) fn with_resolv_conf(self, file: &Path, text: &str) -> Result<Self> {
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let file = CString::new(file.as_os_str().as_bytes())?;
        Ok(Self { resolv_conf: Some(file), ..self })
    }

    /// Makes its cgroup in the other hierarchies, too. The path, which is the same in all.
    pub fn cgroup_everywhere(&self) -> Result<String> {
        let path = self.cgroup.strip_prefix(cgroup::root()?).context("its cgroup is of version 2")?;
        cgroup::hierarchies()?.iter().try_for_each(|root| cgroup::create(&root.join(path)))?;
        Ok(format!("/{}", path.display()))
    }

    /// Removes a cgroup below its own from all hierarchies, with those in it. Nothing may run there any more.
    pub fn remove_cgroup(&self, name: &str) -> Result<()> {
        let path = self.cgroup.strip_prefix(cgroup::root()?).context("its cgroup is of version 2")?;
        cgroup::hierarchies()?.iter().try_for_each(|root| cgroup::remove(&root.join(path).join(name)))
    }

    /// Runs a program to its end. It is killed, and this fails, if that takes longer than anything should.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Output> {
        self.run_for(PATIENCE, args)
    }

    pub fn run_for<S: AsRef<OsStr>>(&self, timeout: Duration, args: &[S]) -> Result<Output> {
        let mut process = self.spawn(args)?;
        process.close_stdin();
        process.wait(timeout)
    }

    /// Starts a program that is killed when the handle is dropped.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Process> {
        self.start(self.command(args)?, Io::Piped)
    }

    /// Starts a command that was made by [`Self::command`].
    pub fn start(&self, command: Command, io: Io<'_>) -> Result<Process> {
        let spawner = self.holder.as_ref().map_or_else(Spawner::common, |holder| holder.spawner.clone());
        Process::start(&self.name, command, io, &spawner)
    }

    /// The same place as a machine of its own, with its own processes and mounts, until [`Self::kill`]. `mounts` are
    /// lines of a shell.
    pub fn with_holder(&self, mounts: &str) -> Result<Self> {
        let plain = Self { holder: None, ..self.clone() };
        let holder = Holder::start(&plain, mounts)?;
        Ok(Self { holder: Some(Arc::new(holder)), ..plain })
    }

    /// The first process of a machine of its own.
    pub fn holder(&self) -> Option<u32> {
        self.holder.as_ref().and_then(|holder| holder.pid())
    }

    /// Ends a machine of its own, and all that runs there, as when the power fails.
    pub fn kill(&self) -> Result<()> {
        self.holder.as_ref().map_or(Ok(()), |holder| holder.kill())
    }

    /// Leaves a machine of its own running after we are gone.
    pub fn leave(&self) {
        if let Some(holder) = &self.holder {
            holder.leave();
        }
    }

    /// Runs `f` on this thread inside the namespace. The thread stays in the cgroup of the test.
    pub fn exec<T>(&self, f: impl FnOnce() -> T) -> Result<T> {
        Ok(self.netns.run(f)?)
    }

    /// Sets a sysctl of the namespace, named like its file: `net/ipv4/tcp_syncookies`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        netlink::sysctl(&self.netns, name, value)
    }

    /// Reads a sysctl of the namespace.
    pub fn read_sysctl(&self, name: &str) -> Result<String> {
        let path = Path::new("/proc/sys").join(name);
        let text = self.exec(|| fs::read_to_string(&path))?;
        Ok(text.with_context(|| format!("cannot read {}", path.display()))?.trim().to_owned())
    }

    /// A counter of the network stack of the namespace, as `nstat` names it: `TcpExt` `TCPSynRetrans`.
    pub fn network_counter(&self, group: &str, name: &str) -> Result<u64> {
        let text = self.exec(|| -> io::Result<String> {
            let read = |file| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            Ok(read("netstat")? + &read("snmp")?)
        })??;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(':'));
        // One line has the names, the next the numbers.
        let (names, numbers) =
            lines.next().zip(lines.next()).with_context(|| format!("no counters {group}"))?;
        let mut counters = names.split_whitespace().zip(numbers.split_whitespace());
        let (_, number) = counters.find(|(n, _)| *n == name).with_context(|| format!("no counter {name}"))?;
        Ok(number.parse()?)
    }

    pub(crate) fn within<T>(&self, f: impl AsyncFnOnce(netlink::Links) -> Result<T>) -> Result<T> {
        netlink::within(&self.netns, f).with_context(|| format!("in the network of {}", self.name))
    }

    /// A command that will run here.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Command> {
        let (program, args) = args.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(args);

        let netns = self.netns.clone();
        let lifetime = self.lifetime;
        let mut procs = self.open_procs()?;
        let holder = self.holder.clone();
        let resolv_conf = self.resolv_conf.clone();
        let enter = move || -> io::Result<()> {
            procs.write_all(b"0\n")?;
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            if let Some(holder) = &holder {
                setns(&holder.mounts, CloneFlags::CLONE_NEWNS)?;
            }
            if let Some(resolv_conf) = &resolv_conf {
                mount_over_resolv_conf(resolv_conf)?;
            }
            if lifetime == Lifetime::WithUs {
                set_pdeathsig(Signal::SIGKILL)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec `enter` only makes a few system calls; it neither allocates nor
        // locks.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// Opened before the fork: a path cannot be built after it.
    fn open_procs(&self) -> Result<File> {
        let path = self.cgroup.join("cgroup.procs");
        OpenOptions::new().write(true).open(&path).with_context(|| format!("cannot open {}", path.display()))
    }
}

/// For this process and its children alone. Between fork and exec: nothing here allocates.
fn mount_over_resolv_conf(file: &CStr) -> io::Result<()> {
    const NOTHING: Option<&CStr> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NOTHING, c"/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING)?;
    mount(Some(file), c"/etc/resolv.conf", NOTHING, MsFlags::MS_BIND, NOTHING)?;
    Ok(())
}
