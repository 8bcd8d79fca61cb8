//! Explains one connection: would it be captured, and where would it go? Every steering step names the live map
//! entry, rule or route that decides it, and the decision is that of the eBPF programs: the same code.

use std::{net::SocketAddr, sync::Arc};

use abi::{PodEntry, Slot};
use capture::{
    Netlink, Older, Pins, Steering,
    change::look,
    desired::{Actual, Family},
    journal::Journal,
    maps::Maps,
};
use model::{ExistingConnections, ObjectName, OriginalDst, Pod, PodUid, Snapshot, WhenAgentDown, canonical};
use netns::Netns;
use route::Resolution;
use verdict::connect;

use crate::{
    api::{Verdict, Why, WhyStep},
    older,
    pods::Phase,
    run_dir::{AgentFile, RunDir},
};

/// What the kernel holds for a pod at this moment.
#[derive(Debug)]
pub struct Kernel {
    cookie: u64,
    entry: Option<WhenAgentDown>,
    listeners: Vec<Slot>,
    steered: bool,
    /// Every interface of the pod is guarded.
    guarded: bool,
    /// With `own` from the map.
    actual: Actual,
    steering: Steering,
    /// Connections that are older than the capture; `None` where that cannot be told.
    older: Option<usize>,
}

/// All that the explanation rests on.
#[derive(Debug)]
pub struct Facts<'a> {
    pub node: &'a str,
    pub snapshot: &'a Snapshot,
    pub pod: &'a Arc<Pod>,
    pub destination: SocketAddr,
    pub phase: Option<&'a Phase>,
    pub kernel: Option<Kernel>,
}

// === impl Kernel ===

impl Kernel {
    /// Looks into the maps and into the pod's namespace. `None` for a pod that nothing was done to.
    pub async fn look(
        run_dir: &RunDir,
        agent: &AgentFile,
        uid: &PodUid,
    ) -> Result<Option<Self>, capture::Error> {
        let Some(entry) = Journal::new(&run_dir.journal()).read(uid)? else {
            return Ok(None);
        };
        let pins = Pins::of_node(&agent.node);
        let maps = Maps::open(&pins)?;
        let netns = Arc::new(Netns::open(&entry.netns)?);
        let older = Older::of(netns.clone(), &maps, entry.steering.marks).ok();
        let found = look(&netns, &Netlink::open(&netns)?, &entry.steering).await?;
        let cookie = entry.netns_cookie;
        let listeners = maps.listeners()?.into_iter().filter(|(c, _)| *c == cookie).map(|(_, slot)| slot);
        Ok(Some(Self {
            cookie,
            entry: maps.pod(cookie)?,
            listeners: listeners.collect(),
            steered: pins.is_steered(cookie),
            guarded: is_guarded(&pins, cookie, &found),
            actual: Actual { own: maps.addresses(cookie)?.into_iter().collect(), ..found },
            steering: entry.steering,
            older: match older {
                Some(older) => older::count(older).await,
                None => None,
            },
        }))
    }
}

fn is_guarded(pins: &Pins, cookie: u64, found: &Actual) -> bool {
    let guarded = pins.guarded(cookie);
    found.interfaces.keys().all(|ifindex| guarded.contains(ifindex))
}

/// The kernel's facts about one `connect(2)`, for the programs' own decision.
struct Call<'a> {
    kernel: &'a Kernel,
    destination: SocketAddr,
}

impl Call<'_> {
    fn octets(&self) -> [u8; 16] {
        match self.destination.ip() {
            std::net::IpAddr::V4(v4) => abi::mapped(v4.octets()),
            std::net::IpAddr::V6(v6) => v6.octets(),
        }
    }

    fn slot(&self) -> Slot {
        if self.destination.is_ipv4() { Slot::OutboundV4 } else { Slot::OutboundV6 }
    }
}

impl connect::Facts for Call<'_> {
    fn pod(&self) -> Option<PodEntry> {
        let when = self.kernel.entry?;
        let open_when_agent_down = u8::from(when == WhenAgentDown::Open);
        Some(PodEntry { open_when_agent_down, reserved: [0; 7] })
    }

    fn to_loopback(&self) -> bool {
        verdict::is_loopback(&self.octets())
    }

    fn to_own_address(&self) -> bool {
        self.kernel.actual.own.contains(&self.destination.ip())
    }

    fn to_link_local(&self) -> bool {
        verdict::is_link_local_v6(&self.octets())
    }

    fn by_agent(&self) -> bool {
        false
    }

    fn listening(&self) -> bool {
        self.kernel.listeners.contains(&self.slot())
    }
}

/// Collects steps.
struct Story(Vec<WhyStep>);

