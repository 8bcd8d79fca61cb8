use std::{fs, path::Path, sync::Arc};

use model::Snapshot;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Duration, timeout},
};

use super::{Error, FileSource, SourceFile, SourceRefusal, SourceReport, folder::Folder, read};
use crate::IndexConfig;

/// Long enough for a loaded machine; nothing waits so long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

fn pod(name: &str, ip: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, status: {{podIP: {ip}}}}}\n---\n")
}

fn service(name: &str, spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n---\n")
}

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile { name: name.to_owned(), text: Ok(text.to_owned()) }
}

/// `name ip` of each pod.
fn pods(snapshot: &Snapshot) -> String {
    let pods: Vec<_> =
        snapshot.pods().iter().map(|pod| format!("{} {}", pod.name.name, pod.ips[0])).collect();
    pods.join(", ")
}

#[test]
fn the_last_good_version_stays_as_long_as_its_manifest() {
    let unreadable = SourceFile { name: "a.yaml".to_owned(), text: Err("is not UTF-8".to_owned()) };
    let two = || pod("a", "192.0.2.1") + &pod("b", "192.0.2.2");
    for (name, before, after, expected, refusals) in [
        ("removed", two(), vec![], "", 0),
        ("one of two removed", two(), vec![file("a.yaml", &pod("b", "192.0.2.2"))], "b 192.0.2.2", 0),
        ("moved", two(), vec![file("b.yaml", &two())], "a 192.0.2.1, b 192.0.2.2", 0),
        (
            "a field of the wrong type",
            two(),
            vec![file("a.yaml", &(pod("a", "[]") + &pod("b", "192.0.2.3")))],
            "a 192.0.2.1, b 192.0.2.3",
            1,
        ),
        (
            "an address that is none",
            two(),
            vec![file("a.yaml", &(pod("a", "bad") + &pod("b", "192.0.2.3")))],
            "a 192.0.2.1, b 192.0.2.3",
            1,
        ),
        (
            "a repeated key",
            two(),
            vec![file("a.yaml", &pod("a", "192.0.2.9, podIP: 192.0.2.8"))],
            "a 192.0.2.1",
            1,
        ),
        (
            "broken off",
            two(),
            vec![file("a.yaml", "{apiVersion: v1, kind: Pod, meta")],
            "a 192.0.2.1, b 192.0.2.2",
            1,
        ),
        (
            "broken off, and another still whole",
            two(),
            vec![file("a.yaml", &(pod("b", "192.0.2.3") + "{apiVersion: v1, kind: Pod, meta"))],
            "a 192.0.2.1, b 192.0.2.3",
            1,
        ),
        ("unreadable", two(), vec![unreadable], "a 192.0.2.1, b 192.0.2.2", 1),
        (
            "broken here, whole elsewhere",
            two(),
            vec![file("a.yaml", "{"), file("b.yaml", &(pod("a", "192.0.2.7") + &pod("b", "192.0.2.8")))],
            "a 192.0.2.7, b 192.0.2.8",
            1,
        ),
        (
            "in a second file as well",
            two(),
            vec![file("0.yaml", &pod("a", "192.0.2.7")), file("a.yaml", &two())],
            "a 192.0.2.1, b 192.0.2.2",
            1,
        ),
        (
            "a stranger with the same address",
            two(),
            vec![file("0.yaml", &pod("x", "192.0.2.1")), file("a.yaml", &two())],
            "a 192.0.2.1, b 192.0.2.2",
            1,
        ),
    ] {
        let mut folder = Folder::new(IndexConfig::default());
        assert_eq!(folder.reread(&[file("a.yaml", &before)]), []);
        // Twice: what stays must not stay for one reading only.
        for _ in 0..2 {
            let got = folder.reread(&after);
            assert_eq!(got.len(), refusals, "{name}: {got:?}");
            assert_eq!(pods(&folder.snapshot(1)), expected, "{name}");
        }
    }
}

