//! Access records as a subscriber sees them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

use crate::lock::lock;

pub(super) type Record = BTreeMap<String, String>;

/// Collects what this thread writes, as long as it lives.
pub(super) struct Records {
    all: Arc<Mutex<Vec<Record>>>,
    _default: DefaultGuard,
}

struct Collect(Arc<Mutex<Vec<Record>>>);

struct Fields(Record);

// === impl Records ===

impl Records {
    pub(super) fn new() -> Self {
        let all = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Collect(Arc::clone(&all)));
        Self { all, _default: tracing::subscriber::set_default(subscriber) }
    }

    pub(super) fn take(&self) -> Vec<Record> {
        std::mem::take(&mut lock(&self.all))
    }

    pub(super) fn only(&self) -> Record {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "access" {
            let mut fields = Fields(Record::new());
            event.record(&mut fields);
            lock(&self.0).push(fields.0);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}
