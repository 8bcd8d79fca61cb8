//! The plugin as a container runtime runs it: environment and standard input in, standard output and exit code out.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    mem,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cni::{
    ask::{Answer, Request, SOCKET},
    standing::{FILE, Standing},
};
use model::WhenAgentDown;
use serde_json::{Value, json};
use tempfile::TempDir;

const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const CODES: [(&str, u64); 8] = [
    ("version", 1),
    ("environment", 4),
    ("decode", 6),
    ("config", 7),
    ("later", 11),
    ("not available", 50),
    ("refused", 100),
    ("none", 0),
];

/// Spaces, an unknown field and digits that a number would lose: it must come out as it went in.
const PREV_RESULT: &str = r#"{ "cniVersion":"1.0.0" ,"interfaces":[{"name":"veth1"},{"name":"eth0","sandbox":"/run/netns/a"}],
 "ips":[{"address":"192.0.2.1/24","interface":0},{"address":"10.1.0.2/24","interface":1},{"address":"fd00::2/64","interface":1}],
 "unknown":1.00000000000000000001}"#;

/// A node: its directories, and what is in them.
struct Node {
    dir: TempDir,
}

/// One call, by default the ADD of pod shop/web-1.
struct Call {
    command: &'static str,
    stdin: String,
    variables: Vec<(&'static str, String)>,
}

struct Outcome {
    stdout: String,
    stderr: String,
    succeeded: bool,
    took: Duration,
}

/// What the agent of the node does with a question.
#[derive(Clone)]
enum Agent {
    Answers(Answer),
    Says(&'static str),
    HangsUp,
    /// Takes the question and never answers.
    Mute,
    /// Dies over the first so many questions; its successor answers.
    Dies(usize, Answer),
}

// === impl Node ===

impl Node {
    fn new() -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap() };
        let namespaces =
            [("shop", WhenAgentDown::Closed), ("lab", WhenAgentDown::Open)].map(|(n, w)| (n.to_owned(), w));
        Standing { namespaces: namespaces.into() }.write(node.path()).unwrap();
        node
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Serves as many questions as are asked, until the test ends; tells them.
    fn agent(&self, agent: Agent, questions: usize) -> JoinHandle<Vec<Request>> {
        let listener = UnixListener::bind(self.path().join(SOCKET)).unwrap();
        thread::spawn(move || {
            let mut asked = Vec::new();
            for turn in 0..questions {
                let (stream, _) = listener.accept().unwrap();
                asked.push(question(&stream));
                agent.serve(stream, turn);
            }
            asked
        })
    }

    fn entry(&self) -> Value {
        json!({
            "cniVersion": "1.0.0", "name": "net", "type": "millstream-cni",
            "runDir": self.path(), "stateDir": self.path(), "timeoutSeconds": 10, "newer": {"field": [1]},
        })
    }

    fn stdin(&self, changes: &Value) -> String {
        let mut entry = self.entry();
        for (key, value) in changes.as_object().unwrap() {
            entry[key] = value.clone();
        }
        // By hand, for serde_json would rewrite it.
        entry.to_string().replacen('{', &format!("{{\"prevResult\":{PREV_RESULT},"), 1)
    }