#[test]
fn a_refusal_says_where() {
    let mut folder = Folder::new(IndexConfig::default());
    let refusals = folder.reread(&[
        file("a.yaml", &(pod("a", "192.0.2.1") + &pod("b", "192.0.2.999") + "{apiVersion: v1, kind: Pod}")),
        file("b.yaml", &(pod("a", "192.0.2.2") + &pod("c", "192.0.2.1"))),
        SourceFile { name: "c.yaml".to_owned(), text: Err("is not UTF-8".to_owned()) },
    ]);
    let printed: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        printed,
        [
            "a.yaml, document 2: Pod default/b: status.podIP: \"192.0.2.999\" is not an IP address",
            "a.yaml, document 3: Pod: metadata.name: is missing, or not text",
            "b.yaml, document 1: Pod default/a: is also in a.yaml, document 1",
            "b.yaml, document 2: Pod default/c: status.podIPs: address 192.0.2.1 is already that of Pod default/a",
            "c.yaml: is not UTF-8",
        ]
    );
}

#[test]
fn services_find_their_pods_until_somebody_writes_a_slice() {
    let cart = service("cart", "selector: {app: cart}, ports: [{port: 80}]");
    let pods = pod("a", "192.0.2.1").replace("name: a", "name: a, labels: {app: cart}");
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{port: 81}], \
                 endpoints: [{addresses: [192.0.2.9]}], \
                 metadata: {name: mine, labels: {kubernetes.io/service-name: cart}}}";
    let mut folder = Folder::new(IndexConfig::default());
    let mut endpoints = |files: &[SourceFile]| {
        let refusals = folder.reread(files);
        let snapshot = folder.snapshot(1);
        let service = snapshot.services()[0];
        let addrs: Vec<_> =
            service.ports.iter().flat_map(|p| &p.endpoints).map(|e| e.addr.to_string()).collect();
        (addrs.join(","), refusals.len())
    };
    let whole = [file("cart.yaml", &cart), file("pods.yaml", &pods)];
    assert_eq!(endpoints(&whole), ("192.0.2.1:80".to_owned(), 0));
    let written = [whole[0].clone(), whole[1].clone(), file("slice.yaml", slice)];
    assert_eq!(endpoints(&written), ("192.0.2.9:81".to_owned(), 0));
    assert_eq!(endpoints(&whole), ("192.0.2.1:80".to_owned(), 0));

    // The last good version of the service is the one that finds its endpoints.
    let bad = service("cart", "selector: {app: cart}, clusterIP: bad, ports: [{name: new, port: 81}]");
    assert_eq!(endpoints(&[file("cart.yaml", &bad), whole[1].clone()]), ("192.0.2.1:80".to_owned(), 1));

    // A pod of which an annotation is put aside is taken all the same.
    let annotated = pod("a", "192.0.2.3").replace(
        "name: a",
        "name: a, labels: {app: cart}, annotations: {millstream.dev/exclude-inbound-ports: '80'}",
    );
    assert_eq!(endpoints(&[whole[0].clone(), file("pods.yaml", &annotated)]), ("192.0.2.3:80".to_owned(), 1));
}

#[test]
fn which_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("folder.yaml")).unwrap();
    fs::create_dir(at("..2026")).unwrap();
    fs::write(at("..2026/linked.yaml"), "# linked").unwrap();
    std::os::unix::fs::symlink("..2026", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/linked.yaml", at("linked.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling.yaml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("endless.yml")).unwrap();
    for name in ["b.yaml", "a.json", ".hidden.yaml", "notes.txt", "yaml", "b.yaml~", "4913"] {
        fs::write(at(name), "# text").unwrap();
    }
    fs::write(at("latin1.yaml"), b"# caf\xe9").unwrap();
    fs::File::create(at("large.yaml")).unwrap().set_len(33 << 20).unwrap();

    let files = read::folder(dir.path()).unwrap();
    let got: Vec<_> =
        files.iter().map(|f| format!("{} {}", f.name, f.text.clone().unwrap_or_else(|e| e))).collect();
    assert_eq!(
        got,
        [
            "a.json # text",
            "b.yaml # text",
            "dangling.yaml No such file or directory (os error 2)",
            "endless.yml is not a regular file",
            "large.yaml is larger than 32 MiB",
            "latin1.yaml is not UTF-8: a wrong byte after the first 5",
            "linked.yaml # linked",
        ]
    );
}