impl Story {
    fn tell(&mut self, stage: &str, decision: impl Into<String>, evidence: impl Into<String>) {
        self.0.push(WhyStep {
            stage: stage.to_owned(),
            decision: decision.into(),
            evidence: evidence.into(),
        });
    }
}

pub fn explain(facts: &Facts<'_>) -> Why {
    let Facts { pod, destination, .. } = facts;
    let destination = canonical(*destination);
    let mut story = Story(Vec::new());
    story.tell("enrol", enrolment(facts), pod.enrolment.to_string());
    let (verdict, summary) = match &facts.kernel {
        None => (Verdict::Direct, "goes direct: nothing was done to this pod".to_owned()),
        Some(kernel) => {
            tell_of_older(&mut story, facts, kernel);
            steer(&mut story, facts, kernel, destination)
        }
    };
    Why { pod: pod.name.clone(), destination, verdict, summary, steps: story.0 }
}

fn enrolment(facts: &Facts<'_>) -> String {
    match facts.phase {
        Some(Phase::Captured) => "captured".to_owned(),
        Some(Phase::Releasing) => "being released".to_owned(),
        Some(Phase::Failed { reason }) => format!("should be captured, but: {reason}"),
        None if facts.pod.is_enrolled() => "to be captured".to_owned(),
        None => "not captured".to_owned(),
    }
}

/// Not of the connection asked about, but of those that the answer does not hold for.
fn tell_of_older(story: &mut Story, facts: &Facts<'_>, kernel: &Kernel) {
    let Kernel { entry: Some(_), older: Some(older @ 1..), .. } = kernel else {
        return;
    };
    let (connections, are) = if *older == 1 { ("connection", "is") } else { ("connections", "are") };
    let decision = format!("{older} {connections} {are} older and not captured");
    let evidence = match facts.pod.existing_connections {
        ExistingConnections::Keep => {
            "kept until the end; millstream.dev/existing-connections: reset ends them"
        }
        ExistingConnections::Reset => "not reset: dialled while no agent ran, or the agent's log says why",
    };
    story.tell("older", decision, evidence);
}

/// connect → turn → steer, as the kernel would; then what the proxy would do.
fn steer(
    story: &mut Story,
    facts: &Facts<'_>,
    kernel: &Kernel,
    destination: SocketAddr,
) -> (Verdict, String) {
    let Kernel { cookie, entry, steering, .. } = kernel;
    let call = Call { kernel, destination };
    let entry = entry.map_or("no entry".to_owned(), |when| format!("when agent down: {when}"));
    let pods = format!("PODS[{cookie:#x}] {entry}");
    match connect::decide(&call) {
        connect::Verdict::NotCaptured => {
            story.tell("connect", "left alone", pods);
            (Verdict::Direct, "goes direct: nothing new is captured".to_owned())
        }
        connect::Verdict::Pass(counter) => {
            story.tell("connect", counter.name(), pass_evidence(kernel, destination));
            (Verdict::Direct, format!("goes direct: {}", counter.name()))
        }
        connect::Verdict::Refuse => {
            let slot = call.slot().name();
            story.tell(
                "connect",
                "refused with ECONNREFUSED",
                format!("{pods}; LISTENERS[{slot}] empty: no agent"),
            );
            (Verdict::Refused, "refused: no agent is running, and the pod is closed meanwhile".to_owned())
        }
        connect::Verdict::Capture => {
            let slot = call.slot().name();
            let mark = steering.marks.captured;
            story.tell("connect", format!("marked {mark:#x}"), format!("{pods}; LISTENERS[{slot}] open"));
            if let Some(gap) = turn(story, kernel, destination) {
                return stray(story, kernel, &gap);
            }
            if !kernel.steered {
                story.tell("steer", "nobody takes it", "no sk_lookup link is pinned for the namespace");
                return (Verdict::Refused, "lost: the pod's sk_lookup program is gone".to_owned());
            }
            story.tell("steer", "to the outbound listener", format!("sk_lookup link pinned; slot {slot}"));
            proxied(story, facts, destination)
        }
    }
}

fn pass_evidence(kernel: &Kernel, destination: SocketAddr) -> String {
    if kernel.actual.own.contains(&destination.ip()) {
        format!("ADDRESSES[{:#x}, {}]", kernel.cookie, destination.ip())
    } else {
        format!("{} is not steered", destination.ip())
    }
}

