//! The addresses of services that have only names. They are asked for when a connection needs them and remembered, so
//! that most connections wait for nobody:
//!
//! ```text
//! addresses ─► cache ─┬─► known ──────────────────────────► the addresses
//!                     └─► not known ─► flight ─► resolver ─► one question for all who wait
//! ```
//!
//! A flight that had an answer stays, to ask again before its time is over, as long as somebody uses it.

mod cache;
mod order;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use model::{Discovery, EndpointAddr, NamedEndpoint};
use resolver::{Family, Outcome, Question, Servers};
use route::less_loaded;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant as Deadline, sleep, sleep_until, timeout},
};

use self::{
    cache::{Addresses, Cache, Known, Refresh},
    order::in_turn,
};
use crate::{failure::Failure, lock::lock, seldom::Seldom};

/// Some thousands of names of both families.
const CAPACITY: usize = 8_192;
/// How long a connection waits for a newer answer where there is an older one (RFC 8767, 5).
const PATIENCE: Duration = Duration::from_millis(1_800);
/// How long the first addresses wait for more, of the other family or of other names (RFC 8305, 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The port of a service of which only the names of its endpoints are known.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) names: Vec<NamedEndpoint>,
    pub(crate) discovery: Discovery,
    /// Those that the client's pod has, the one that it dialled first.
    pub(crate) families: Vec<Family>,
}

/// What names stand for, as far as somebody has asked.
#[derive(Debug)]
pub(crate) struct Names(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    servers: Servers,
    state: Mutex<State>,
    /// Whose threads ask.
    runtime: Handle,
}

#[derive(Debug)]
struct State {
    cache: Cache,
    /// What is being asked now. Who waits sees the sender go.
    flights: HashMap<Question, watch::Sender<()>>,
    warning: Seldom,
}

/// A question that is being asked until this is dropped.
#[derive(Debug)]
struct Flight {
    inner: Arc<Inner>,
    question: Question,
    has_landed: bool,
}

// === impl Names ===

impl Names {
    /// `servers` are asked; where there are none, those of `/etc/resolv.conf`.
    ///
    /// # Panics
    /// Outside a tokio runtime, whose threads ask.
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self(Arc::new(Inner {
            servers: Servers::new(servers),
            state: Mutex::new(State {
                cache: Cache::new(CAPACITY),
                flights: HashMap::new(),
                warning: Seldom::default(),
            }),
            runtime: Handle::current(),
        }))
    }

    /// Where a connection may go, in the order in which it is to be tried; at least one address.
    pub(crate) async fn candidates(
        &self,
        named: &Named,
        load: impl Fn(EndpointAddr) -> usize,
        mut random: impl FnMut(usize) -> usize,
        limit: Duration,
    ) -> Result<Vec<EndpointAddr>, Failure> {
        let Named { names, discovery, families } = named;
        if *discovery == Discovery::DnsRoundRobin {
            let name = names.get(random(names.len().max(1))).map_or(&[][..], std::slice::from_ref);
            let mut all = self.addresses(name, families, limit).await?;
            // The first of each family: which of the two it is, the race decides.
            let mut seen = Vec::new();
            all.retain(|addr| {
                let family = Family::of(addr.ip());
                let is_first = !seen.contains(&family);
                seen.push(family);
                is_first
            });
            return Ok(all);
        }
        let all = self.addresses(names, families, limit).await?;
        let first = less_loaded(&all, |addr| load(*addr), random);
        Ok(in_turn(all, first.unwrap_or_default()))
    }

    /// All addresses of the names in these families, in that order. As soon as there is one, the rest has
    /// [`RESOLUTION_DELAY`] to come.
    async fn addresses(
        &self,
        names: &[NamedEndpoint],
        families: &[Family],
        limit: Duration,
    ) -> Result<Vec<EndpointAddr>, Failure> {
        let asked = families.iter().flat_map(|family| names.iter().map(move |name| (name, *family)));
        let mut waiting: FuturesUnordered<_> = asked
            .enumerate()
            .map(|(place, (name, family))| async move { (place, self.of_name(name, family).await) })
            .collect();
        let mut found: Vec<(usize, EndpointAddr)> = Vec::new();
        let (mut unknown, mut failed) = (None, None);
        let mut deadline = Deadline::now() + limit;
        loop {
            tokio::select! {
                biased;
                next = waiting.next() => match next {
                    Some((place, Ok(addresses))) => {
                        if found.is_empty() && !addresses.is_empty() {
                            deadline = deadline.min(Deadline::now() + RESOLUTION_DELAY);
                        }
                        found.extend(addresses.into_iter().map(|addr| (place, addr)));
                    }
                    Some((_, Err(failure @ Failure::NameUnknown { .. }))) => unknown = unknown.or(Some(failure)),
                    Some((_, Err(failure))) => failed = failed.or(Some(failure)),
                    None => break,
                },
                () = sleep_until(deadline) => break,
            }
        }
        drop(waiting);
        if found.is_empty() {
            let host = || names.first().map(|name| Arc::clone(&name.host)).unwrap_or_default();
            return Err(failed.or(unknown).unwrap_or_else(|| Failure::ResolverFailed {
                host: host(),
                because: format!("{} did not answer within {limit:?}", self.0.servers.names()).into(),
            }));
        }
        // In which order the answers came says nothing.
        found.sort_by_key(|(place, _)| *place);
        let mut seen = HashSet::new();
        Ok(found.into_iter().map(|(_, addr)| addr).filter(|addr| seen.insert(*addr)).collect())
    }

    async fn of_name(&self, name: &NamedEndpoint, family: Family) -> Result<Vec<EndpointAddr>, Failure> {
        let addr = |ip| EndpointAddr(SocketAddr::new(ip, name.port));
        if let Ok(ip) = name.host.parse::<IpAddr>() {
            let is_right = Family::of(ip) == family;
            let wrong = || Failure::NoFamily { host: Arc::clone(&name.host) };
            return is_right.then(|| vec![addr(ip.to_canonical())]).ok_or_else(wrong);
        }
        let question = Question { host: Arc::clone(&name.host), family };
        let ips = self
            .known(&question)
            .await
            .map_err(|because| Failure::ResolverFailed { host: Arc::clone(&name.host), because })?;
        if ips.is_empty() {
            return Err(Failure::NameUnknown {
                host: Arc::clone(&name.host),
                servers: self.0.servers.names(),
            });
        }
        Ok(ips.iter().copied().map(addr).collect())
    }

    /// What is known, or becomes known by asking. It may take as long as the resolver does.
    async fn known(&self, question: &Question) -> Result<Addresses, Arc<str>> {
        loop {
            let (last, flight) = {
                let mut state = lock(&self.0.state);
                match state.cache.look(question, Instant::now()) {
                    Known::Answer(ips) => return Ok(ips),
                    Known::Nothing { last } => (last, state.ask(&self.0, question)),
                    Known::Failure { because, last, is_due } => {
                        // The one for whom it is asked again waits. Others need not: it hardly comes out otherwise.
                        let is_due = is_due && !state.flights.contains_key(question);
                        let flight = is_due.then(|| state.ask(&self.0, question));
                        match (last, flight) {
                            (Some(ips), _) => return Ok(ips),
                            (None, Some(flight)) => (None, flight),
                            (None, None) => return Err(because),
                        }
                    }
                }
            };
            match last {
                None => landed(flight).await,
                Some(ips) if timeout(PATIENCE, landed(flight)).await.is_err() => return Ok(ips),
                Some(_) => {}
            }
        }
    }
}

