use abi::Prober;

use super::{Caller, Event, Facts, Verdict, decide, is_by_prober};

const KUBELET: u32 = 812;
const ITS_CGROUP: u64 = 77;

#[derive(Clone, Copy)]
struct Process {
    on_node: bool,
    thread_group: Option<u32>,
    cgroup: u64,
    probers: &'static [Prober],
}

const BY_PID: Process = Process {
    on_node: true,
    thread_group: Some(KUBELET),
    cgroup: ITS_CGROUP,
    probers: &[Prober::ThreadGroup(KUBELET)],
};

impl Caller for Process {
    fn on_node(&self) -> bool {
        self.on_node
    }
    fn thread_group(&self) -> Option<u32> {
        assert!(self.on_node, "asked of one that is not on the node");
        self.thread_group
    }
    fn cgroup(&self) -> u64 {
        self.cgroup
    }
    fn probes(&self, prober: Prober) -> bool {
        self.probers.contains(&prober)
    }
}

#[test]
fn a_connection_is_a_probe() {
    let by_cgroup = Process { probers: &[Prober::Cgroup(ITS_CGROUP)], thread_group: None, ..BY_PID };
    let by_anybody = Process { probers: &[Prober::Anybody], thread_group: Some(1), cgroup: 1, ..BY_PID };
    for (case, process, expected) in [
        ("of the kubelet, known by its process", BY_PID, true),
        ("of the kubelet, known by its cgroup", by_cgroup, true),
        ("of anybody on the node, if that is configured", by_anybody, true),
        (
            "not of another process in the kubelet's cgroup",
            Process { thread_group: Some(813), ..BY_PID },
            false,
        ),
        ("not where nobody can tell the process", Process { thread_group: None, ..BY_PID }, false),
        ("not of another cgroup", Process { cgroup: 78, ..by_cgroup }, false),
        (
            "not of a cgroup with the number of the kubelet",
            Process { cgroup: 812, thread_group: None, ..BY_PID },
            false,
        ),
        ("not of the kubelet's process in another namespace", Process { on_node: false, ..BY_PID }, false),
        ("not of anybody in a pod", Process { on_node: false, ..by_anybody }, false),
        ("not where nobody probes", Process { probers: &[], ..BY_PID }, false),
    ] {
        assert_eq!(is_by_prober(&process), expected, "{case}");
    }
}

struct Socket(Event, bool, bool);

impl Facts for Socket {
    fn event(&self) -> Event {
        self.0
    }
    fn on_node(&self) -> bool {
        self.1
    }
    fn by_prober(&self) -> bool {
        assert_eq!((self.0, self.1), (Event::Dial, true), "asked for nothing");
        self.2
    }
}

#[test]
fn a_probe_is_noted_from_its_syn_to_its_close() {
    for (case, socket, expected) in [
        ("its SYN", Socket(Event::Dial, true, true), Verdict::Note),
        ("its close", Socket(Event::Close, true, true), Verdict::Forget),
        ("the SYN of another, perhaps from its port", Socket(Event::Dial, true, false), Verdict::Forget),
        ("a SYN of a pod", Socket(Event::Dial, false, true), Verdict::Leave),
        ("a close in a pod", Socket(Event::Close, false, false), Verdict::Leave),
        ("anything else", Socket(Event::Other, true, true), Verdict::Leave),
    ] {
        assert_eq!(decide(&socket), expected, "{case}");
    }
}
