//! What an API server should never do, done by one that is none.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use control::{IndexConfig, KubernetesSource, SourceReport};
use model::Snapshot;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// How it answers at the moment.
#[derive(Clone, Debug, PartialEq)]
enum Manner {
    /// As it should, with these pods.
    Sound { pods: Vec<&'static str> },
    /// The same to every question.
    Fixed { status: u16, body: String },
    /// Not at all.
    HangUp,
    /// Sound, but every watch ends at once.
    Restless,
}

/// Speaks HTTP/1.1 without TLS.
struct Server {
    address: SocketAddr,
    manner: watch::Sender<Manner>,
    requests: watch::Sender<usize>,
    /// Of pods, so far.
    watches: watch::Sender<usize>,
    /// Lines that every open watch of pods tells.
    lines: watch::Sender<String>,
}

struct Source {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    reports: watch::Receiver<SourceReport>,
    _reload: mpsc::Sender<()>,
    _dir: tempfile::TempDir,
    task: JoinHandle<()>,
}

// === impl Server ===

impl Server {
    async fn start(manner: Manner) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            manner: watch::channel(manner).0,
            requests: watch::channel(0).0,
            watches: watch::channel(0).0,
            lines: watch::channel(String::new()).0,
        });
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // What becomes of a connection is for the source to notice.
                let serving = serving.clone();
                tokio::spawn(async move { drop(serving.answer(stream).await) });
            }
        });
        server
    }

    async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut request = String::new();
            loop {
                let mut line = String::new();
                if read.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                if line == "\r\n" {
                    break;
                }
                request.push_str(&line);
            }
            self.requests.send_modify(|requests| *requests += 1);
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let (mut lines, mut changed) = (self.lines.subscribe(), self.manner.subscribe());
            let manner = changed.borrow_and_update().clone();
            let pods = match &manner {
                Manner::HangUp => return Ok(()),
                Manner::Fixed { status, body } => {
                    write.write_all(whole(*status, body).as_bytes()).await?;
                    continue;
                }
                Manner::Sound { pods } => pods.clone(),
                Manner::Restless => Vec::new(),
            };
            if !path.contains("watch=true") {
                write.write_all(whole(200, &list(&path, &pods).to_string()).as_bytes()).await?;
                continue;
            }
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            write.write_all(head.as_bytes()).await?;
            if manner == Manner::Restless {
                write.write_all(b"0\r\n\r\n").await?;
                continue;
            }
            let of_pods = path.starts_with("/api/v1/pods");
            if of_pods {
                self.watches.send_modify(|watches| *watches += 1);
            }
            loop {
                tokio::select! {
                    _ = lines.changed() => {
                        let line = lines.borrow_and_update().clone();
                        if of_pods {
                            write.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).await?;
                        }
                    }
                    _ = changed.changed() => return Ok(()),
                }
            }
        }
    }
}

fn whole(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7"}})
}

fn list(path: &str, pods: &[&str]) -> Value {
    match path.split('?').next().unwrap_or_default() {
        "/apis" => json!({"kind": "APIGroupList", "groups": []}),
        "/api/v1/pods" => json!({
            "metadata": {"resourceVersion": "7"}, "items": pods.iter().map(|name| pod(name)).collect::<Vec<_>>(),
        }),
        _ => json!({"metadata": {"resourceVersion": "7"}, "items": []}),
    }
}

// === impl Source ===

impl Source {
    async fn start(server: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": format!("http://{server}")}}],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let source = KubernetesSource::connect(Some(&kubeconfig), IndexConfig::default()).await.unwrap();
        let (publish, snapshots) = watch::channel(Arc::<Snapshot>::default());
        let (report, reports) = watch::channel(SourceReport::default());
        let (reload, reloads) = mpsc::channel(1);
        let task = tokio::spawn(async move { source.run(publish, report, reloads).await.unwrap() });
        Self { snapshots, reports, _reload: reload, _dir: dir, task }
    }

    fn pods(&self) -> String {
        let snapshot = self.snapshots.borrow();
        snapshot.pods().iter().map(|pod| pod.name.name.to_string()).collect::<Vec<_>>().join(", ")
    }

    async fn wait_pods(&mut self, expected: &str) {
        while self.pods() != expected {
            let changed = timeout(PATIENCE, self.snapshots.changed()).await;
            changed.unwrap_or_else(|_| panic!("never {expected:?}: {:?}", self.reports.borrow())).unwrap();
        }
    }