    fn call(&self, command: &'static str) -> Call {
        let variables = [
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u1"),
        ];
        let mut variables: Vec<_> = variables.map(|(name, value)| (name, value.to_owned())).into();
        variables.push(("CNI_NETNS", self.path().display().to_string()));
        Call { command, stdin: self.stdin(&json!({})), variables }
    }
}

fn question(stream: &UnixStream) -> Request {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

// === impl Agent ===

impl Agent {
    fn serve(&self, mut stream: UnixStream, turn: usize) {
        match self {
            Self::Dies(times, _) if turn < *times => stream.write_all(b"{\"answ").unwrap(),
            Self::Answers(answer) | Self::Dies(_, answer) => {
                writeln!(stream, "{}", serde_json::to_string(answer).unwrap()).unwrap();
            }
            Self::Says(text) => stream.write_all(text.as_bytes()).unwrap(),
            Self::HangsUp => {}
            // Open until the test process ends.
            Self::Mute => mem::forget(stream),
        }
    }
}

// === impl Call ===

impl Call {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(other, _)| *other != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    fn pod(self, namespace: &str, name: &str) -> Self {
        self.with("CNI_ARGS", &format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}"))
    }

    fn stdin(self, stdin: impl Into<String>) -> Self {
        Self { stdin: stdin.into(), ..self }
    }

    fn run(self) -> Outcome {
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_millstream-cni"))
            .env_clear()
            .env("CNI_COMMAND", self.command)
            .envs(self.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It need not read what it does not need.
        let _broken_pipe = child.stdin.take().unwrap().write_all(self.stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Outcome {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            succeeded: output.status.success(),
            took: started.elapsed(),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Lets the pod start, with the result as the plugin before us gave it.
    fn passes(&self, name: &str) {
        assert!(self.succeeded, "{name}: {}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, PREV_RESULT, "{name}");
    }

    fn is_empty_success(&self, name: &str) {
        assert!(self.succeeded, "{name}: {}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "{name}");
    }

    fn fails(&self, name: &str, code: &str, version: &str, parts: &[&str]) {
        assert!(!self.succeeded, "{name}: {}", self.stdout);
        let error: Value = serde_json::from_str(&self.stdout).unwrap();
        let (_, number) = CODES.iter().find(|(word, _)| *word == code).unwrap();
        assert_eq!(error["code"], json!(number), "{name}: {error}");
        assert_eq!(error["cniVersion"], version, "{name}: {error}");
        let text = format!("{} {}", error["msg"].as_str().unwrap(), error["details"].as_str().unwrap());
        for part in parts {
            assert!(text.contains(part), "{name}: {text}");
        }
        assert!(!self.stderr.contains("panicked"), "{name}: {}", self.stderr);
    }
}

fn refused() -> Answer {
    Answer::Refused { why: "the pod's route is taken".to_owned(), remedy: "give it another".to_owned() }
}

#[test]
fn the_agents_answer_decides_and_the_result_is_unchanged() {
    let because = || "why".to_owned();
    for (name, answer, passes) in [
        ("captured", Answer::Captured, true),
        ("not enrolled", Answer::NotEnrolled { because: because() }, true),
        ("later", Answer::Later { because: because() }, true),
        ("refused", refused(), false),
        ("not what was asked", Answer::Ready, false),
    ] {
        let node = Node::new();
        let later = answer == Answer::Ready;
        let agent = node.agent(Agent::Answers(answer), 1);
        let outcome = node.call("ADD").run();
        if passes {
            outcome.passes(name);
        } else if later {
            outcome.fails(name, "later", "1.0.0", &["what was not asked"]);
        } else {
            outcome.fails(name, "refused", "1.0.0", &["the pod's route is taken", "give it another"]);
        }
        assert_eq!(agent.join().unwrap().len(), 1, "{name}");
    }
}

#[test]
fn the_agent_is_told_all_that_the_runtime_tells() {
    let node = Node::new();
    let agent = node.agent(Agent::Answers(Answer::Captured), 1);
    let annotations = json!({"io.kubernetes.cri.pod-annotations": {"a": "b", "odd": 1}});
    node.call("ADD").stdin(node.stdin(&json!({"runtimeConfig": annotations}))).run().passes("told");
    let Request::Add(attachment) = agent.join().unwrap().remove(0) else { panic!() };
    assert_eq!(attachment.netns, node.path());
    assert_eq!((attachment.container_id.as_str(), attachment.interface.as_str()), ("c1", "eth0"));
    assert_eq!((attachment.namespace.as_str(), attachment.name.as_str()), ("shop", "web-1"));
    assert_eq!(attachment.uid.as_deref(), Some("u1"));
    let ips: Vec<_> = attachment.ips.iter().map(ToString::to_string).collect();
    assert_eq!(ips, ["10.1.0.2", "fd00::2"], "the node's end of the wire has no part in it");
    assert_eq!(attachment.annotations.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "b".to_owned())]);
}

#[test]
fn every_version_is_spoken_and_no_other() {
    for (version, spoken) in VERSIONS.map(|v| (v, true)).into_iter().chain([
        ("0.1.0", false),
        ("0.2.0", false),
        ("1.2.0", false),
        ("2", false),
        ("", false),
    ]) {
        let node = Node::new();
        let call =
            |command| node.call(command).stdin(node.stdin(&json!({"cniVersion": version}))).pod("other", "a");
        for command in ["ADD", "CHECK"] {
            let outcome = call(command).run();
            match (spoken, command) {
                (true, "ADD") => outcome.passes(version),
                (true, _) => outcome.is_empty_success(version),
                (false, _) => {
                    outcome.fails(version, "version", "1.1.0", &["0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"]);
                }
            }
        }
        for command in ["DEL", "STATUS", "GC"] {
            call(command).run().is_empty_success(&format!("{command} {version}"));
        }
        if spoken {
            let closed = node.call("ADD").stdin(node.stdin(&json!({"cniVersion": version})));
            closed.run().fails(version, "later", version, &["is not running"]);
        }
    }
}

#[test]
fn versions_are_told_without_standard_input() {
    let node = Node::new();
    for stdin in [node.stdin(&json!({})), String::new(), "{\"cniVersion\":\"1.1.0\"}".to_owned()] {
        let outcome = Call { command: "VERSION", stdin, variables: Vec::new() }.run();
        let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(told, json!({"cniVersion": "1.1.0", "supportedVersions": VERSIONS}));
    }
}

#[test]
fn without_an_answer_the_file_decides() {
    let stale = |node: &Node| drop(UnixListener::bind(node.path().join(SOCKET)).unwrap());
    let hangs_up = |node: &Node| drop(node.agent(Agent::HangsUp, 1000));
    let mute = |node: &Node| drop(node.agent(Agent::Mute, 1));
    let garbled = |node: &Node| drop(node.agent(Agent::Says("{\"answer\":\"perhaps\"}\n"), 1));
    // Full, and nobody accepts: connect(2) itself would wait.
    let stuck = |node: &Node| {
        let listener = UnixListener::bind(node.path().join(SOCKET)).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let waiting = UnixStream::connect(node.path().join(SOCKET)).unwrap();
        thread::spawn(move || {
            let _keep = (listener, waiting);
            loop {
                thread::park();
            }
        });
    };
    type Fault<'a> = (&'a str, &'a dyn Fn(&Node), u64, &'a str);
    let faults: [Fault<'_>; 6] = [
        ("absent", &|_| {}, 1, "nobody listens"),
        ("stale", &stale, 1, "nobody listens"),
        ("killed in the middle", &hangs_up, 1, "hung up"),
        ("mute", &mute, 1, "not answered within 1 s"),
        ("stuck", &stuck, 1, "not answered within 1 s"),
        ("garbled", &garbled, 10, "does not understand"),
    ];
    for (fault, make, seconds, said) in faults {
        for (namespace, pod, passes) in [
            ("shop", "web-1", false),
            ("lab", "web-1", true),
            ("other", "web-1", true),
            ("millstream-system", "millstream-x7k2p", true),
        ] {
            let name = format!("{fault}, {namespace}/{pod}");
            let node = Node::new();
            make(&node);
            let stdin = node.stdin(&json!({"timeoutSeconds": seconds}));
            let outcome = node.call("ADD").stdin(stdin).pod(namespace, pod).run();
            assert!(outcome.took < Duration::from_secs(9), "{name}: {:?}", outcome.took);
            if passes {
                outcome.passes(&name);
                let silent = namespace == "millstream-system";
                assert_eq!(outcome.stderr.contains(said), !silent, "{name}: {}", outcome.stderr);
            } else {
                let parts =
                    [said, "is not running", "kubectl get pods -n millstream-system -o wide", "tries again"];
                outcome.fails(&name, "later", "1.0.0", &parts);
            }
        }
    }
}

#[test]
fn the_successor_of_an_agent_that_dies_over_the_question_is_asked() {
    let node = Node::new();
    let agent = node.agent(Agent::Dies(1, Answer::Captured), 2);
    node.call("ADD").run().passes("asked twice");
    assert_eq!(agent.join().unwrap().len(), 2);
}

/// Of a pod that would be refused: its kubelet would try again only after ten seconds.
#[test]
fn an_agent_that_is_back_in_a_moment_is_waited_for() {
    let node = Node::new();
    let agent = node.agent(Agent::Dies(5, Answer::Captured), 6);
    node.call("ADD").pod("shop", "web-1").run().passes("back in a moment");
    assert_eq!(agent.join().unwrap().len(), 6);
}

#[test]
fn a_socket_that_is_not_roots_is_not_asked() {
    if !nix::unistd::geteuid().is_root() {
        return; // Then every socket that we can make is our own.
    }
    let node = Node::new();
    drop(node.agent(Agent::Answers(Answer::Captured), 1));
    std::os::unix::fs::chown(node.path().join(SOCKET), Some(1000), None).unwrap();
    node.call("ADD").run().fails("foreign", "later", "1.0.0", &["belongs to user 1000"]);
}

#[test]
fn the_entry_says_what_holds_without_a_file() {
    for (name, changes, text, passes) in [
        ("none", json!({}), None, true),
        ("none, strict", json!({"whenUnknown": "refuse"}), None, false),
        ("none, strict, listed", json!({"whenUnknown": "refuse", "except": ["shop"]}), None, true),
        ("none, strict, own", json!({"whenUnknown": "refuse", "own": {"namespace": "shop"}}), None, true),
        ("damaged", json!({}), Some("{"), false),
    ] {
        let node = Node::new();
        match text {
            Some(text) => fs::write(node.path().join(FILE), text).unwrap(),
            None => fs::remove_file(node.path().join(FILE)).unwrap(),
        }
        let outcome = node.call("ADD").stdin(node.stdin(&changes)).run();
        if passes { outcome.passes(name) } else { outcome.fails(name, "later", "1.0.0", &[]) }
    }
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    let node = Node::new();
    let good = || node.call("ADD");
    let changed = |changes: Value| good().stdin(node.stdin(&changes));
    let without = |key: &str| {
        let mut entry = node.entry();
        entry.as_object_mut().unwrap().remove(key);
        good().stdin(entry.to_string())
    };
    for (name, call, code, version, part) in [
        ("no command", Call { command: "", ..good() }, "environment", "1.1.0", "CNI_COMMAND"),
        ("unknown command", Call { command: "UPDATE", ..good() }, "environment", "1.1.0", "\"UPDATE\""),
        ("empty", good().stdin(""), "decode", "1.1.0", "no JSON"),
        ("not JSON", good().stdin("type: millstream-cni"), "decode", "1.1.0", "no JSON"),
        ("cut off", good().stdin(&node.stdin(&json!({}))[..40]), "decode", "1.1.0", "no JSON"),
        ("a list", good().stdin("[]"), "decode", "1.1.0", "no JSON"),
        ("no prevResult", without("runDir"), "config", "1.0.0", "prevResult is missing"),
        (
            "prevResult null",
            good().stdin("{\"cniVersion\":\"0.4.0\",\"prevResult\":null}"),
            "config",
            "0.4.0",
            "prevResult",
        ),
        (
            "prevResult 5",
            good().stdin("{\"cniVersion\":\"0.4.0\",\"prevResult\":5}"),
            "config",
            "0.4.0",
            "prevResult",
        ),
        ("unknown word", changed(json!({"whenUnknown": "maybe"})), "config", "1.0.0", "maybe"),
        ("no container", good().with("CNI_CONTAINERID", ""), "environment", "1.0.0", "CNI_CONTAINERID"),
        ("no interface", good().with("CNI_IFNAME", ""), "environment", "1.0.0", "CNI_IFNAME"),
        ("no netns", good().with("CNI_NETNS", ""), "environment", "1.0.0", "CNI_NETNS"),
        (
            "netns gone",
            good().with("CNI_NETNS", "/run/netns/gone"),
            "environment",
            "1.0.0",
            "/run/netns/gone",
        ),
    ] {
        call.run().fails(name, code, version, &[part]);
    }
}

#[test]
fn what_is_no_pod_passes_through() {
    for (name, arguments) in [
        ("no arguments", ""),
        ("others", "FOO=BAR;;=;x"),
        ("half a pod", "K8S_POD_NAMESPACE=shop"),
        ("an empty name", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME="),
    ] {
        let node = Node::new();
        node.call("ADD").with("CNI_ARGS", arguments).run().passes(name);
        node.call("CHECK").with("CNI_ARGS", arguments).run().is_empty_success(name);
    }
}

#[test]
fn deleting_and_collecting_always_succeed() {
    for command in ["DEL", "GC"] {
        let node = Node::new();
        for (name, call) in [
            ("usual", node.call(command)),
            ("twice", node.call(command)),
            ("garbage", node.call(command).stdin("\u{1}{{{")),
            ("nothing", node.call(command).stdin("")),
            ("netns gone", node.call(command).with("CNI_NETNS", "/run/netns/gone")),
            ("no environment", Call { variables: Vec::new(), ..node.call(command) }),
            ("no prevResult", node.call(command).stdin(node.entry().to_string())),
        ] {
            call.run().is_empty_success(&format!("{command}, {name}"));
        }
    }
}

#[test]
fn a_check_is_the_agents_and_no_agent_is_no_fault() {
    for (name, agent, refused) in [
        ("captured", Some(Agent::Answers(Answer::Captured)), false),
        ("refused", Some(Agent::Answers(refused())), true),
        ("hangs up", Some(Agent::HangsUp), false),
        ("absent", None, false),
    ] {
        let node = Node::new();
        let agent = agent.map(|agent| node.agent(agent.clone(), if name == "hangs up" { 2 } else { 1 }));
        let outcome = node.call("CHECK").run();
        if refused {
            outcome.fails(name, "refused", "1.0.0", &["the pod's route is taken"]);
        } else {
            outcome.is_empty_success(name);
        }
        for question in agent.map(|agent| agent.join().unwrap()).unwrap_or_default() {
            assert!(matches!(question, Request::Check(_)), "{name}: {question:?}");
        }
    }
}

#[test]
fn the_status_gates_the_node_only_where_it_is_asked_to() {
    for (name, gates, agent, fails) in [
        ("usual, absent", false, None, false),
        ("gate, absent", true, None, true),
        ("gate, ready", true, Some(Answer::Ready), false),
        ("gate, not ready", true, Some(refused()), true),
    ] {
        let node = Node::new();
        if let Some(answer) = agent {
            drop(node.agent(Agent::Answers(answer), 1));
        }
        let outcome = node.call("STATUS").stdin(node.stdin(&json!({"statusGatesNode": gates}))).run();
        if fails {
            outcome.fails(name, "not available", "1.0.0", &["cni.statusGatesNode"]);
        } else {
            outcome.is_empty_success(name);
        }
    }
}

#[test]
fn many_at_once_and_one_twice_do_not_mind_each_other() {
    let node = Node::new();
    let agent = node.agent(Agent::Answers(Answer::Captured), 16);
    thread::scope(|scope| {
        for pod in 0..8 {
            let node = &node;
            scope.spawn(move || {
                for turn in ["first", "second"] {
                    node.call("ADD").pod("shop", &format!("web-{pod}")).run().passes(turn);
                }
            });
        }
    });
    assert_eq!(agent.join().unwrap().len(), 16);
}
