//! Programs that we started: talked to by line, waited for with patience, killed at the end.

use std::{
    fs::OpenOptions,
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    /// Where it runs and what it is, for messages.
    label: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    /// Disconnected when standard error has been read to its end.
    stderr_end: Receiver<()>,
    on_drop: OnDrop,
}

/// How a program ended and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    label: String,
    pub status: ExitStatus,
    stdout: String,
    pub stderr: String,
}

/// What becomes of standard output and error.
#[derive(Clone, Copy, Debug)]
pub enum Io<'a> {
    Piped,
    /// Both are appended to a file.
    Log(&'a Path),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDrop {
    Kill,
    Leave,
}

/// A thread that starts children, and ends after the last handle to it: the kernel takes the end of the *thread*
/// that started a child for the death of its parent (prctl(2), PR_SET_PDEATHSIG).
#[derive(Clone, Debug)]
pub(crate) struct Spawner(Sender<Job>);

type Job = (Command, Sender<io::Result<Child>>);

/// For children in the PID namespace of ours: never ends.
static COMMON: LazyLock<Spawner> = LazyLock::new(|| Spawner::new(|| Ok(())));

// === impl Spawner ===

impl Spawner {
    pub(crate) fn common() -> Self {
        COMMON.clone()
    }

    /// Its children are in a PID namespace of their own, of which the first child is the first process.
    pub(crate) fn with_own_processes() -> Self {
        Self::new(|| Ok(unshare(CloneFlags::CLONE_NEWPID)?))
    }

    /// `prepare` runs on the thread, before the first child is started.
    fn new(prepare: fn() -> io::Result<()>) -> Self {
        let (jobs, receiver) = mpsc::channel::<Job>();
        thread::spawn(move || {
            let prepared = prepare();
            for (mut command, answer) in receiver {
                let spawned = match &prepared {
                    Ok(()) => command.spawn(),
                    Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
                };
                // The asker waits for the answer, so it is there to take it.
                let _ = answer.send(spawned);
            }
        });
        Self(jobs)
    }

    fn spawn(&self, command: Command) -> Result<Child> {
        let (answer, answered) = mpsc::channel();
        self.0.send((command, answer)).context("the spawner thread is gone")?;
        Ok(answered.recv().context("the spawner thread is gone")??)
    }
}

// === impl Process ===

impl Process {
    pub(crate) fn start(place: &str, mut command: Command, io: Io<'_>, spawner: &Spawner) -> Result<Self> {
        let label = format!("`{}` in {place}", spell(&command));
        command.stdin(Stdio::piped());
        match io {
            Io::Piped => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
            Io::Log(path) => {
                let log = OpenOptions::new().create(true).append(true).open(path)?;
                command.stdout(log.try_clone()?).stderr(log)
            }
        };
        let mut child = spawner.spawn(command).with_context(|| format!("cannot start {label}"))?;

        let (lines, stdout) = mpsc::channel();
        if let Some(pipe) = child.stdout.take() {
            thread::spawn(move || read_lines(pipe, &lines));
        }
        let stderr = Arc::default();
        let (reading, stderr_end) = mpsc::channel();
        if let Some(pipe) = child.stderr.take() {
            let stderr = Arc::clone(&stderr);
            thread::spawn(move || {
                read_all(pipe, &stderr);
                drop(reading);
            });
        }
        let stdin = child.stdin.take();
        Ok(Self { label, child, stdin, stdout, stderr, stderr_end, on_drop: OnDrop::Kill })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("standard input is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("cannot write to {}", self.label))
    }

    /// Says that nothing more will be sent.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next line of its standard output.
    pub fn line(&mut self, timeout: Duration) -> Result<String> {
        match self.stdout.recv_timeout(timeout) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => bail!("{} printed nothing for {timeout:?}", self.label),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.wait_for_exit(timeout)?;
                bail!("{} ended: {status}; {}", self.label, self.stderr())
            }
        }
    }

    /// The next line of its standard output, as JSON.
    pub fn json(&mut self, timeout: Duration) -> Result<Value> {
        let line = self.line(timeout)?;
        serde_json::from_str(&line).with_context(|| format!("{} printed {line:?}", self.label))
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.label))
    }

    /// Kills it and waits for its end.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Waits for its end; kills it, and fails, if that takes longer than `timeout`.
    pub fn wait(mut self, timeout: Duration) -> Result<Output> {
        let deadline = Instant::now() + timeout;
        let mut stdout = String::new();
        loop {
            match self.stdout.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    stdout.push_str(&line);
                    stdout.push('\n');
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not end within {timeout:?}; it said {stdout:?}", self.label)
                }
            }
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        let status = self.wait_for_exit(left)?;
        Ok(Output { label: self.label.clone(), status, stdout, stderr: self.stderr() })
    }

    /// Leaves it running after we are gone.
    pub fn leave(mut self) {
        self.on_drop = OnDrop::Leave;
    }

    fn wait_for_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} did not end within {timeout:?}", self.label);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it complained of, once it has ended.
    fn stderr(&self) -> String {
        // A child of its own may hold the pipe open.
        let _ = self.stderr_end.recv_timeout(Duration::from_secs(1));
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Kill {
            // Both fail only when it has ended and been waited for, which is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

// === impl Output ===

impl Output {
    /// What it printed, if it succeeded.
    pub fn stdout(&self) -> Result<&str> {
        ensure!(
            self.status.success(),
            "{}: {}; stdout {:?}, stderr {:?}",
            self.label,
            self.status,
            self.stdout,
            self.stderr
        );
        Ok(self.stdout.trim_end())
    }

    /// What it printed, however it ended.
    pub fn any_stdout(&self) -> &str {
        self.stdout.trim_end()
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(self.stdout()?).with_context(|| format!("{} printed no JSON", self.label))
    }

    /// The exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

fn read_lines(pipe: impl Read, lines: &Sender<String>) {
    for line in BufReader::new(pipe).split(b'\n') {
        let Ok(line) = line else { return };
        if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
    }
}

fn read_all(pipe: impl Read, text: &Mutex<String>) {
    for line in BufReader::new(pipe).split(b'\n') {
        let Ok(line) = line else { return };
        let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&String::from_utf8_lossy(&line));
        text.push('\n');
    }
}

/// The command as it would be typed, without the folder of the program.
fn spell(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy()];
    words.extend(command.get_args().map(std::ffi::OsStr::to_string_lossy));
    words.join(" ")
}