async fn landed(mut flight: watch::Receiver<()>) {
    // Nothing is sent: it ends when the sender goes.
    drop(flight.changed().await);
}

// === impl State ===

impl State {
    /// Has it asked, unless it is being asked already.
    fn ask(&mut self, inner: &Arc<Inner>, question: &Question) -> watch::Receiver<()> {
        if let Some(flight) = self.flights.get(question) {
            return flight.subscribe();
        }
        let flight = self.depart(inner, question);
        inner.runtime.spawn(keep(flight));
        self.flights.entry(question.clone()).or_default().subscribe()
    }

    fn depart(&mut self, inner: &Arc<Inner>, question: &Question) -> Flight {
        self.flights.insert(question.clone(), watch::Sender::default());
        Flight { inner: Arc::clone(inner), question: question.clone(), has_landed: false }
    }
}

/// Asks, and asks again for as long as the answers are used.
async fn keep(mut flight: Flight) {
    let (inner, question) = (Arc::clone(&flight.inner), flight.question.clone());
    loop {
        let outcome = inner.servers.ask(&question).await;
        let Some(refresh) = flight.land(outcome) else { return };
        sleep(refresh.after).await;
        let mut state = lock(&inner.state);
        if !state.cache.is_wanted(&question, refresh) || state.flights.contains_key(&question) {
            return;
        }
        flight = state.depart(&inner, &question);
    }
}

// === impl Flight ===

impl Flight {
    fn land(mut self, outcome: Outcome) -> Option<Refresh> {
        self.has_landed = true;
        let (now, host) = (Instant::now(), &self.question.host);
        let mut state = lock(&self.inner.state);
        if let Outcome::Failed(because) = &outcome
            && let Some(times) = state.warning.happened(now)
        {
            tracing::warn!(%host, %because, times, "Cannot resolve a name; its last addresses stay in use");
        }
        state.cache.learn(&self.question, outcome, now)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.state);
        if !self.has_landed {
            let outcome = Outcome::Failed("the question was broken off".into());
            state.cache.learn(&self.question, outcome, Instant::now());
        }
        state.flights.remove(&self.question);
    }
}

#[cfg(test)]
mod tests;
