//! Which watches run.

use std::{collections::BTreeMap, fmt::Debug, future};

use jiff::Timestamp;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::Resource,
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinError, JoinSet},
};
use tracing::info;

use super::{
    backoff::Reached,
    event::{Change, Event, Outbox, Served, Topic},
    kinds::{self, Search},
    of::Of,
    view::View,
    watcher::Watcher,
};
use crate::{
    kind::{Kind, PolicyKind},
    object::Object,
    policy::Policy,
    service_entry::ServiceEntry,
};

pub(super) struct Watches {
    client: Client,
    of: Of,
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    running: BTreeMap<Topic, Running>,
    reached: Reached,
    begun: u64,
}

struct Running {
    id: u64,
    /// As it is asked for; `None` for the search for kinds.
    resource: Option<ApiResource>,
    task: AbortHandle,
}

// === impl Watches ===

impl Watches {
    pub(super) fn begin(
        client: Client,
        of: Of,
        events: mpsc::Sender<Event>,
        reload: mpsc::Receiver<()>,
    ) -> Self {
        let (tasks, running, reached) = (JoinSet::new(), BTreeMap::new(), Reached::default());
        let mut watches = Self { client, of, events, tasks, running, reached, begun: 0 };
        let mut reload = Some(reload);
        for topic in of.always() {
            watches.always(*topic, &mut reload);
        }
        watches
    }

    fn always(&mut self, topic: Topic, reload: &mut Option<mpsc::Receiver<()>>) {
        match topic {
            Topic::Objects(Kind::Namespace) => self.objects(Kind::Namespace, Object::Namespace),
            Topic::Objects(Kind::Node) => self.objects(Kind::Node, Object::Node),
            Topic::Objects(Kind::Pod) => self.objects(Kind::Pod, Object::Pod),
            Topic::Objects(Kind::Service) => self.objects(Kind::Service, Object::Service),
            Topic::Objects(Kind::EndpointSlice) => self.objects(Kind::EndpointSlice, Object::EndpointSlice),
            Topic::Objects(Kind::Policy(kind)) => self.policies(kind, kinds::kubernetes()),
            // They come later.
            Topic::Objects(Kind::ServiceEntry | Kind::ServiceCidr) => {}
            Topic::Kinds => {
                let Some(reload) = reload.take() else { return };
                let outbox = self.outbox(Topic::Kinds);
                let (client, reached, of) = (self.client.clone(), self.reached.clone(), self.of);
                let search = Search { client, of, outbox: outbox.clone(), reached };
                self.spawn(&outbox, None, search.run(reload));
            }
        }
    }

    /// How the kind is asked for, while it is served.
    pub(super) fn resource(&self, kind: Kind) -> Option<&ApiResource> {
        self.running.get(&Topic::Objects(kind))?.resource.as_ref()
    }

    /// Takes an event to the view, unless it comes from a watch that was ended.
    pub(super) fn follow(&mut self, event: Event, view: &mut View) {
        let Event { topic, watch, change } = event;
        if self.running.get(&topic).is_none_or(|running| running.id != watch) {
            return;
        }
        let now = Timestamp::now();
        if let Change::Served(served) = &change {
            self.serve(served, view, now);
        }
        view.on(topic, change, now);
    }

    /// Never returns while all is well.
    pub(super) async fn died(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(died)) if !died.is_cancelled() => return died,
                Some(_) => {}
                None => return future::pending().await,
            }
        }
    }

    /// Begins the watches of kinds that are new, and ends those of kinds that are gone.
    fn serve(&mut self, served: &Served, view: &mut View, now: Timestamp) {
        let known = self.running.keys().filter_map(|topic| match topic {
            Topic::Objects(kind) if kind.may_come_later() => Some(*kind),
            Topic::Objects(_) | Topic::Kinds => None,
        });
        for kind in known.filter(|kind| !served.contains_key(kind)).collect::<Vec<_>>() {
            info!(%kind, "No longer served");
            self.end(Topic::Objects(kind));
            view.end(kind);
        }
        for (kind, resource) in served {
            let topic = Topic::Objects(*kind);
            let known = self.running.get(&topic).and_then(|running| running.resource.as_ref());
            if known != Some(resource) {
                info!(%kind, resource = resource.plural, version = resource.api_version, "Served");
                self.end(topic);
                view.begin(*kind, now);
                self.come_later(*kind, resource.clone());
            }
        }
    }

    fn objects<K>(&mut self, kind: Kind, read: fn(Box<K>) -> Object)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (api, resource) = (Api::all(self.client.clone()), ApiResource::erase::<K>(&()));
        self.watch(kind, api, resource, move |object| read(Box::new(object)));
    }

    fn come_later(&mut self, kind: Kind, resource: ApiResource) {
        match kind {
            Kind::Policy(policy) => self.policies(policy, resource),
            Kind::ServiceEntry => self.service_entries(resource),
            Kind::ServiceCidr => {
                let api = Api::all(self.client.clone());
                self.watch(kind, api, resource, |object| Object::ServiceCidr(Box::new(object)));
            }
            // Each of them is watched from the beginning.
            Kind::Namespace | Kind::Node | Kind::Pod | Kind::Service | Kind::EndpointSlice => {}
        }
    }

    fn service_entries(&mut self, resource: ApiResource) {
        let api = Api::all_with(self.client.clone(), &resource);
        let read = |DynamicObject { types: _, metadata, data }: DynamicObject| {
            Object::ServiceEntry(Box::new(ServiceEntry::read(metadata, &data)))
        };
        self.watch(Kind::ServiceEntry, api, resource, read);
    }

    fn policies(&mut self, kind: PolicyKind, resource: ApiResource) {
        let api = Api::all_with(self.client.clone(), &resource);
        let read = move |policy| Object::Policy(Box::new(Policy::read(kind, &value(policy))));
        self.watch(Kind::Policy(kind), api, resource, read);
    }

    fn watch<K, F>(&mut self, kind: Kind, api: Api<K>, resource: ApiResource, read: F)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        F: Fn(K) -> Object + Send + Sync + 'static,
    {
        let outbox = self.outbox(Topic::Objects(kind));
        let reached = self.reached.clone();
        let (whose, outbox_of) = (self.of.whose(), outbox.clone());
        let watcher = Watcher { api, resource: resource.clone(), read, whose, reached, outbox: outbox_of };
        self.spawn(&outbox, Some(resource), watcher.run());
    }

    fn outbox(&mut self, topic: Topic) -> Outbox {
        self.begun += 1;
        Outbox { topic, watch: self.begun, events: self.events.clone() }
    }

    fn spawn(
        &mut self,
        outbox: &Outbox,
        resource: Option<ApiResource>,
        run: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(run);
        self.running.insert(outbox.topic, Running { id: outbox.watch, resource, task });
    }

    fn end(&mut self, topic: Topic) {
        if let Some(running) = self.running.remove(&topic) {
            running.task.abort();
        }
    }
}

/// A policy as its manifest has it; of its metadata only what says which one it is.
fn value(policy: DynamicObject) -> Value {
    let DynamicObject { types: _, metadata, mut data } = policy;
    if let Value::Object(fields) = &mut data {
        let metadata = json!({"name": metadata.name, "namespace": metadata.namespace});
        fields.insert("metadata".to_owned(), metadata);
    }
    data
}
