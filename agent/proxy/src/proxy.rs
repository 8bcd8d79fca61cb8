//! What callers hold: pods are opened, released and closed, connections are shown and drained.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use model::{ObjectName, PodUid, Snapshot};
use netns::Netns;
use nix::errno::Errno;
use socket2::Socket;
use tokio::{
    net::{TcpListener, UnixStream},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    ConnectionRow, Direction, Error, ProxyConfig, QueryOutcome, Reason, Refused,
    accept::start,
    canary,
    dns::{self, Sockets, over_udp},
    pods::OpenPod,
    shared::Shared,
    socket,
};

/// The proxy of a node. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Proxy(Arc<Shared>);

/// A pod to listen in.
#[derive(Clone, Debug)]
pub struct PodNetns {
    pub uid: PodUid,
    pub name: ObjectName,
    pub netns: Arc<Netns>,
    /// What the routes that turn its connections give as source: the pod's primary address of each family. A
    /// client at any other address had bound that itself, and keeps it when it is forwarded.
    pub addresses: Vec<IpAddr>,
}

/// The listeners of a pod, for the map that steers to them; `None` for a family that the pod does not have.
///
/// These are duplicates: as long as they are held the listeners stay open, whatever the proxy does. Drop them
/// as soon as the map has them.
#[derive(Debug)]
pub struct Listeners {
    pub outbound_v4: Option<OwnedFd>,
    pub inbound_v4: Option<OwnedFd>,
    pub outbound_v6: Option<OwnedFd>,
    pub inbound_v6: Option<OwnedFd>,
    /// Datagram sockets for DNS queries.
    pub dns_v4: Option<OwnedFd>,
    pub dns_v6: Option<OwnedFd>,
}

/// What became of the connections in a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    pub finished: usize,
    /// Those that outlasted the deadline.
    pub reset: usize,
}

/// The ports that the listeners have unless the application has them; the ones that Istio uses.
const OUTBOUND_PORT: u16 = 15_001;
const INBOUND_PORT: u16 = 15_006;

/// One family's listeners.
struct Ears {
    outbound: TcpListener,
    inbound: TcpListener,
    dns: Sockets,
}

// === impl Proxy ===

