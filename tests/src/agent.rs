//! The agent of a node, and its command line.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    Node, Pod,
    hold::Held,
    place::{PATIENCE, Place},
    process::{Io, Output, Process},
};

/// A running agent, or one that was ended and can be started again.
#[derive(Debug)]
pub struct Agent {
    node: Node,
    /// In the namespace of the node, with a cgroup of its own, as in a DaemonSet.
    place: Place,
    options: AgentOptions,
    process: Option<Process>,
}

/// What `millstream agent` gets besides the source, the node and the run directory.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// How many files it may have open (`RLIMIT_NOFILE`), if not as many as we.
    pub files: Option<u32>,
    /// The command that it is run by, if any: `unshare …`.
    pub under: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

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
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }
}

// === impl Agent ===

impl Agent {
    pub(crate) fn start(node: Node, options: AgentOptions) -> Result<Self> {
        let place = node.with_cgroup("agent")?;
        let mut agent = Self { node, place, options, process: None };
        agent.launch()?;
        Ok(agent)
    }

    /// Starts it, after it was ended, and waits until it is ready.
    pub fn launch(&mut self) -> Result<()> {
        self.launch_unready()?;
        self.wait(&["ready"])
    }

    /// Starts it without waiting for anything.
    pub fn launch_unready(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the agent of {} runs already", self.node.name());
        let limited = self.options.files.map(|files| ["prlimit".into(), format!("--nofile={files}").into()]);
        let under = self.options.under.iter().map(PathBuf::from);
        let words =
            limited.into_iter().flatten().chain(under).chain([millstream()?]).collect::<Vec<PathBuf>>();
        let mut command = self.place.command(&words)?;
        command
            .arg("agent")
            .arg("--source")
            .arg(format!("file:{}", self.node.shared().id.manifests().display()))
            .arg("--node")
            .arg(self.node.kubernetes_name())
            .arg("--run-dir")
            .arg(self.node.run_dir())
            .args(&self.options.args)
            .envs(self.options.env.iter().map(|(key, value)| (key, value)));
        self.process = Some(Process::start(self.node.name(), command, Io::Log(&self.node.agent_log()))?);
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

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Changes how many files it may have open; the hard limit stays.
    pub fn limit_files(&self, files: u32) -> Result<()> {
        let pid = self.pid().context("the agent does not run")?;
        let args = ["prlimit", &format!("--nofile={files}:"), "--pid", &pid.to_string()];
        self.node.run(&args)?.stdout().map(drop)
    }

    /// The cgroup that it was started in.
    pub fn cgroup(&self) -> &Path {
        self.place.cgroup()
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Runs `millstream ARGS --run-dir DIR` on the node, whether the agent runs or not.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        cli(&self.node, args)
    }

    /// The answer of a command in JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let args: Vec<_> = args.iter().copied().chain(["--output", "json"]).collect();
        self.cli(&args)?.json()
    }

    pub fn wait_captured(&self, pod: &Pod) -> Result<()> {
        self.wait(&["captured", &pod.full_name()])
    }

    pub fn wait_released(&self, pod: &Pod) -> Result<()> {
        self.wait(&["released", &pod.full_name()])
    }

    /// All that it logged, across restarts.
    pub fn log(&self) -> Result<String> {
        let path = self.node.agent_log();
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Leaves it running with the standing lab.
    pub fn leave(mut self) {
        if let Some(process) = self.process.take() {
            process.leave();
        }
    }

    /// `millstream wait …`: fails with the log of the agent when that does not come true.
    fn wait(&self, what: &[&str]) -> Result<()> {
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
        self.process.take().with_context(|| format!("the agent of {} does not run", self.node.name()))
    }
}

/// Runs `millstream ARGS --run-dir DIR` on a node.
pub(crate) fn cli(node: &Node, args: &[&str]) -> Result<Output> {
    let run_dir = node.run_dir();
    let mut words = vec![millstream()?.into_os_string()];
    words.extend(args.iter().map(Into::into));
    words.extend(["--run-dir".into(), run_dir.into_os_string()]);
    node.run(&words)
}
