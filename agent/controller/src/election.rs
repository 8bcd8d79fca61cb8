//! Who leads: a Lease, taken and renewed by the rules of [`crate::lease`].

use std::sync::Mutex;

use control::kubernetes::ask;
use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use crate::lease::{Candidate, Move, RENEW_DEADLINE, RETRY, released};

/// Until when this one leads, if nothing else comes; `None`: it does not.
pub(crate) type Term = Option<Instant>;

const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;

const NEEDS: &str = "the controller's Role needs get and update on leases.coordination.k8s.io";

pub(crate) struct Election {
    api: Api<Lease>,
    lease: String,
    /// Nobody waits for it while he holds it.
    candidate: Mutex<Candidate>,
}

/// What became of one try.
enum Tried {
    Leads,
    /// It is this one's.
    Waits(String),
    /// Somebody was faster.
    Late,
}

// === impl Election ===

impl Election {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        let candidate = Mutex::new(Candidate::new(identity));
        Self { api: Api::namespaced(client, namespace), lease: format!("{name}-controller"), candidate }
    }

    /// For ever. Tells from when on and until when it leads.
    pub(crate) async fn run(&self, lead: watch::Sender<Term>) {
        let mut said = String::new();
        let mut say = |line: String| {
            if said != line {
                info!(lease = self.lease, "{line}");
                said = line;
            }
        };
        let mut failure = String::new();
        loop {
            // What the API server has by then was not written later.
            let begun = Instant::now();
            let term = *lead.borrow();
            let leads_on = term.filter(|until| begun < *until);
            let term = match ask(RENEW_DEADLINE / 2, self.try_once(begun)).await {
                Ok(Tried::Leads) => {
                    failure.clear();
                    say("This controller leads".to_owned());
                    Some(begun + RENEW_DEADLINE)
                }
                Ok(Tried::Waits(holder)) => {
                    failure.clear();
                    say(format!("{holder} leads; this controller looks on"));
                    None
                }
                Ok(Tried::Late) => leads_on,
                Err(error) => {
                    let reason = error.explain(NEEDS);
                    if reason != failure {
                        warn!(lease = self.lease, reason, "The Lease cannot be had");
                        failure = reason;
                    }
                    leads_on
                }
            };
            let term = term.filter(|until| Instant::now() < *until);
            if term.is_none() && lead.borrow().is_some() {
                say("This controller leads no more".to_owned());
            }
            lead.send_replace(term);
            sleep(pause(term)).await;
        }
    }

    /// Makes it free, if it is this one's. Nothing may be written by who led any more.
    pub(crate) async fn release(&self) {
        let release = async {
            let Some(mut lease) = self.api.get_opt(&self.lease).await? else { return Ok(()) };
            let spec = lease.spec.unwrap_or_default();
            if spec.holder_identity.as_deref() != Some(&*self.identity()) {
                return Ok(());
            }
            lease.spec = Some(released(&spec, Timestamp::now()));
            self.api.replace(&self.lease, &PostParams::default(), &lease).await.map(drop)
        };
        match ask(RETRY, release).await {
            Ok(()) => debug!(lease = self.lease, "Released"),
            Err(error) => {
                let reason = error.explain(NEEDS);
                warn!(
                    lease = self.lease,
                    reason, "The Lease is not released; the next waits until it has run out"
                );
            }
        }
    }

    async fn try_once(&self, at: Instant) -> kube::Result<Tried> {
        let found = self.api.get_opt(&self.lease).await?;
        let spec = found.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let spec = match self.next(&spec, at) {
            Move::Wait(holder) => return Ok(Tried::Waits(holder)),
            Move::Write(spec) => Some(spec),
        };
        let params = PostParams::default();
        let written = match found {
            // Its version makes it a conflict if somebody else was faster.
            Some(lease) => self.api.replace(&self.lease, &params, &Lease { spec, ..lease }).await,
            None => {
                let metadata = ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() };
                self.api.create(&params, &Lease { metadata, spec }).await
            }
        };
        match written {
            Ok(_) => Ok(Tried::Leads),
            Err(kube::Error::Api(status)) if [NOT_FOUND, CONFLICT].contains(&status.code) => Ok(Tried::Late),
            Err(error) => Err(error),
        }
    }

    fn next(&self, spec: &k8s_openapi::api::coordination::v1::LeaseSpec, at: Instant) -> Move {
        let mut candidate = self.candidate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        candidate.next(spec, Timestamp::now(), at)
    }

    fn identity(&self) -> String {
        let candidate = self.candidate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        candidate.identity().to_owned()
    }
}

/// Who waits does so with jitter, or all would come at once.
fn pause(term: Term) -> std::time::Duration {
    match term {
        Some(until) => RETRY.min(until.saturating_duration_since(Instant::now())),
        None => RETRY.mul_f64(1.0 + fastrand::f64()),
    }
}