impl Proxy {
    /// Fails where the system gives it no threads.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        config: ProxyConfig,
        node: Arc<str>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
    ) -> io::Result<Self> {
        Ok(Self(Arc::new(Shared::new(config, node, snapshot)?)))
    }

    /// Listens in the pod and serves what is steered there.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO and time.
    pub fn open(&self, pod: PodNetns) -> Result<Listeners, Error> {
        let PodNetns { uid, name, netns, addresses } = pod;
        let v4 = Ears::open(&name, &netns, Ipv4Addr::LOCALHOST.into())?;
        let v6 = Ears::open(&name, &netns, Ipv6Addr::LOCALHOST.into())?;
        if v4.is_none() && v6.is_none() {
            return Err(Error::NoFamily { pod: name });
        }
        let both = || [&v4, &v6].into_iter().flatten();
        let bound =
            both().flat_map(|e| [e.outbound.local_addr(), e.inbound.local_addr()]).flatten().collect();
        let listeners = Listeners::duplicate(v4.as_ref(), v6.as_ref())
            .map_err(|source| Error::Duplicate { pod: name.clone(), source })?;

        let pod = Arc::new(OpenPod::new(uid, name, netns, addresses, bound, self.0.accounts()));
        if !self.0.pods.insert(&pod) {
            return Err(Error::AlreadyOpen { pod: pod.name.clone() });
        }
        // After it was listed: `drain` sets this first and then stops all that are listed.
        if self.0.draining.load(Ordering::SeqCst) {
            self.0.pods.remove(&pod.uid);
            return Err(Error::Draining { pod: pod.name.clone() });
        }
        for Ears { outbound, inbound, dns } in [v4, v6].into_iter().flatten() {
            over_udp::start(&self.0, &pod, dns);
            for (listener, direction) in [(outbound, Direction::Outbound), (inbound, Direction::Inbound)] {
                start(&self.0, &pod, listener, direction);
            }
        }
        Ok(listeners)
    }

    /// The pod is no longer captured: nothing of other pods is delivered in it any more. Its listeners go on
    /// accepting what is still steered to them.
    pub fn release(&self, uid: &PodUid) {
        self.set_captured(uid, false);
    }

    /// Undoes [`Proxy::release`].
    pub fn recapture(&self, uid: &PodUid) {
        self.set_captured(uid, true);
    }

    /// How many connections need the namespace of this pod: they were accepted in it or are delivered in it.
    pub fn open_connections(&self, uid: &PodUid) -> usize {
        self.0.pods.get(uid).map_or(0, |pod| pod.activity().borrow().live)
    }

    /// Waits until no connection has needed the pod, and none has begun, for `linger`; at once if the pod is
    /// not open. The time is also for the last segments of connections that have ended for us, which the
    /// kernel is still sending.
    pub async fn until_quiet(&self, uid: &PodUid, linger: Duration) {
        let Some(pod) = self.0.pods.get(uid) else { return };
        let mut activity = pod.activity();
        drop(pod);
        loop {
            // Fails when the pod was closed meanwhile.
            if activity.wait_for(|activity| activity.live == 0).await.is_err() {
                return;
            }
            match timeout(linger, activity.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Stops listening in the pod and resets the connections that still need it, with the reason
    /// [`Reason::Released`]. On return nothing of the proxy is left in its namespace.
    ///
    /// # Cancel safety
    /// Dropped half-way, the listeners go all the same, but connections may stay until they end by themselves.
    pub async fn close(&self, uid: &PodUid) {
        let Some(pod) = self.0.pods.remove(uid) else { return };
        pod.set_captured(false);
        stop(&pod).await;
        self.0.connections.end(Reason::Released, |live| live.involves(uid));
        let mut activity = pod.activity();
        // The sender is in `pod`, so the wait cannot fail.
        drop(activity.wait_for(|activity| activity.live == 0).await);
    }

    /// The connections of this moment, the oldest first.
    pub fn connections(&self) -> Vec<ConnectionRow> {
        self.0.connections.rows()
    }

    pub fn connection_count(&self) -> usize {
        self.0.connections.count()
    }

    /// How many connections have ended, by reason.
    pub fn reasons(&self) -> Vec<(Reason, u64)> {
        self.0.reasons.read()
    }

    /// What became of the pods' DNS queries, by outcome.
    pub fn queries(&self) -> Vec<(QueryOutcome, u64)> {
        self.0.queries.read()
    }

    /// Answers each byte that comes from the canary as long as the proxy can serve connections.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO and time.
    pub fn answer_canary(&self, canary: UnixStream) {
        tokio::spawn(canary::answer(Arc::clone(&self.0), canary));
    }

    /// The pods of which connections were reset for want of room, and why.
    pub fn refused(&self) -> Vec<Refused> {
        self.0.pods.all().iter().filter_map(|pod| pod.refusals.read(&pod.uid, &pod.name)).collect()
    }

    /// Waits until no connection has begun for so long.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn until_none_begins(&self, linger: Duration) {
        let begun = || -> u64 { self.0.pods.all().iter().map(|pod| pod.activity().borrow().begun()).sum() };
        let mut known = begun();
        loop {
            sleep(linger).await;
            match begun() {
                now if now == known => return,
                now => known = now,
            }
        }
    }

    /// Closes all listeners; connections go on. No pod can be opened afterwards.
    pub async fn stop_accepting(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
        let pods = self.0.pods.all();
        pods.iter().for_each(|pod| pod.stop.cancel());
        for pod in &pods {
            stop(pod).await;
        }
    }

    /// Stops accepting everywhere, lets connections end until the deadline, and resets the rest. No pod can be
    /// opened afterwards.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.stop_accepting().await;
        let connections = &self.0.connections;
        let all = connections.count();
        let reset = match timeout(deadline, connections.none()).await {
            Ok(()) => 0,
            Err(_) => {
                let left = connections.count();
                connections.end(Reason::DrainDeadline, |_| true);
                connections.none().await;
                left
            }
        };
        Drained { finished: all.saturating_sub(reset), reset }
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    fn set_captured(&self, uid: &PodUid, captured: bool) {
        if let Some(pod) = self.0.pods.get(uid) {
            pod.set_captured(captured);
        }
    }
}

/// Stops accepting in the pod; on return its listeners are closed.
async fn stop(pod: &OpenPod) {
    pod.stop.cancel();
    pod.accept_loops.close();
    pod.accept_loops.wait().await;
}

// === impl Ears ===

impl Ears {
    /// `None` where the namespace does not have this family.
    fn open(pod: &ObjectName, netns: &Netns, ip: IpAddr) -> Result<Option<Self>, Error> {
        let listen = |addr: SocketAddr, listen: fn(SocketAddr) -> io::Result<Socket>| {
            Self::within(pod, netns, addr, || {
                listen(addr).and_then(|socket| TcpListener::from_std(socket.into()))
            })
        };
        let outbound = listen(SocketAddr::new(ip, OUTBOUND_PORT), socket::outbound_listener)?;
        let inbound = listen(SocketAddr::new(ip, INBOUND_PORT), socket::inbound_listener)?;
        let dns = Self::within(pod, netns, SocketAddr::new(ip, dns::PORT), || Sockets::open(ip))?;
        let all = outbound.zip(inbound).zip(dns);
        Ok(all.map(|((outbound, inbound), dns)| Self { outbound, inbound, dns }))
    }

    fn within<T>(
        pod: &ObjectName,
        netns: &Netns,
        addr: SocketAddr,
        open: impl FnOnce() -> io::Result<T>,
    ) -> Result<Option<T>, Error> {
        match netns.run(open).map_err(|source| Error::Netns { pod: pod.clone(), source })? {
            Ok(opened) => Ok(Some(opened)),
            Err(error) if is_missing(addr.ip(), &error) => Ok(None),
            Err(source) => Err(Error::Listen { pod: pod.clone(), addr, source }),
        }
    }
}

/// Whether the error says that the namespace lacks the family. Without 127.0.0.1 `lo` is down, which is a
/// fault; without ::1 IPv6 may just be switched off.
fn is_missing(ip: IpAddr, error: &io::Error) -> bool {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAFNOSUPPORT) => true,
        Some(Errno::EADDRNOTAVAIL) => ip.is_ipv6(),
        _ => false,
    }
}

// === impl Listeners ===

impl Listeners {
    fn duplicate(v4: Option<&Ears>, v6: Option<&Ears>) -> io::Result<Self> {
        let duplicate = |listener: Option<&TcpListener>| {
            listener.map(|listener| listener.as_fd().try_clone_to_owned()).transpose()
        };
        Ok(Self {
            outbound_v4: duplicate(v4.map(|ears| &ears.outbound))?,
            inbound_v4: duplicate(v4.map(|ears| &ears.inbound))?,
            outbound_v6: duplicate(v6.map(|ears| &ears.outbound))?,
            inbound_v6: duplicate(v6.map(|ears| &ears.inbound))?,
            dns_v4: v4.map(|ears| ears.dns.duplicate()).transpose()?,
            dns_v6: v6.map(|ears| ears.dns.duplicate()).transpose()?,
        })
    }
}
