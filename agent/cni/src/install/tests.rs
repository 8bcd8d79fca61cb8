use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    thread,
};

use tempfile::TempDir;

use super::{Error, Install, OWN_CONFLIST, Report, State, entry_in, remove};
use crate::{conflist, entry::Entry};

const LIST: &str =
    "{\"cniVersion\":\"1.0.0\", \"name\":\"net\",\n \"plugins\":[\n  {\"type\":\"ptp\", \"x\":1.0}\n ]\n}\n";
const CONF: &str = "{\"name\":\"net\", \"type\":\"bridge\"}\n";

/// A node's two directories and the image's binary.
struct Node {
    dir: TempDir,
    install: Install,
}

// === impl Node ===

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["bin", "net.d"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("plugin"), "new plugin").unwrap();
        let install = Install {
            plugin: path("plugin"),
            bin_dir: path("bin"),
            conf_dir: path("net.d"),
            entry: Entry::default(),
            own_conflist: false,
        };
        Self { dir, install }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let node = Self::new();
        for (name, text) in files {
            node.write(name, text);
        }
        node
    }

    fn own(files: &[(&str, &str)]) -> Self {
        let mut node = Self::with(files);
        node.install.own_conflist = true;
        node
    }

    fn conf(&self, name: &str) -> PathBuf {
        self.install.conf_dir.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.conf(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.conf(name)).unwrap()
    }

    fn remove(&self) -> Result<(), Error> {
        let Install { conf_dir, bin_dir, .. } = &self.install;
        remove(conf_dir, bin_dir, &self.dir.path().join("state"))
    }

    /// Every file in both directories, with its mode.
    fn files(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let folders = [&self.install.conf_dir, &self.install.bin_dir];
        let files = folders.into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        files
            .map(|file| file.unwrap().path())
            .map(|path| (path.clone(), (fs::metadata(&path).unwrap().mode(), fs::read(&path).unwrap())))
            .collect()
    }

    /// Installs, and finds on a second look that nothing is missing.
    fn installs(&self, name: &str, into: &str) -> Report {
        let report = self.install.install();
        assert_eq!(report.state, State::Installed { file: self.conf(into) }, "{name}");
        assert!(report.changed, "{name}");
        let text = self.read(into);
        assert_eq!(conflist::with_entry(&text, &self.install.entry).unwrap(), text, "{name}");
        let plugin = self.install.bin_dir.join("millstream-cni");
        assert_eq!(fs::read(&plugin).unwrap(), b"new plugin", "{name}");
        assert_eq!(fs::metadata(&plugin).unwrap().mode() & 0o7777, 0o755, "{name}");
        let before = self.files();
        let again = self.install.install();
        assert!(!again.changed, "{name}, twice");
        assert_eq!((&again.state, self.files()), (&report.state, before), "{name}, twice");
        report
    }

    fn fails(&self, name: &str, part: &str) {
        let before = self.files();
        let State::Failed { why } = self.install.install().state else { panic!("{name}") };
        assert!(why.contains(part), "{name}: {why}");
        let mut after = self.files();
        // A binary that nothing names does no harm.
        after.remove(&self.install.bin_dir.join("millstream-cni"));
        assert_eq!(after, before, "{name}");
    }
}

#[test]
fn what_is_installed_is_removed_to_the_byte() {
    let two = "{\"cniVersion\":\"0.3.1\",\"name\":\"n\",\"plugins\":[{\"type\":\"a\"},{\"type\":\"b\"}]}";
    for (name, files, into) in [
        ("a list", &[("10-net.conflist", LIST)][..], "10-net.conflist"),
        ("a single", &[("10-net.conf", CONF)], "10-net.conflist"),
        ("a single .json", &[("10-net.json", CONF)], "10-net.conflist"),
        (
            "the first of many",
            &[("20-b.conflist", two), ("10-a.conflist", LIST), ("15-c.conf", CONF)],
            "10-a.conflist",
        ),
        ("a single before a list", &[("20-b.conflist", two), ("10-a.conf", CONF)], "10-a.conflist"),
        (
            "what no runtime reads",
            &[("05-a.txt", "?"), (".hidden", "?"), ("10-a.conflist.bak", LIST), ("20-b.conflist", LIST)],
            "20-b.conflist",
        ),
    ] {
        for own_conflist in [false, true] {
            let mut node = Node::with(files);
            node.install.own_conflist = own_conflist;
            let before = node.files();
            node.installs(name, if own_conflist { OWN_CONFLIST } else { into });
            if own_conflist {
                let mut after = node.files();
                after.retain(|path, _| before.contains_key(path));
                assert_eq!(after, before, "{name}: the primary is untouched");
            }
            node.remove().unwrap();
            assert_eq!(node.files(), before, "{name}, own {own_conflist}");
            node.remove().unwrap();
            assert_eq!(node.files(), before, "{name}, removed twice");
        }
    }
}

