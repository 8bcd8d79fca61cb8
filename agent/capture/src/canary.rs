//! The self-test: all programs are loaded, a namespace made for the purpose is captured with its interfaces guarded,
//! and a connection through it must arrive at a listener with its original destination. It uses programs, maps and
//! pins of its own, so it can run at any time, beside an agent or without one, and leaves nothing.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use abi::Slot;
use model::{Exclusions, ObjectName, OutboundPolicy, PodUid, WhenAgentDown};
use netns::Netns;
use nix::sys::{
    socket::{
        setsockopt,
        sockopt::{IpTransparent, ReceiveTimeout},
    },
    time::{TimeVal, TimeValLike},
};

use crate::{
    Capture, Config, Error, Figures, Listen, Listener, Pins, PodSpec, Programs, Pulse, Steering, cgroup,
    cleanup::cleanup,
};

/// RFC 5737: addresses that belong to nobody.
const POD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DIALLED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 80);

/// Over `lo` an answer takes microseconds; a node that is starting all its pods may not look for seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the canary's agent counts as alive, so that a slow enrolment is not taken for a dead agent.
const ALIVE: Duration = Duration::from_secs(300);

/// Why the canary died.
#[derive(Debug, thiserror::Error)]
pub enum Dead {
    #[error("cgroup v2 is not mounted")]
    NoCgroup,
    #[error(transparent)]
    Capture(#[from] Error),
    #[error("cannot {op} in the canary's namespace: {reason}")]
    Setup { op: &'static str, reason: String },
    #[error("the captured connection did not get through: {0}")]
    Connect(io::Error),
    #[error("the connection arrived as one to {arrived}, not to {DIALLED}")]
    Misdirected { arrived: SocketAddr },
}

/// What the canary found.
#[derive(Clone, Debug)]
pub struct Song {
    /// How long its connection took.
    pub connect: Duration,
    pub programs: Vec<Figures>,
}

/// Captures a canary and dials through it. Of a program that the kernel refuses, the verifier's log is left in
/// `verifier_logs`.
pub async fn sing(steering: Steering, verifier_logs: &Path) -> Result<Song, Dead> {
    let (name, config) = apart(steering, verifier_logs)?;
    let sung = capture_and_dial(&config).await;
    cleanup(&config, &name).await?;
    sung
}

/// Only loads the programs.
pub async fn try_programs(steering: Steering, verifier_logs: &Path) -> Result<Vec<Figures>, Dead> {
    let (name, config) = apart(steering, verifier_logs)?;
    let tried = Programs::try_all(&config);
    cleanup(&config, &name).await?;
    Ok(tried?)
}

/// As for a node that nobody else is.
fn apart(steering: Steering, verifier_logs: &Path) -> Result<(String, Config), Dead> {
    let name = format!("check-{}", std::process::id());
    let config = Config {
        pins: Pins::of_node(&name),
        journal: std::env::temp_dir().join(format!("millstream-{name}")),
        verifier_logs: verifier_logs.to_owned(),
        cgroup: cgroup::mount().ok_or(Dead::NoCgroup)?,
        steering,
    };
    Ok((name, config))
}

async fn capture_and_dial(config: &Config) -> Result<Song, Dead> {
    let netns = Arc::new(Netns::create().map_err(Error::from)?);
    furnish(&netns).await?;
    let programs = Programs::try_all(config)?;
    let capture = Capture::new(config.clone(), Programs::attach(config)?)?;
    Pulse::open(&config.pins)?.beat(ALIVE)?;
    let spec = PodSpec {
        uid: PodUid::new("canary"),
        name: ObjectName::new("millstream", "canary"),
        ips: vec![POD.into()],
        netns_path: "/proc/self/ns/net".into(),
        netns,
        when_agent_down: WhenAgentDown::Closed,
        captures_dns: false,
        outbound_policy: OutboundPolicy::AllowAny,
        exclusions: Exclusions::default(),
    };
    let perch = Perch::default();
    capture.enrol(&spec, &perch).await?;
    let dialled = dial(&spec.netns, &perch);
    capture.restore(&spec.uid, &perch).await?;
    Ok(Song { connect: dialled?, programs })
}

fn dial(netns: &Netns, perch: &Perch) -> Result<Duration, Dead> {
    let start = Instant::now();
    let client = netns
        .run(|| TcpStream::connect_timeout(&DIALLED, PATIENCE))
        .map_err(Error::from)?
        .map_err(Dead::Connect)?;
    let listener = perch.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let listener =
        listener.ok_or(Dead::Setup { op: "listen", reason: "no listener was asked for".to_owned() })?;
    // The handshake is over at the client's side; on a busy machine its last segment may still be on the way here.
    let patience = TimeVal::milliseconds(i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&listener, ReceiveTimeout, &patience).map_err(|e| Dead::Connect(e.into()))?;
    let (server, _) = listener.accept().map_err(Dead::Connect)?;
    drop(client);
    let arrived = server.local_addr().map_err(Dead::Connect)?;
    if arrived == DIALLED { Ok(start.elapsed()) } else { Err(Dead::Misdirected { arrived }) }
}

/// Gives it an address, and a pair of interfaces for the guard to hold.
async fn furnish(netns: &Netns) -> Result<(), Dead> {
    let failed =
        |op: &'static str| move |e: &dyn std::error::Error| Dead::Setup { op, reason: e.to_string() };
    let (connection, handle, _) =
        netns.run(rtnetlink::new_connection).map_err(Error::from)?.map_err(|e| failed("open netlink")(&e))?;
    let connection = tokio::spawn(connection);
    let up = rtnetlink::LinkUnspec::new_with_index(abi::LOOPBACK_IFINDEX).up();
    handle.link().set(up.build()).execute().await.map_err(|e| failed("bring lo up")(&e))?;
    handle
        .address()
        .add(abi::LOOPBACK_IFINDEX, POD.into(), 32)
        .execute()
        .await
        .map_err(|e| failed("add an address")(&e))?;
    let wire = rtnetlink::LinkVeth::new("canary0", "canary1").build();
    handle.link().add(wire).execute().await.map_err(|e| failed("add a veth pair")(&e))?;
    connection.abort();
    Ok(())
}

/// One plain listener, where the agent would have the proxy's.
#[derive(Debug, Default)]
struct Perch(Mutex<Option<TcpListener>>);

impl Listen for Perch {
    fn listen(&self, pod: &PodSpec) -> Result<Vec<Listener>, String> {
        let listener = pod
            .netns
            .run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        setsockopt(&listener, IpTransparent, &true).map_err(|e| e.to_string())?;
        let socket = OwnedFd::from(listener.try_clone().map_err(|e| e.to_string())?);
        *self.0.lock().map_err(|e| e.to_string())? = Some(listener);
        Ok(vec![Listener { slot: Slot::OutboundV4, socket }])
    }

    async fn close(&self, _: &PodUid) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }
}
