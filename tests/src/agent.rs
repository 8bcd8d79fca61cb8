//! The agent of a node, and its command line.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    Pod,
    hold::Held,
    place::{PATIENCE, Place},
    process::{Io, Output, Process},
};

/// A running agent, or one that was ended and can be started again.
#[derive(Debug)]
pub struct Agent {
    /// Boxed, for it is large and an agent is moved about.
    post: Box<Post>,
    options: AgentOptions,
    process: Option<Process>,
}

/// Where an agent serves.
#[derive(Clone, Debug)]
pub struct Post {
    /// In the namespaces of the node, with a cgroup of its own, as in a DaemonSet.
    pub place: Place,
    /// What Kubernetes calls the node.
    pub node: String,
    pub source: String,
    pub run_dir: PathBuf,
    /// What it has to say, across restarts.
    pub log: PathBuf,
}

/// What `millstream agent` gets besides the source, the node and the run directory.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// How many files it may have open (`RLIMIT_NOFILE`), if not as many as we.
    pub files: Option<u32>,
    /// The command that it is run by, if any: `unshare …`.
    pub under: Vec<String>,
    /// Run by `millstream supervise`, as in a container.
    pub supervised: bool,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// On the node.
const METRICS: &str = "http://127.0.0.1:15020/metrics";

/// The binary under test: `MILLSTREAM_BIN`, which `cargo xtask` sets, or what `cargo xtask build --release`
/// leaves.
pub fn millstream() -> Result<PathBuf> {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/millstream");
    let path = env::var_os("MILLSTREAM_BIN").map_or_else(|| PathBuf::from(built), PathBuf::from);
    path.canonicalize().with_context(|| {
        format!(
            "no millstream at {}; run `cargo xtask build --release` or set MILLSTREAM_BIN",
            path.display()
        )
    })
}

// === impl AgentOptions ===

impl AgentOptions {
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    #[must_use]
    pub fn files(mut self, files: u32) -> Self {
        self.files = Some(files);
        self
    }

    #[must_use]
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    #[must_use]
    pub fn supervised(mut self) -> Self {
        self.supervised = true;
        self
    }

    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }
}

// === impl Agent ===

impl Agent {
    /// Starts one, and waits until it is ready.
    pub fn start(post: Post, options: AgentOptions) -> Result<Self> {
        let mut agent = Self::new(post, options);
        agent.launch()?;
        Ok(agent)
    }

    /// One that was not started yet.
    pub fn new(post: Post, options: AgentOptions) -> Self {
        Self { post: Box::new(post), options, process: None }
    }

    /// A newer agent of the same node, as in an upgrade: returns once it has taken over.
    pub fn successor(&self, instance: &str) -> Result<Self> {
        let newer = self.beside(instance, self.options.clone())?;
        newer.wait(&["ready", "--instance", instance])?;
        Ok(newer)
    }

    /// Another agent of the same node; nothing is waited for.
    pub fn beside(&self, instance: &str, options: AgentOptions) -> Result<Self> {
        let options = options.arg("--instance").arg(instance);
        let mut other = Self { post: self.post.clone(), options, process: None };
        other.launch_unready()?;
        Ok(other)
    }

    /// Starts it, after it was ended, and waits until it is ready.
    pub fn launch(&mut self) -> Result<()> {
        self.launch_unready()?;
        self.wait(&["ready"])
    }

    /// Starts it without waiting for anything.
    pub fn launch_unready(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the agent of {} runs already", self.post.node);
        let limited = self.options.files.map(|files| ["prlimit".into(), format!("--nofile={files}").into()]);
        let under = self.options.under.iter().map(PathBuf::from);
        let words =
            limited.into_iter().flatten().chain(under).chain([millstream()?]).collect::<Vec<PathBuf>>();
        let mut command = self.post.place.command(&words)?;
        if self.options.supervised {
            command.args(["supervise", "--"]);
        }
        command
            .arg("agent")
            .arg("--source")
            .arg(&self.post.source)
            .arg("--node")
            .arg(&self.post.node)
            .arg("--run-dir")
            .arg(&self.post.run_dir)
            .args(&self.options.args)
            .envs(self.options.env.iter().map(|(key, value)| (key, value)));
        self.process = Some(self.post.place.start(command, Io::Log(&self.post.log))?);
        Ok(())
    }