    /// Waits until the watch of pods has trouble that says this.
    async fn wait_trouble(&mut self, said: &str) {
        let has = |report: &SourceReport| {
            report
                .troubles
                .iter()
                .any(|trouble| trouble.watch == "Pods" && trouble.to_string().contains(said))
        };
        let met = timeout(PATIENCE, self.reports.wait_for(has)).await.is_ok();
        assert!(met, "never {said:?}: {:?}", self.reports.borrow());
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn garbage_is_named_and_nothing_is_concluded_from_it() {
    let status = |code: u16, message: &str| json!({"code": code, "message": message}).to_string();
    for (status, body, said) in [
        (200, "<html>".to_owned(), "what answered makes no sense: expected value at line 1 column 1"),
        (200, String::new(), "what answered makes no sense: EOF"),
        (200, "{\"items\": 7}".to_owned(), "what answered makes no sense"),
        (200, "[".repeat(100_000), "what answered makes no sense"),
        (200, "{\"metadata\": {}, \"items\": []}".to_owned(), "without resourceVersion"),
        (500, "<html>".to_owned(), "answers 500"),
        (503, status(503, "apiserver is shutting down"), "answers 503: apiserver is shutting down"),
        (404, status(404, "page not found"), "answers 404: page not found"),
        (401, status(401, "Unauthorized"), "does not know who asks"),
        (403, status(403, "pods is forbidden"), "the agent's ClusterRole needs list and watch on pods"),
    ] {
        let server = Server::start(Manner::Fixed { status, body }).await;
        let mut source = Source::start(server.address).await;
        source.wait_trouble(said).await;
        assert_eq!(source.snapshots.borrow().version, 0, "{said}");
        server.manner.send_replace(Manner::Sound { pods: vec!["a"] });
        source.wait_pods("a").await;
    }
}

#[tokio::test]
async fn what_was_known_stays_while_the_answers_are_garbage() {
    let server = Server::start(Manner::Sound { pods: vec!["a"] }).await;
    let mut source = Source::start(server.address).await;
    source.wait_pods("a").await;
    let html = Manner::Fixed { status: 200, body: "<html>".to_owned() };
    for (manner, said) in [(Manner::HangUp, "connection closed"), (html, "makes no sense")] {
        server.manner.send_replace(manner);
        source.wait_trouble(said).await;
        source.wait_trouble("what was last known of them stays in force").await;
        assert_eq!(source.pods(), "a");
    }
    server.manner.send_replace(Manner::Sound { pods: vec!["b"] });
    source.wait_pods("b").await;
}

#[tokio::test]
async fn a_change_that_cannot_be_read_is_looked_up() {
    let server = Server::start(Manner::Sound { pods: vec!["a"] }).await;
    let mut source = Source::start(server.address).await;
    source.wait_pods("a").await;
    let mut watches = server.watches.subscribe();
    for (number, (line, next)) in (1..).zip([
        ("garbage".to_owned(), "b"),
        (json!({"type": "ADDED", "object": {"metadata": {"name": 7}}}).to_string(), "c"),
        (json!({"type": "ADDED", "object": {"metadata": {"name": "unversioned"}}}).to_string(), "d"),
        (json!({"type": "BLESSED", "object": pod("x")}).to_string(), "e"),
        (json!({"type": "ERROR", "object": {"code": 410, "message": "too old"}}).to_string(), "f"),
    ]) {
        watches.wait_for(|watches| *watches == number).await.unwrap();
        // The watch stays open: only the line can be why it is listed anew.
        server.manner.send_if_modified(|manner| {
            *manner = Manner::Sound { pods: vec![next] };
            false
        });
        server.lines.send_replace(line.clone());
        source.wait_pods(next).await;
    }
    watches.wait_for(|watches| *watches == 6).await.unwrap();
    server.lines.send_replace(json!({"type": "ADDED", "object": pod("g")}).to_string());
    source.wait_pods("f, g").await;
    server.lines.send_replace(json!({"type": "DELETED", "object": pod("f")}).to_string());
    source.wait_pods("g").await;
}

#[tokio::test]
async fn watches_that_end_at_once_are_not_reopened_at_once() {
    let server = Server::start(Manner::Restless).await;
    let mut source = Source::start(server.address).await;
    timeout(PATIENCE, source.snapshots.wait_for(|s| s.version > 0)).await.unwrap().unwrap();
    let begun = *server.requests.borrow();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let requests = *server.requests.borrow() - begun;
    // Seven watches; without a pause there would be thousands.
    assert!(requests < 100, "{requests}");
}
