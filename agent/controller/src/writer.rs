//! What ServiceEntries are told: addresses by JSON patches of their status, complaints by Events.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use control::{
    entries::Entries,
    kubernetes::{ANSWER, ask},
};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use model::ObjectName;
use serde_json::Value;
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

use crate::election::Term;

/// Under way at once.
const AT_ONCE: usize = 8;
/// Until then the watch has told of what was written, or nothing of it is right.
const AGAIN: Duration = Duration::from_secs(30);
/// Somebody else was faster, or what is written is refused.
const REFUSED: u16 = 422;
const NOT_FOUND: u16 = 404;
/// So many Events at once, and in so long.
const EVENTS_MAX: usize = 20;
const EVENTS_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Writer {
    client: Client,
    recorder: Recorder,
    manager: String,
    /// Which version of each entry was written over, and when that is to be tried again.
    tried: HashMap<ObjectName, (String, Instant)>,
    /// What each entry was told last.
    told: BTreeMap<ObjectName, String>,
    events_since: Instant,
    events: usize,
}

// === impl Writer ===

impl Writer {
    pub(crate) fn new(client: Client, manager: &str, identity: &str) -> Self {
        let reporter = Reporter { controller: manager.to_owned(), instance: Some(identity.to_owned()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            manager: manager.to_owned(),
            tried: HashMap::new(),
            told: BTreeMap::new(),
            events_since: Instant::now(),
            events: 0,
        }
    }

    /// Only while it leads. Returns when something is to be tried again.
    pub(crate) async fn patch(
        &mut self,
        entries: &Entries,
        patches: BTreeMap<ObjectName, Value>,
        leads: &watch::Receiver<Term>,
    ) -> Option<Instant> {
        let now = Instant::now();
        self.tried.retain(|name, _| patches.contains_key(name));
        let resource = entries.resource.clone()?;
        let version = |name: &ObjectName| entries.entries.get(name).map(|entry| entry.version.clone());
        let mut due = Vec::new();
        for (name, patch) in patches {
            let Some(version) = version(&name) else { continue };
            let is_due =
                self.tried.get(&name).is_none_or(|(tried, again)| *tried != version || *again <= now);
            if is_due {
                due.push((name, version, patch));
            }
        }
        let requests = due.into_iter().map(|(name, version, patch)| {
            let request = self.patch_one(&resource, &name, patch, leads);
            async { (request.await, name, version) }
        });
        let results: Vec<_> = stream::iter(requests).buffer_unordered(AT_ONCE).collect().await;
        let (mut written, mut failed, mut first) = (0, 0, None);
        for (result, name, version) in results {
            match result {
                Ok(true) => {
                    written += 1;
                    debug!(entry = %name, "Addresses written");
                    self.tried.insert(name, (version, Instant::now() + AGAIN));
                }
                Ok(false) => {}
                Err(reason) => {
                    failed += 1;
                    first.get_or_insert_with(|| format!("ServiceEntry {name}: {reason}"));
                    self.tried.insert(name, (version, Instant::now() + AGAIN));
                }
            }
        }
        if 0 < written {
            info!(entries = written, "Addresses written to status.addresses");
        }
        if let Some(first) = first {
            warn!(failed, first, "Addresses could not be written; they are tried again");
        }
        self.tried.values().map(|(_, again)| *again).min()
    }

    /// `false`: it leads no more.
    fn patch_one(
        &self,
        resource: &ApiResource,
        name: &ObjectName,
        patch: Value,
        leads: &watch::Receiver<Term>,
    ) -> impl Future<Output = Result<bool, String>> + use<> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &name.namespace, resource);
        let params = PatchParams { field_manager: Some(self.manager.clone()), ..PatchParams::default() };
        let (name, leads) = (name.name.clone(), leads.clone());
        async move {
            let patch = serde_json::from_value(patch).map_err(|error| format!("no JSON patch: {error}"))?;
            let Some(until) = leads.borrow().filter(|until| Instant::now() < *until) else {
                return Ok(false);
            };
            let patch = Patch::Json::<()>(patch);
            let patched = api.patch_status(&name, &params, &patch);
            match ask(ANSWER.min(until - Instant::now()), patched).await {
                Ok(_) => Ok(true),
                Err(error) => {
                    match error.status().map(|status| status.code) {
                        // The watch tells of it.
                        Some(NOT_FOUND) => Ok(true),
                        Some(REFUSED) => Err(format!(
                            "its status has changed meanwhile, or the API server refuses what would be written ({})",
                            error.explain("")
                        )),
                        _ => Err(error
                            .explain("the controller's ClusterRole needs patch on serviceentries/status")),
                    }
                }
            }
        }
    }

    /// Each entry once, until it is another complaint.
    pub(crate) async fn complain(&mut self, entries: &Entries, complaints: &BTreeMap<ObjectName, String>) {
        self.told.retain(|name, told| complaints.get(name) == Some(told));
        if EVENTS_EVERY < self.events_since.elapsed() {
            (self.events_since, self.events) = (Instant::now(), 0);
        }
        let Some(resource) = &entries.resource else { return };
        for (name, complaint) in complaints {
            if EVENTS_MAX <= self.events {
                return;
            }
            if self.told.contains_key(name) {
                continue;
            }
            self.events += 1;
            let event = Event {
                type_: EventType::Warning,
                reason: "NotAllocated".to_owned(),
                note: Some(complaint.clone()),
                action: "Allocate".to_owned(),
                secondary: None,
            };
            let regarding = ObjectReference {
                api_version: Some(resource.api_version.clone()),
                kind: Some(resource.kind.clone()),
                namespace: Some(name.namespace.to_string()),
                name: Some(name.name.to_string()),
                uid: entries.entries.get(name).and_then(|entry| entry.uid.clone()),
                ..ObjectReference::default()
            };
            match ask(ANSWER, self.recorder.publish(&event, &regarding)).await {
                Ok(()) => {
                    self.told.insert(name.clone(), complaint.clone());
                }
                Err(error) => {
                    let needs = "the controller's ClusterRole needs create and patch on events.events.k8s.io";
                    warn!(entry = %name, reason = error.explain(needs), "Cannot write an Event");
                    return;
                }
            }
        }
    }

    /// Whether not everybody has been told.
    pub(crate) fn has_more(&self, complaints: &BTreeMap<ObjectName, String>) -> Option<Instant> {
        let is_all = complaints.keys().all(|name| self.told.contains_key(name));
        (!is_all).then(|| self.events_since + EVENTS_EVERY + Duration::from_secs(1))
    }
}