    /// SIGKILL: it gets no chance to tidy up.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.running()?.kill()
    }

    /// SIGTERM, and waits for it to drain and end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let process = self.running()?;
        process.signal(Signal::SIGTERM)?;
        Ok(process.wait(PATIENCE)?.status)
    }

    /// SIGTERM without waiting.
    pub fn begin_termination(&self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Waits for the end of an agent that was told to end.
    pub fn wait_for_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        Ok(self.running()?.wait(timeout)?.status)
    }

    /// SIGHUP: reload.
    pub fn sighup(&self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    /// SIGSTOP: it keeps all it has, and does nothing.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Holds all of its threads but the canary's own.
    pub fn deadlock(&self) -> Result<Held> {
        Held::all_but(self.pid().context("the agent does not run")?, "canary")
    }

    pub fn restart(&mut self) -> Result<()> {
        self.terminate()?;
        self.launch()
    }

    /// Memory that it has of the machine, in bytes.
    pub fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most that it ever had.
    pub fn most_resident(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    /// A field of proc_pid_status(5).
    fn memory(&self, field: &str) -> Result<u64> {
        let pid = self.pid().context("the agent does not run")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib = kib.with_context(|| format!("no {field} of process {pid}"))?;
        Ok(kib.parse::<u64>()? << 10)
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Changes how many files it may have open; the hard limit stays.
    pub fn limit_files(&self, files: u32) -> Result<()> {
        let pid = self.pid().context("the agent does not run")?;
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={files}:")).arg("--pid").arg(pid.to_string());
        let status = command.status().context("cannot run prlimit")?;
        ensure!(status.success(), "prlimit of the agent of {}: {status}", self.post.node);
        Ok(())
    }

    /// The cgroup that it was started in.
    pub fn cgroup(&self) -> &Path {
        self.post.place.cgroup()
    }

    /// Runs `millstream ARGS --run-dir DIR` on the node, whether the agent runs or not.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        let mut words = vec![millstream()?.into_os_string()];
        words.extend(args.iter().map(Into::into));
        words.extend(["--run-dir".into(), self.post.run_dir.clone().into_os_string()]);
        self.post.place.run(&words)
    }

    /// The answer of a command in JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let args: Vec<_> = args.iter().copied().chain(["--output", "json"]).collect();
        self.cli(&args)?.json()
    }

    /// What it answers on its metrics port, asked on the node.
    pub fn metrics(&self) -> Result<String> {
        let ask = ["curl", "--silent", "--show-error", "--fail", "--max-time", "30", METRICS];
        Ok(self.post.place.run(&ask)?.stdout()?.to_owned())
    }

    pub fn wait_captured(&self, pod: &Pod) -> Result<()> {
        self.wait(&["captured", &pod.full_name()])
    }

    pub fn wait_released(&self, pod: &Pod) -> Result<()> {
        self.wait(&["released", &pod.full_name()])
    }

    /// All that it logged, across restarts.
    pub fn log(&self) -> Result<String> {
        let path = &self.post.log;
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Leaves it running with the standing lab.
    pub fn leave(mut self) {
        if let Some(process) = self.process.take() {
            process.leave();
        }
    }

    /// `millstream wait …`: fails with the log of the agent when that does not come true.
    pub fn wait(&self, what: &[&str]) -> Result<()> {
        let args: Vec<_> = ["wait"].iter().chain(what).copied().chain(["--timeout", "60s"]).collect();
        let output = self.cli(&args)?;
        if !output.status.success() {
            let log = self.log().unwrap_or_default();
            let said = format!("{}{}", output.any_stdout(), output.stderr);
            bail!("waited in vain for `{}`: {said}\nthe agent's log:\n{log}", what.join(" "));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the agent does not run")?.signal(signal)
    }

    fn running(&mut self) -> Result<Process> {
        self.process.take().with_context(|| format!("the agent of {} does not run", self.post.node))
    }
}
