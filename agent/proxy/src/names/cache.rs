//! What the resolver said of names, and what it is to be asked again. Pure: the clock is an argument.
//!
//! An answer is good for its time to live. Once that is over the resolver has the word, and only as long as it has none
//! to say, for it fails, its last answer goes on.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use resolver::{Outcome, Question};

/// What is known about a question when somebody needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// An answer, perhaps that there is no address.
    Answer(Addresses),
    /// The resolver is to be asked now. Meanwhile there may be what it said last.
    Nothing { last: Option<Addresses> },
    /// It failed when it was asked last, and is to be asked again only if that `is_due`.
    Failure { because: Arc<str>, last: Option<Addresses>, is_due: bool },
}

pub(super) type Addresses = Arc<[IpAddr]>;

/// When an answer is to be asked for anew, if it was used until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refresh {
    pub(super) after: Duration,
    /// Of the answer.
    number: u64,
}

#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<Question, Entry>,
    /// The questions in the order of their last use.
    by_use: BTreeMap<u64, Question>,
    uses: u64,
    answers: u64,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Option<Answer>,
    /// Since that answer: when, and why.
    failure: Option<(Instant, Arc<str>)>,
    /// Its place in `by_use`.
    place: u64,
}

#[derive(Debug)]
struct Answer {
    ips: Addresses,
    until: Instant,
    number: u64,
    is_used: bool,
}

/// An answer is not believed for longer, nor asked for more often, whatever its time to live.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3_600));
/// The same for the answer that there is no address: whoever adds a name is soon to see it used.
const NEGATIVE_TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a resolver that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// More addresses of one name than anybody needs to try.
const MOST_ADDRESSES: usize = 64;

// === impl Cache ===

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, answers: 0, capacity }
    }

    /// Somebody needs it now.
    pub(super) fn look(&mut self, question: &Question, now: Instant) -> Known {
        let entry = self.used(question);
        let last = match &mut entry.answer {
            Some(answer) if now < answer.until => {
                answer.is_used = true;
                return Known::Answer(Arc::clone(&answer.ips));
            }
            Some(answer) if !answer.ips.is_empty() => Some(Arc::clone(&answer.ips)),
            Some(_) | None => None,
        };
        match &entry.failure {
            Some((failed, because)) => Known::Failure {
                because: Arc::clone(because),
                last,
                is_due: PAUSE <= now.saturating_duration_since(*failed),
            },
            None => Known::Nothing { last },
        }
    }

    /// The resolver was asked. What is no longer remembered is not remembered for that.
    pub(super) fn learn(&mut self, question: &Question, outcome: Outcome, now: Instant) -> Option<Refresh> {
        let entry = self.entries.get_mut(question)?;
        let (mut ips, ttl) = match outcome {
            Outcome::Answered { ips, ttl } => (ips, ttl),
            Outcome::Failed(because) => {
                entry.failure = Some((now, because));
                return None;
            }
        };
        ips.truncate(MOST_ADDRESSES);
        let (least, most) = if ips.is_empty() { NEGATIVE_TTL } else { TTL };
        let ttl = ttl.clamp(least, most);
        self.answers += 1;
        let (has_addresses, number) = (!ips.is_empty(), self.answers);
        entry.answer = Some(Answer { ips: ips.into(), until: now + ttl, number, is_used: false });
        entry.failure = None;
        has_addresses.then_some(Refresh { after: ttl * 4 / 5, number })
    }

    /// Whether to ask again before the answer's time is over: it is still the last, and was used.
    pub(super) fn is_wanted(&self, question: &Question, refresh: Refresh) -> bool {
        let answer = self.entries.get(question).and_then(|entry| entry.answer.as_ref());
        answer.is_some_and(|answer| answer.number == refresh.number && answer.is_used)
    }

    fn used(&mut self, question: &Question) -> &mut Entry {
        self.uses += 1;
        let place = self.uses;
        self.by_use.insert(place, question.clone());
        match self.entries.get(question).map(|entry| entry.place) {
            Some(former) => {
                self.by_use.remove(&former);
            }
            None if self.entries.len() >= self.capacity => {
                if let Some((_, oldest)) = self.by_use.pop_first() {
                    self.entries.remove(&oldest);
                }
            }
            None => {}
        }
        let entry =
            self.entries.entry(question.clone()).or_insert(Entry { answer: None, failure: None, place });
        entry.place = place;
        entry
    }
}

#[cfg(test)]
mod tests;