/// The rule and the route that bring the marked SYN back over lo; what is missing, if anything.
fn turn(story: &mut Story, kernel: &Kernel, destination: SocketAddr) -> Option<String> {
    let Kernel { actual, steering, .. } = kernel;
    let family = Family::of(destination.ip());
    let mark = steering.marks.captured;
    let rule =
        format!("rule {}: fwmark {mark:#x}/{mark:#x} lookup {}", steering.rule_priority, steering.table);
    if !actual.rules.contains(&family) {
        story.tell("turn", "not turned", format!("missing {rule}"));
        return Some(
            "its namespace lacks the rule; the agent puts it back when an address changes".to_owned(),
        );
    }
    match actual.routes.get(&family) {
        Some(source) => {
            let source = source.map_or(String::new(), |ip| format!(" src {ip}"));
            story.tell("turn", "over lo", format!("{rule}; local default dev lo{source}"));
            None
        }
        None => {
            story.tell("turn", "not turned", format!("{rule}, but table {} is empty", steering.table));
            Some("its namespace lacks the route".to_owned())
        }
    }
}

/// A marked packet that no rule turns is about to leave by an interface.
fn stray(story: &mut Story, kernel: &Kernel, gap: &str) -> (Verdict, String) {
    if kernel.guarded {
        story.tell("guard", "does not leave", "a guard link is pinned for every interface");
        return (Verdict::Refused, format!("is lost: {gap}"));
    }
    story.tell("guard", "leaves", "not every interface has a guard");
    (Verdict::Direct, format!("gets round the proxy: {gap}"))
}

/// resolve → select → deliver | forward
fn proxied(story: &mut Story, facts: &Facts<'_>, destination: SocketAddr) -> (Verdict, String) {
    let Facts { snapshot, node, .. } = facts;
    let version = snapshot.version;
    let way = |uid: Option<&PodUid>| match uid.and_then(|uid| snapshot.pod(uid)) {
        Some(pod) if pod.is_captured_by(node) => {
            format!("{}, delivered in its namespace", pod.name)
        }
        Some(pod) => format!("{}, forwarded", pod.name),
        None => "forwarded".to_owned(),
    };
    match route::resolve(snapshot, node, OriginalDst(destination)) {
        Resolution::Service { service, port, candidates } => {
            let count = candidates.iter().count();
            story.tell(
                "resolve",
                format!("service {} port {port}", service.name),
                format!("snapshot {version}: {count} endpoint{}", if count == 1 { "" } else { "s" }),
            );
            for endpoint in candidates.iter() {
                story.tell("select", format!("perhaps {}", endpoint.addr), way(endpoint.pod.as_ref()));
            }
            (Verdict::Proxied, format!("goes through the proxy to service {}", service.name))
        }
        Resolution::Pod { pod, endpoint, .. } => {
            story.tell(
                "resolve",
                format!("pod {}", pod.name),
                format!("snapshot {version}: address of the pod"),
            );
            story.tell("select", endpoint.to_string(), way(Some(&pod.uid)));
            (Verdict::Proxied, format!("goes through the proxy to pod {}", pod.name))
        }
        Resolution::Passthrough { endpoint } => {
            story.tell(
                "resolve",
                "passthrough",
                format!("snapshot {version}: nobody known has {}", endpoint.ip()),
            );
            (Verdict::Proxied, format!("goes through the proxy to {endpoint}, which is outside the mesh"))
        }
        Resolution::Refuse { service, port, because } => {
            story.tell(
                "resolve",
                "refused",
                format!("snapshot {version}: service {} port {port}", service.name),
            );
            (Verdict::Refused, format!("is reset by the proxy: {because}"))
        }
    }
}

/// `IP:PORT`, `[IPv6]:PORT` or `NAMESPACE/SERVICE:PORT`.
pub fn parse_destination(snapshot: &Snapshot, text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let usage = || format!("{text:?} is no destination: give IP:PORT, [IPv6]:PORT or NAMESPACE/SERVICE:PORT");
    let (name, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let (namespace, name) = name.split_once('/').ok_or_else(usage)?;
    let port = port.parse().map_err(|_| usage())?;
    let service = snapshot
        .service(&ObjectName::new(namespace, name))
        .ok_or_else(|| format!("no service {namespace}/{name} is known"))?;
    let vip = service.vips.first().ok_or_else(|| {
        format!("service {namespace}/{name} is headless: ask about the address of one of its pods")
    })?;
    Ok(SocketAddr::new(*vip, port))
}

/// `NAMESPACE/NAME`, or just `NAME` where that is unique.
pub fn find_pod<'a>(snapshot: &'a Snapshot, text: &str) -> Result<&'a Arc<Pod>, String> {
    let pods = snapshot.pods();
    let fits = |pod: &&&Arc<Pod>| pod.name.to_string() == text || *pod.name.name == *text;
    let found: Vec<_> = pods.iter().filter(fits).collect();
    match found[..] {
        [pod] => Ok(pod),
        [] => Err(format!("no pod {text} is known: `millstream pods` lists those of this node")),
        _ => Err(format!("several pods are called {text}: say NAMESPACE/{text}")),
    }
}
