//! PURE. What else is in a pod's namespace, where our own rule has its place among it, and what cannot go together.

use std::{fmt, net::SocketAddr};

use crate::{Family, Steering};

/// The kernel's own table, of addresses that are delivered here.
const TABLE_LOCAL: u32 = 255;

/// What else the namespace has that could meet what is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// Every rule, ours too.
    pub rules: Vec<Rule>,
    /// Families that have routes in our table which are not ours.
    pub routes: Vec<Family>,
    /// Sockets of the pod's own that have a mark, as far as they matter.
    pub sockets: Vec<MarkedSocket>,
    /// Programs in a place where they decide before ours do, or after.
    pub programs: Vec<Stranger>,
}

/// A policy routing rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub family: Family,
    pub priority: u32,
    /// `not`: for what the selector does not fit.
    pub inverted: bool,
    pub mark: Option<Mark>,
    pub action: Action,
    /// As `ip rule` says it.
    pub text: String,
}

/// `fwmark value/mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub value: u32,
    pub mask: u32,
}

/// What becomes of a packet that a rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Lookup(u32),
    Nothing,
    /// `goto`, `blackhole`, `prohibit`, `unreachable`.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedSocket {
    pub kind: SocketKind,
    pub local: SocketAddr,
    pub mark: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    Listening,
    Connected,
}

/// A program of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    pub hook: Hook,
    pub name: String,
    pub id: u32,
}

/// Where somebody else's program has a say in what ours decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `sk_lookup`, attached after ours: it has the last word.
    AfterSteer,
    /// TCX egress of this interface, before the guard.
    BeforeGuard { interface: String },
}

/// Something of the pod's own that does not go together with capture, or not in everything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Collision {
    #[error(
        "{0} comes first, and would take what is captured elsewhere; give it a preference of 2 or more, so that there is \
         room for ours before it"
    )]
    RuleFirst(Rule),
    #[error(
        "{rule} uses the mark {bit:#x}, which is ours; set steering.marks to bits that nothing in the pod uses"
    )]
    RuleMark { rule: Rule, bit: u32 },
    #[error(
        "{rule} compares the whole mark: what the proxy sends on for an application with that mark has the bit {bit:#x} as \
         well, and does not fit it; give the rule a mask without that bit"
    )]
    RuleExact { rule: Rule, bit: u32 },
    #[error("{0} leads into our table; set steering.table to a number that nothing in the pod uses")]
    RuleTable(Rule),
    #[error(
        "table {table} has {family} routes that are not ours; set steering.table to a number that nothing in the pod uses"
    )]
    Routes { table: u32, family: Family },
    #[error(
        "the socket {local} has mark {mark:#x}, of which {bit:#x} is ours; set steering.marks to bits that nothing in the pod \
         uses"
    )]
    SocketMark { local: SocketAddr, mark: u32, bit: u32 },
    #[error(
        "the application listens at {local} with a mark of its own ({mark:#x}): it cannot answer what the proxy delivers \
         there, and inbound connections fail; it should mark no listening socket, or the pod opt out"
    )]
    ListenerMark { local: SocketAddr, mark: u32 },
    #[error("{0}: connections that it takes are not proxied")]
    Program(Stranger),
}

// === impl Rule ===

impl Rule {
    /// `fwmark C/C lookup T`, wherever it stands.
    pub fn is_ours(&self, steering: &Steering) -> bool {
        let Self { family: _, priority: _, inverted, mark, action, text: _ } = self;
        let captured = steering.marks.captured;
        !inverted
            && *mark == Some(Mark { value: captured, mask: captured })
            && *action == Action::Lookup(steering.table)
    }

    /// Whether it may fit a packet that was marked captured, whatever other bits the application has in its mark, and
    /// lead it elsewhere. Addresses, ports, users and interfaces that it asks for are not looked at: some packet has them.
    fn takes_captured(&self, steering: &Steering) -> bool {
        match self.action {
            Action::Lookup(TABLE_LOCAL) | Action::Nothing => return false,
            Action::Lookup(_) | Action::Other => {}
        }
        let (set, clear) = (steering.marks.captured, steering.marks.agent);
        let fits = self
            .mark
            .is_none_or(|Mark { value, mask }| (value ^ set) & mask & set == 0 && value & mask & clear == 0);
        fits || self.inverted
    }