#[test]
fn what_is_malformed_is_left_alone_and_told() {
    for (name, text, problem) in [
        ("05-empty.conflist", "", "is empty"),
        ("05-text.conf", "name: net", "is no JSON object"),
        ("05-cut.conflist", &LIST[..40], "is no JSON object"),
        ("05-none.conflist", "{\"name\":\"n\",\"plugins\":[]}", "has no \"plugins\""),
        ("05-nameless.conflist", "{\"plugins\":[{\"type\":\"a\"}]}", "has no \"name\""),
        ("05-object.conflist", "{\"name\":\"n\",\"plugins\":{}}", "no list"),
        ("05-list.conf", LIST, "without \"type\""),
    ] {
        let node = Node::with(&[(name, text), ("10-net.conflist", LIST)]);
        let report = node.installs(name, "10-net.conflist");
        assert_eq!(node.read(name), text);
        let [malformed] = &report.malformed[..] else { panic!("{name}: {:?}", report.malformed) };
        assert_eq!(malformed.file, node.conf(name));
        assert!(malformed.to_string().contains(problem), "{malformed}");
        assert_eq!(report.others, ["ptp"]);

        let alone = Node::with(&[(name, text)]);
        let report = alone.install.install();
        assert_eq!(report.state, State::Waiting { dir: alone.install.conf_dir.clone() }, "{name}");
        assert_eq!(report.malformed.len(), 1, "{name}");
        assert_eq!(alone.files().len(), 1, "{name}");
    }
    let node = Node::with(&[("10-net.conflist", LIST)]);
    fs::write(node.conf("05-latin.conf"), b"{\"name\":\"\xe9\"}").unwrap();
    assert_eq!(node.install.install().malformed[0].problem, "is not UTF-8");
}

#[test]
fn no_primary_yet_is_waited_for() {
    let node = Node::new();
    fs::remove_dir(&node.install.conf_dir).unwrap();
    for make in [false, true] {
        if make {
            fs::create_dir(&node.install.conf_dir).unwrap();
        }
        let report = node.install.install();
        assert_eq!(report.state, State::Waiting { dir: node.install.conf_dir.clone() });
        assert!(!report.changed && report.state.to_string().contains("cni.confDir"), "{}", report.state);
        node.remove().unwrap();
    }
    node.write("10-net.conflist", LIST);
    node.installs("there at last", "10-net.conflist");
}

#[test]
fn mode_and_links_are_kept() {
    for (name, mode) in [("closed", 0o600), ("usual", 0o644), ("odd", 0o640)] {
        let node = Node::with(&[("10-net.conflist", LIST), ("10-other.conf", CONF)]);
        fs::set_permissions(node.conf("10-net.conflist"), Permissions::from_mode(mode)).unwrap();
        node.installs(name, "10-net.conflist");
        assert_eq!(fs::metadata(node.conf("10-net.conflist")).unwrap().mode() & 0o7777, mode, "{name}");
    }

    let node = Node::new();
    let elsewhere = node.dir.path().join("elsewhere.json");
    fs::write(&elsewhere, LIST).unwrap();
    symlink(&elsewhere, node.conf("10-net.conflist")).unwrap();
    node.installs("a link", "10-net.conflist");
    assert_eq!(fs::read_link(node.conf("10-net.conflist")).unwrap(), elsewhere);
    assert!(conflist::has_entry(&fs::read_to_string(&elsewhere).unwrap()));
    node.remove().unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), LIST);

    let node = Node::new();
    fs::write(node.dir.path().join("elsewhere.json"), CONF).unwrap();
    symlink("../elsewhere.json", node.conf("10-net.conf")).unwrap();
    node.installs("a link to a single", "10-net.conflist");
    node.remove().unwrap();
    assert_eq!(fs::read_link(node.conf("10-net.conf")).unwrap(), Path::new("../elsewhere.json"));
    assert_eq!(node.files().len(), 1);
}