struct Running {
    dir: Arc<TempDir>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    refusals: watch::Receiver<SourceReport>,
    reload: mpsc::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    fn start(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self::of(Arc::new(dir))
    }

    fn of(dir: Arc<TempDir>) -> Self {
        let (publish, snapshot) = watch::channel(Arc::default());
        let (report, refusals) = watch::channel(SourceReport::default());
        let (reload, reloads) = mpsc::channel(1);
        let source = FileSource { dir: dir.path().to_owned(), config: IndexConfig::default() };
        let task = tokio::spawn(source.run(publish, report, reloads));
        Self { dir, snapshot, refusals, reload, task }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// At one stroke: a file that is written in place is empty for a moment.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(".new"), text).unwrap();
        fs::rename(self.path(".new"), self.path(name)).unwrap();
    }

    async fn pods(&mut self, expected: &str) -> u64 {
        let wait = self.snapshot.wait_for(|snapshot| snapshot.version != 0 && pods(snapshot) == expected);
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {expected}")).unwrap().version
    }

    async fn refusals(&mut self, count: usize) -> Vec<SourceRefusal> {
        let wait = self.refusals.wait_for(|report| report.refusals.len() == count);
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never {count}")).unwrap().refusals.clone()
    }
}

#[tokio::test]
async fn changes_are_picked_up_live() {
    let mut running = Running::start(&[("a.yaml", &pod("a", "192.0.2.1"))]);
    assert_eq!(running.pods("a 192.0.2.1").await, 1);

    fs::write(running.path("b.yaml"), pod("b", "192.0.2.2")).unwrap();
    running.pods("a 192.0.2.1, b 192.0.2.2").await;

    running.write("a.yaml", &pod("a", "192.0.2.3"));
    let version = running.pods("a 192.0.2.3, b 192.0.2.2").await;

    running.write("b.yaml", "{ broken");
    let refusal = running.refusals(1).await.remove(0);
    assert_eq!((refusal.file.as_deref(), refusal.document), (Some("b.yaml"), Some(1)));
    running.write("b.yaml", &format!("# mended\n{}", pod("b", "192.0.2.2")));
    running.refusals(0).await;
    assert_eq!(running.snapshot.borrow().version, version, "what says the same is not published again");

    fs::remove_file(running.path("b.yaml")).unwrap();
    assert_eq!(running.pods("a 192.0.2.3").await, version + 1);
}

#[tokio::test]
async fn a_mounted_config_map_is_followed() {
    let mut running = Running::start(&[]);
    assert_eq!(running.pods("").await, 1, "an empty folder is an answer too");
    let version = |name: &str, ip: &str| {
        fs::create_dir(running.path(name)).unwrap();
        fs::write(running.path(name).join("a.yaml"), pod("a", ip)).unwrap();
        std::os::unix::fs::symlink(name, running.path("..data_tmp")).unwrap();
        fs::rename(running.path("..data_tmp"), running.path("..data")).unwrap();
    };
    version("..1", "192.0.2.1");
    std::os::unix::fs::symlink("..data/a.yaml", running.path("a.yaml")).unwrap();
    version("..2", "192.0.2.2");
    running.pods("a 192.0.2.2").await;
}

#[tokio::test]
async fn a_reload_sees_what_no_watch_tells() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("pod");
    fs::write(&target, pod("a", "192.0.2.1")).unwrap();
    let mut running = Running::start(&[]);
    std::os::unix::fs::symlink(&target, running.path("a.yaml")).unwrap();
    running.pods("a 192.0.2.1").await;
    fs::write(&target, pod("a", "192.0.2.2")).unwrap();
    running.reload.send(()).await.unwrap();
    running.pods("a 192.0.2.2").await;
}

