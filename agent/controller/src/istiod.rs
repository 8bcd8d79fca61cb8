//! Whether istiod gives addresses to ServiceEntries itself: it does while it holds a lock of its own.
//!
//! It is looked for in every namespace, as a ConfigMap, with an annotation as client-go had it, and as a Lease. It is held
//! as long as it is seen to change: clocks are not compared, and a look that failed proves nothing.

use std::{collections::BTreeMap, fmt, time::Duration};

use control::kubernetes::{ANSWER, RequestError, ask};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::warn;

const LOCK: &str = "istio-ip-autoallocate";
const RECORD: &str = "control-plane.alpha.kubernetes.io/leader";
/// Between looks.
const LOOK: Duration = Duration::from_secs(5);
/// Longer than istiod's lock is for, without being renewed: 30 s.
const GONE: Duration = Duration::from_secs(35);

const NEEDS: &str =
    "the controller's ClusterRole needs list on configmaps and leases named istio-ip-autoallocate";

/// Whether it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// Nobody has looked yet.
    Unknown,
    No,
    /// Whose the lock is.
    Yes(String),
}

/// One lock, as it was at a look.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    holder: String,
    /// Another one each time it is renewed.
    stamp: String,
}

/// What was seen so far, by namespace and kind.
#[derive(Debug, Default)]
struct Seen {
    locks: BTreeMap<String, (Held, Instant)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct LeaderRecord {
    holder_identity: String,
}

/// Looks again and again, for ever.
pub(crate) async fn follow(client: Client, tell: watch::Sender<Runs>) {
    let mut seen = Seen::default();
    let mut failure = String::new();
    loop {
        match look(&client).await {
            Ok(locks) => {
                failure.clear();
                let runs = seen.note(locks, Instant::now());
                tell.send_if_modified(|known| std::mem::replace(known, runs.clone()) != runs);
            }
            Err(error) => {
                seen.begin_anew();
                let reason = error.explain(NEEDS);
                if reason != failure {
                    warn!(
                        reason,
                        "Cannot look whether istiod gives addresses; what was last known of it holds"
                    );
                    failure = reason;
                }
            }
        }
        sleep(LOOK).await;
    }
}

async fn look(client: &Client) -> Result<BTreeMap<String, Held>, RequestError> {
    let params = ListParams::default().fields(&format!("metadata.name={LOCK}")).match_any();
    let maps: Api<ConfigMap> = Api::all(client.clone());
    let leases: Api<Lease> = Api::all(client.clone());
    let both = async { tokio::try_join!(maps.list(&params), leases.list(&params)) };
    let (maps, leases) = ask(ANSWER, both).await?;
    let mut locks = BTreeMap::new();
    for map in maps {
        let place = format!("ConfigMap {}/{LOCK}", map.namespace().unwrap_or_default());
        locks.extend(
            map.annotations().get(RECORD).and_then(|record| of_record(record)).map(|held| (place, held)),
        );
    }
    for lease in leases {
        let place = format!("Lease {}/{LOCK}", lease.namespace().unwrap_or_default());
        let spec = lease.spec.unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let stamp = spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default();
        locks.extend(holder.map(|holder| (place, Held { holder, stamp })));
    }
    Ok(locks)
}

/// `None`: nobody holds it.
fn of_record(record: &str) -> Option<Held> {
    // Who writes something else there may well be an istiod that does it in another way.
    let holder = serde_json::from_str::<LeaderRecord>(record)
        .map_or_else(|_| "somebody unknown".to_owned(), |record| record.holder_identity);
    (!holder.is_empty()).then(|| Held { holder, stamp: record.to_owned() })
}

// === impl Seen ===

impl Seen {
    fn note(&mut self, locks: BTreeMap<String, Held>, at: Instant) -> Runs {
        self.locks.retain(|place, _| locks.contains_key(place));
        for (place, held) in locks {
            match self.locks.get(&place) {
                Some((known, _)) if *known == held => {}
                _ => {
                    self.locks.insert(place, (held, at));
                }
            }
        }
        let held = self.locks.iter().find(|(_, (_, since))| at < *since + GONE);
        held.map_or(Runs::No, |(place, (held, _))| Runs::Yes(format!("{} holds {place}", held.holder)))
    }

    /// For some time nobody has looked.
    fn begin_anew(&mut self) {
        self.locks.clear();
    }
}

// === impl Runs ===

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("it is not known yet whether istiod gives addresses"),
            Self::No => f.write_str("istiod gives no addresses"),
            Self::Yes(lock) => write!(
                f,
                "istiod gives addresses ({lock}): this controller gives none until it does not any more \
                 (PILOT_ENABLE_IP_AUTOALLOCATE=false); dns.allocation.mode: off says that it never shall"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
