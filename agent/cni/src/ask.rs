//! What the plugin asks the agent of its node: one line of JSON each way, over a unix stream socket.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::IpAddr,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// The socket's name in the run directory.
pub const SOCKET: &str = "cni.sock";

/// No request and no answer comes near it; it keeps a stranger at the socket from filling our memory.
pub const LONGEST_LINE: u64 = 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// A pod has its network and waits for us before its first container starts.
    Add(Attachment),
    /// Is it still as `Add` left it?
    Check(Attachment),
    /// Could an `Add` be answered now?
    Status,
}

/// One interface of one pod, as the runtime and the plugins before us tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    pub container_id: String,
    pub netns: PathBuf,
    pub interface: String,
    pub namespace: String,
    pub name: String,
    /// Not every runtime tells it.
    #[serde(default)]
    pub uid: Option<String>,
    /// Of the interfaces in the sandbox, from `prevResult`: the API server does not know them yet.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
    /// Empty where the runtime does not know the capability `io.kubernetes.cri.pod-annotations`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To `Add` and `Check`: its connections go through the proxy from the first one on.
    Captured,
    NotEnrolled {
        because: String,
    },
    /// It starts uncaptured, for its namespace allows that, and is captured in place.
    Later {
        because: String,
    },
    /// It must not start like this.
    Refused {
        why: String,
        remedy: String,
    },
    /// To `Status`.
    Ready,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("nobody listens at {}", socket.display())]
    Absent { socket: PathBuf, source: io::Error },
    #[error("the socket {} belongs to user {uid}, not to root, and is not asked", socket.display())]
    Foreign { socket: PathBuf, uid: u32 },
    #[error("the agent at {} has not answered within {} s", socket.display(), patience.as_secs())]
    Mute { socket: PathBuf, patience: Duration },
    #[error("the agent at {} hung up without an answer, twice", socket.display())]
    HungUp { socket: PathBuf },
    #[error("the agent at {} answered what this plugin does not understand", socket.display())]
    Garbled { socket: PathBuf, source: serde_json::Error },
}

/// Asks and waits, at most for `patience` in all. An agent that dies over the question has perhaps a successor
/// already: it is asked once more.
pub fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Answer, Unanswered> {
    let deadline = Instant::now() + patience;
    let ask = || ask_once(socket, request, deadline).unwrap_or_else(|| Err(mute(socket, patience)));
    match ask() {
        Err(Unanswered::HungUp { .. }) => ask(),
        answered => answered,
    }
}

/// `None` when the time is up.
///
/// In a thread of its own, for connect(2) too waits where an agent that is stuck accepts nothing any more. The plugin
/// ends soon after, and the thread with it.
fn ask_once(socket: &Path, request: &Request, deadline: Instant) -> Option<Result<Answer, Unanswered>> {
    let (answered, answer) = mpsc::channel();
    let (path, request) = (socket.to_owned(), request.clone());
    let spawned = thread::Builder::new().spawn(move || {
        let _no_longer_waited_for = answered.send(converse(&path, &request));
    });
    if let Err(source) = spawned {
        return Some(Err(Unanswered::Absent { socket: socket.to_owned(), source }));
    }
    answer.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
}

fn mute(socket: &Path, patience: Duration) -> Unanswered {
    Unanswered::Mute { socket: socket.to_owned(), patience }
}

fn converse(socket: &Path, request: &Request) -> Result<Answer, Unanswered> {
    let absent = |source| Unanswered::Absent { socket: socket.to_owned(), source };
    let uid = fs::metadata(socket).map_err(absent)?.uid();
    // The runtime runs us as root; a test may run as somebody.
    if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
        return Err(Unanswered::Foreign { socket: socket.to_owned(), uid });
    }
    let stream = UnixStream::connect(socket).map_err(absent)?;
    let line = exchange(stream, request).ok().filter(|line| line.ends_with('\n'));
    let line = line.ok_or_else(|| Unanswered::HungUp { socket: socket.to_owned() })?;
    serde_json::from_str(&line).map_err(|source| Unanswered::Garbled { socket: socket.to_owned(), source })
}

fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<String> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LONGEST_LINE)).read_line(&mut answer)?;
    Ok(answer)
}