#[tokio::test]
async fn a_folder_that_goes_away_leaves_everything_as_it_was() {
    let mut running = Running::start(&[("a.yaml", &pod("a", "192.0.2.1"))]);
    running.pods("a 192.0.2.1").await;
    let aside = running.dir.path().with_extension("aside");
    fs::rename(running.dir.path(), &aside).unwrap();
    running.reload.send(()).await.unwrap();
    let refusal = running.refusals(1).await.remove(0);
    assert_eq!(refusal.file, Some(running.dir.path().display().to_string()));
    assert_eq!(pods(&running.snapshot.borrow()), "a 192.0.2.1");

    fs::rename(&aside, running.dir.path()).unwrap();
    running.reload.send(()).await.unwrap();
    running.refusals(0).await;
    fs::write(running.path("b.yaml"), pod("b", "192.0.2.2")).unwrap();
    running.pods("a 192.0.2.1, b 192.0.2.2").await;
}

#[tokio::test]
async fn it_ends_when_nobody_listens_and_fails_without_a_folder() {
    let mut running = Running::start(&[]);
    running.pods("").await;
    let Running { snapshot, task, dir: _dir, refusals: _refusals, reload: _reload } = running;
    drop(snapshot);
    timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();

    let source = FileSource { dir: Path::new("/no/such/folder").to_owned(), config: IndexConfig::default() };
    let error = source.run(watch::Sender::default(), watch::Sender::default(), mpsc::channel(1).1).await;
    assert_eq!(error.unwrap_err().to_string(), "cannot read the folder of manifests /no/such/folder");
}

fn entry(host: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {host}, namespace: shop}}, \
         spec: {{hosts: [{host}], ports: [{{number: 443, name: tls}}], resolution: DNS}}}}\n---\n"
    )
}

/// The addresses that the host was given, once it has some.
async fn allocated(running: &mut Running, host: &str) -> Vec<std::net::IpAddr> {
    let name = model::ObjectName::new("shop", host);
    let wait = running
        .snapshot
        .wait_for(|snapshot| snapshot.service(&name).is_some_and(|service| !service.allocated.is_empty()));
    let snapshot = timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {host}")).unwrap();
    snapshot.service(&name).unwrap().allocated.clone()
}

#[tokio::test]
async fn agents_of_one_folder_give_the_same_addresses() {
    let mut one = Running::start(&[("a.yaml", &entry("a.example.com"))]);
    let a = allocated(&mut one, "a.example.com").await;
    let mut two = Running::of(one.dir.clone());
    assert_eq!(allocated(&mut two, "a.example.com").await, a, "a node that starts afresh agrees");

    one.write("b.yaml", &entry("b.example.com"));
    let b = allocated(&mut one, "b.example.com").await;
    assert_eq!(allocated(&mut two, "b.example.com").await, b);
    assert_ne!(a, b);

    fs::remove_file(one.path("a.yaml")).unwrap();
    let is_freed = |snapshot: &Arc<Snapshot>| {
        let gone = snapshot.allocations().iter().find(|a| &*a.host.name == "a.example.com");
        gone.is_some_and(|a| a.freed.is_some() && snapshot.services().len() == 1)
    };
    for running in [&mut one, &mut two] {
        timeout(PATIENCE, running.snapshot.wait_for(is_freed)).await.expect("never freed").unwrap();
    }
    one.write("a.yaml", &entry("a.example.com"));
    assert_eq!(allocated(&mut two, "a.example.com").await, a, "who comes back has what it had");
}

#[tokio::test]
async fn a_record_that_makes_no_sense_is_told_until_it_is_mended() {
    let record = ".millstream-allocations.json";
    let mut running = Running::start(&[("a.yaml", &entry("a.example.com"))]);
    let a = allocated(&mut running, "a.example.com").await;
    let sound = fs::read_to_string(running.path(record)).unwrap();
    running.write(record, "{");
    assert_eq!(running.refusals(1).await[0].file.as_deref(), Some(record));
    assert_eq!(allocated(&mut running, "a.example.com").await, a);
    running.write(record, &sound);
    running.refusals(0).await;
    assert_eq!(allocated(&mut running, "a.example.com").await, a);
}