#[test]
fn what_cannot_be_done_changes_nothing_and_says_why() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    fs::remove_file(&node.install.plugin).unwrap();
    node.fails("no binary", "cannot read the plugin");

    let node = Node::with(&[("10-net.conflist", LIST)]);
    fs::remove_dir(&node.install.bin_dir).unwrap();
    let State::Failed { why } = node.install.install().state else { panic!() };
    assert!(why.contains("cni.binDir"), "{why}");
    assert_eq!(node.read("10-net.conflist"), LIST);

    let old = LIST.replace("1.0.0", "0.2.0");
    Node::with(&[("10-net.conflist", &old)]).fails("too old", "set its \"cniVersion\"");
    Node::with(&[("10-net.conf", CONF), ("10-net.conflist", LIST)]).fails("both", "remove the one");
    Node::own(&[("00-a.conflist", LIST)]).fails("sorts before ours", "rename it");

    let node = Node::with(&[("20-net.conflist", LIST)]);
    symlink("/not/there", node.conf("10-net.conflist")).unwrap();
    let State::Failed { why } = node.install.install().state else { panic!() };
    assert!(why.contains("is a link to /not/there, which cannot be reached"), "{why}");
    assert_eq!(node.read("20-net.conflist"), LIST);
    node.remove().unwrap();
}

