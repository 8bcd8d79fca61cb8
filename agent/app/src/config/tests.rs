use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::Config;

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        // Tests that run side by side may have cases of one name.
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let (process, number) = (std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("millstream-config-{name}-{process}-{number}.yaml"));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

#[test]
fn good_files() {
    for (name, text) in [
        ("empty", "{}"),
        ("same-node", "same-node: wire"),
        ("outbound policy", "outbound-traffic-policy: REGISTRY_ONLY"),
        (
            "resolvers",
            "dns: {resolvers: [192.0.2.53, '192.0.2.53:5353', '2001:db8::53', '[2001:db8::53]:5353']}",
        ),
        ("probes", "probes: node"),
        ("no probes", "probes: off"),
        ("no metrics", "metrics: {port: 0}"),
        ("some", "proxy: {connect-timeout: 5s, idle-timeout: 2h}\ndrain: {release: 0s}"),
        ("marks", "steering: {marks: {captured: 0x1000, agent: 0x2000}, table: 999, rule-priority: 50}"),
        (
            "exclusions",
            "exclusions: {exclude-outbound-cidrs: '192.0.2.0/24, ::/0', exclude-inbound-ports: 80, \
             exclude-outbound-ports: 8000-8010, allow-overrides: [exclude-inbound-cidrs]}",
        ),
        (
            "selectors",
            "enrolment: {excludeNamespaces: [], enablementSelectors: [{podSelector: {matchLabels: {a: b}}}]}",
        ),
        ("no-allocation", "dns: {allocation: {mode: off, ipv4: 240.0.0.0/16}}"),
        (
            "limits",
            "limits: {connections: 100, connections-per-pod: 100, buffers: 64Mi, buffers-per-pod: 1048576}",
        ),
    ] {
        let file = File::new(name, text);
        Config::read(&file.0).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    }
}

#[test]
fn bad_files_are_refused_by_field() {
    for (name, text, named) in [
        ("syntax", "proxy: [", ""),
        ("unknown", "proxi: {}", "proxi"),
        ("way", "same-node: sideways", "sideways"),
        ("outbound policy", "outbound-traffic-policy: registry-only", "registry-only"),
        ("resolver by name", "dns: {resolvers: [ns.example]}", "ns.example"),
        ("resolver at no address", "dns: {resolvers: [0.0.0.0]}", "nobody can be asked"),
        ("resolver at no port", "dns: {resolvers: ['192.0.2.53:0']}", "nobody can be asked"),
        ("probes", "probes: pods", "pods"),
        ("unit", "proxy: {connect-timeout: 5 bananas}", "connect-timeout"),
        ("zero", "proxy: {connect-timeout: 0s}", "proxy.connect-timeout"),
        ("negative", "drain: {release: -1s}", "drain.release"),
        ("two-bits", "steering: {marks: {captured: 0x3000, agent: 0x2000}}", "steering.marks"),
        ("same-bit", "steering: {marks: {captured: 0x2000, agent: 0x2000}}", "steering.marks"),
        ("main-table", "steering: {table: 254}", "steering.table"),
        ("host-bits", "exclusions: {exclude-outbound-cidrs: 192.0.2.1/24}", "192.0.2.0/24"),
        ("no-port", "exclusions: {exclude-inbound-ports: 0}", "exclusions.exclude-inbound-ports"),
        ("no-list", "exclusions: {allow-overrides: [exclude-everything]}", "exclude-everything"),
        ("all-lists", "exclusions: {allow-overrides: all}", "allow-overrides"),
        ("no-connections", "limits: {connections: 0}", "limits.connections"),
        ("no-connections-per-pod", "limits: {connections-per-pod: 0}", "limits.connections-per-pod"),
        ("negative-number", "limits: {connections: -1}", "connections"),
        ("no-buffers", "limits: {buffers: 0Mi}", "limits.buffers"),
        ("no-amount", "limits: {buffers: a lot}", "256Mi"),
        ("more-per-pod", "limits: {connections: 10, connections-per-pod: 11}", "limits.connections-per-pod"),
        ("larger-per-pod", "limits: {buffers: 1Mi, buffers-per-pod: 2Mi}", "limits.buffers-per-pod"),
        ("no-network", "dns: {allocation: {ipv4: 240.240.0.0}}", "dns.allocation.ipv4"),
        ("too-narrow", "dns: {allocation: {ipv4: 240.240.0.0/31}}", "a prefix of 8 to 30 bits"),
        ("too-long", "dns: {allocation: {ipv6: '2001:2::/96'}}", "a prefix of at most 64 bits"),
        ("loopback", "dns: {allocation: {ipv4: 127.0.0.0/16}}", "no host's own"),
        ("no-mode", "dns: {allocation: {mode: istio-v2}}", "istio-v2"),
        (
            "fixed-range",
            "dns: {allocation: {mode: istio-v1, ipv4: 240.0.0.0/16}}",
            "istio-v1 knows no other ranges",
        ),
        ("no-quarantine", "dns: {allocation: {quarantine: -1h}}", "dns.allocation.quarantine"),
        (
            "operator",
            "enrolment: {enablementSelectors: [{podSelector: {matchExpressions: [{key: a, operator: Near}]}}]}",
            "Near",
        ),
    ] {
        let file = File::new(name, text);
        let refusal = format!("{:#}", Config::read(&file.0).unwrap_err());
        assert!(refusal.contains(named) && refusal.contains(".yaml"), "{name}: {refusal}");
    }
}

#[test]
fn limits_fit_the_files_that_may_be_open() {
    let limits = |text: &str, files| Config::parse(text).unwrap().proxy(files).map(|proxy| proxy.limits);
    for (name, text, files, connections, per_pod) in [
        ("by default all", "{}", 20_000, 9_500, 9_500),
        ("fewer for a pod", "limits: {connections-per-pod: 100}", 20_000, 9_500, 100),
        ("fewer for the node", "limits: {connections: 500}", 20_000, 500, 500),
        ("more for a pod than there are", "limits: {connections-per-pod: 9000}", 1_024, 384, 384),
    ] {
        let limits = limits(text, files).unwrap();
        assert_eq!((limits.connections, limits.connections_per_pod), (connections, per_pod), "{name}");
    }
    let buffers = limits("limits: {buffers: 100Mi}", 1_024).unwrap();
    assert_eq!((buffers.buffer_bytes, buffers.buffer_bytes_per_pod), (100 << 20, 25 << 20));
    let refusal = limits("limits: {connections: 500}", 1_024).unwrap_err().to_string();
    assert!(
        refusal.contains("limits.connections: 500 are more than 384, for which the 1024 files"),
        "{refusal}"
    );
}