    /// Bit A where that keeps it from fitting what the proxy sends on in the name of an application that it is meant for.
    fn blind_bit(&self, steering: &Steering) -> u32 {
        match self.mark {
            Some(Mark { value, mask }) if !self.inverted && value & mask != 0 => mask & steering.marks.agent,
            Some(_) | None => 0,
        }
    }

    /// Our bits in what it compares marks with.
    fn our_bits(&self, steering: &Steering) -> u32 {
        let Mark { value, mask } = self.mark.unwrap_or(Mark { value: 0, mask: 0 });
        value & mask & (steering.marks.captured | steering.marks.agent)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}: {}", self.family, self.priority, self.text)
    }
}

// === impl Stranger ===

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hook, name, id } = self;
        let name = if name.is_empty() { "without a name" } else { name };
        match hook {
            Hook::AfterSteer => write!(f, "sk_lookup program {name} (id {id}) has the last word after ours"),
            Hook::BeforeGuard { interface } => {
                write!(f, "tcx program {name} (id {id}) runs before our guard on {interface}")
            }
        }
    }
}

// === impl Collision ===

impl Collision {
    /// Whether a pod that has it cannot be captured rightly: its enrolment is refused. What is told only leaves the rest
    /// of the pod's connections as they should be.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::RuleFirst(_)
            | Self::RuleMark { .. }
            | Self::RuleTable(_)
            | Self::Routes { .. }
            | Self::SocketMark { .. } => true,
            Self::RuleExact { .. } | Self::ListenerMark { .. } | Self::Program(_) => false,
        }
    }
}

/// Where our rule has to stand: as configured, or before the first rule that would take what it is there for. A rule that
/// is added without a preference gets the place before all others, ours too.
///
/// `None` where somebody else has the very first place.
pub fn priority(rules: &[Rule], steering: &Steering) -> Option<u32> {
    let rivals = rules.iter().filter(|rule| !rule.is_ours(steering) && rule.takes_captured(steering));
    match rivals.map(|rule| rule.priority).min() {
        Some(first) if first <= steering.rule_priority => first.checked_sub(1).filter(|place| *place > 0),
        Some(_) | None => Some(steering.rule_priority),
    }
}

/// All that does not go together. `untouched`: nothing was done to the pod yet, so no mark in it is of our making.
pub fn collisions(found: &Neighbours, steering: &Steering, untouched: bool) -> Vec<Collision> {
    let Neighbours { rules, routes, sockets, programs } = found;
    let mut collisions = Vec::new();
    let foreign = || rules.iter().filter(|rule| !rule.is_ours(steering));
    if priority(rules, steering).is_none() {
        let first = foreign().filter(|rule| rule.takes_captured(steering)).min_by_key(|rule| rule.priority);
        collisions.extend(first.cloned().map(Collision::RuleFirst));
    }
    for rule in foreign() {
        let bit = rule.our_bits(steering);
        if rule.action == Action::Lookup(steering.table) {
            collisions.push(Collision::RuleTable(rule.clone()));
        } else if bit != 0 {
            collisions.push(Collision::RuleMark { rule: rule.clone(), bit });
        } else if rule.blind_bit(steering) != 0 {
            let bit = rule.blind_bit(steering);
            collisions.push(Collision::RuleExact { rule: rule.clone(), bit });
        }
    }
    collisions.extend(routes.iter().map(|&family| Collision::Routes { table: steering.table, family }));
    collisions.extend(sockets.iter().filter_map(|socket| socket_collision(socket, steering, untouched)));
    collisions.extend(programs.iter().cloned().map(Collision::Program));
    collisions
}

fn socket_collision(socket: &MarkedSocket, steering: &Steering, untouched: bool) -> Option<Collision> {
    let MarkedSocket { kind, local, mark } = *socket;
    let bit = mark & steering.marks.captured;
    match kind {
        // The mark of the listening socket prevails over that of the SYN (`tcp_fwmark_accept`).
        SocketKind::Listening => (bit == 0 && mark != 0).then_some(Collision::ListenerMark { local, mark }),
        // Our rule would turn what it sends from now on.
        SocketKind::Connected => {
            (bit != 0 && untouched).then_some(Collision::SocketMark { local, mark, bit })
        }
    }
}

#[cfg(test)]
mod tests;