#[test]
fn a_directory_that_is_read_only_is_told_and_left() {
    for own_conflist in [false, true] {
        let mut node = Node::with(&[("10-net.conflist", LIST), ("20-net.conf", CONF)]);
        node.install.own_conflist = own_conflist;
        fs::set_permissions(node.dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&node.install.bin_dir, Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(&node.install.conf_dir, Permissions::from_mode(0o555)).unwrap();
        let before = node.files();
        let install = node.install.clone();
        // Root may write anywhere; this thread may not.
        let state = thread::spawn(move || {
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
            install.install().state
        });
        let State::Failed { why } = state.join().unwrap() else { panic!("own {own_conflist}") };
        assert!(why.contains("cannot write") && why.contains("cni.confDir"), "{why}");
        let mut after = node.files();
        after.retain(|path, _| before.contains_key(path));
        assert_eq!(after, before, "own {own_conflist}");
    }
}

#[test]
fn what_the_primary_writes_anew_is_joined_anew() {
    let other = LIST.replace("ptp", "bridge");
    let newer = CONF.replace("bridge", "macvlan");
    let node = Node::with(&[("10-net.conflist", LIST)]);
    node.installs("first", "10-net.conflist");
    node.write("10-net.conflist", &other);
    node.installs("overwritten", "10-net.conflist");
    node.write("05-new.conflist", LIST);
    node.installs("another first", "05-new.conflist");
    node.remove().unwrap();
    assert_eq!(
        (node.read("10-net.conflist"), node.read("05-new.conflist")),
        (other.clone(), LIST.to_owned())
    );

    let node = Node::with(&[("10-net.conf", CONF)]);
    node.installs("single", "10-net.conflist");
    node.write("10-net.conf", &newer);
    let report = node.installs("single overwritten", "10-net.conflist");
    assert_eq!(report.others, ["macvlan"]);
    node.remove().unwrap();
    assert_eq!(node.read("10-net.conf"), newer);
    assert_eq!(node.files().len(), 1);

    let node = Node::with(&[("10-net.conf", CONF)]);
    node.installs("single", "10-net.conflist");
    node.write("10-net.conflist", LIST);
    node.installs("single become list", "10-net.conflist");
    node.remove().unwrap();
    assert_eq!(node.read("10-net.conflist"), LIST, "what its owner wrote since stays");
    assert_eq!(node.files().len(), 1);

    let node = Node::own(&[("10-net.conflist", LIST)]);
    node.installs("own", OWN_CONFLIST);
    node.write("10-net.conflist", &other);
    assert_eq!(node.installs("own, primary changed", OWN_CONFLIST).others, ["bridge"]);
    node.write("10-net.conflist", "{");
    assert!(matches!(node.install.install().state, State::Waiting { .. }));
    assert!(node.conf(OWN_CONFLIST).exists(), "half written is not gone");
    fs::remove_file(node.conf("10-net.conflist")).unwrap();
    assert!(matches!(node.install.install().state, State::Waiting { .. }));
    assert!(!node.conf(OWN_CONFLIST).exists(), "it would outlive what it is made from");
}

#[test]
fn either_way_of_installing_takes_back_the_other() {
    for (name, files) in [("list", ("10-net.conflist", LIST)), ("single", ("10-net.conf", CONF))] {
        let mut node = Node::with(&[files]);
        let before = node.files();
        node.installs(name, "10-net.conflist");
        node.install.own_conflist = true;
        node.installs(name, OWN_CONFLIST);
        assert!(!conflist::has_entry(&node.read("10-net.conflist")), "{name}");
        node.install.own_conflist = false;
        node.installs(name, "10-net.conflist");
        assert!(!node.conf(OWN_CONFLIST).exists(), "{name}");
        node.remove().unwrap();
        assert_eq!(node.files(), before, "{name}");
    }
}

#[test]
fn an_agent_that_died_over_it_is_made_up_for() {
    // Between the conflist and setting the `.conf` aside.
    let node = Node::with(&[("10-net.conf", CONF)]);
    let list = conflist::as_list(CONF, conflist::Form::Single).unwrap();
    node.write("10-net.conflist", &conflist::with_entry(&list, &node.install.entry).unwrap());
    node.remove().unwrap();
    assert_eq!(node.files().len(), 1, "removed");
    node.write("10-net.conflist", &conflist::with_entry(&list, &node.install.entry).unwrap());
    node.installs("installed", "10-net.conflist");
    assert!(!node.conf("10-net.conf").exists());

    // Over a file that it was writing.
    let node = Node::with(&[("10-net.conflist", LIST), (".10-net.conflist.millstream-new", "{\"cni")]);
    node.installs("half a file", "10-net.conflist");
    node.write(".10-net.conflist.millstream-new", "{\"cni");
    node.remove().unwrap();
    assert_eq!(node.files().len(), 1);
}

#[test]
fn what_the_chain_says_of_the_plugin_is_found_where_it_is() {
    let foreign = "{\"cniVersion\":\"1.0.0\", \"name\":\"net\", \"plugins\":[{\"type\":\"millstream-cni\", \"runDir\":7}]}";
    for (name, files, own, expected) in [
        ("no file", &[][..], false, false),
        ("in the chain of the primary", &[("10-net.conflist", LIST)], false, true),
        ("in a chain of our own", &[("10-net.conflist", LIST)], true, true),
        ("in one that was converted", &[("10-net.conf", CONF)], false, true),
        ("one that makes no sense", &[("10-net.conflist", foreign)], false, false),
    ] {
        let mut node = Node::with(files);
        node.install.own_conflist = own;
        node.install.entry.run_dir = PathBuf::from("/run/here");
        if expected {
            assert!(matches!(node.install.install().state, State::Installed { .. }), "{name}");
        }
        let found = entry_in(&node.install.conf_dir).unwrap();
        assert_eq!(found, expected.then(|| node.install.entry.clone()), "{name}");
    }
    assert_eq!(entry_in(Path::new("/nowhere")).unwrap(), None);
}

#[test]
fn a_stale_entry_is_brought_up_to_date_and_the_binary_too() {
    let mut node = Node::with(&[("10-net.conflist", LIST)]);
    node.installs("first", "10-net.conflist");
    node.install.entry.status_gates_node = true;
    node.installs("another setting", "10-net.conflist");
    fs::write(node.install.bin_dir.join("millstream-cni"), "old plugin").unwrap();
    node.installs("another binary", "10-net.conflist");
    let plugin = node.install.bin_dir.join("millstream-cni");
    fs::set_permissions(&plugin, Permissions::from_mode(0o644)).unwrap();
    node.installs("not executable", "10-net.conflist");
    fs::remove_file(&plugin).unwrap();
    node.installs("gone", "10-net.conflist");
    node.remove().unwrap();
    assert_eq!(node.read("10-net.conflist"), LIST);
}
