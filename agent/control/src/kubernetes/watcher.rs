//! Follows the objects of one kind: lists them, watches from there, and lists anew when the thread is lost.

use std::{fmt::Debug, pin::pin, time::Duration};

use futures::StreamExt;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ListMeta, serde::de::DeserializeOwned};
use kube::{
    Api,
    api::{ApiResource, ListParams, WatchEvent, WatchParams},
    core::{Resource, ResourceExt},
};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{
    backoff::{Backoff, Reached},
    event::{Change, Closed, Outbox},
    request::{ANSWER, RequestError},
};
use crate::object::Object;

/// Objects in one answer; in a list they are held twice, as text and read.
const PAGE: u32 = 200;
/// The API server tells every minute how far it is. From a watch that is silent for longer nothing will come: the
/// connection is dead, and nobody said so.
const SILENCE: Duration = Duration::from_secs(150);
/// How long the API server keeps a watch; not the same for all, or they would all come back at once.
const WATCH_SECONDS: std::ops::Range<u32> = 240..290;
/// A watch that ends sooner is a failure, even if it ends in good order.
const SHORTEST: Duration = Duration::from_secs(1);

pub(super) struct Watcher<K, F> {
    pub(super) api: Api<K>,
    pub(super) resource: ApiResource,
    pub(super) read: F,
    /// Who needs the right to it.
    pub(super) whose: &'static str,
    pub(super) reached: Reached,
    pub(super) outbox: Outbox,
}

/// Why a watch ended.
enum End {
    /// In good order, as all do after some minutes.
    Over,
    Error(RequestError),
    Closed,
}

// === impl Watcher ===

impl<K, F> Watcher<K, F>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    F: Fn(K) -> Object,
{
    /// Until nobody wants to know.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(&self.reached);
        // The place in the stream of changes up to which everything is told.
        let mut place: Option<String> = None;
        loop {
            let begun = Instant::now();
            let Err(end) = self.follow(&mut place).await;
            let lasted = SHORTEST < begun.elapsed();
            if lasted {
                backoff.reset();
            }
            match end {
                End::Closed => return,
                End::Over if lasted => {}
                End::Over => backoff.wait(None).await,
                End::Error(error) if error.is_gone() => {
                    debug!(topic = %self.outbox.topic, "Too far behind; listing anew");
                    place = None;
                    backoff.wait(None).await;
                }
                End::Error(error) => {
                    if !error.can_resume() {
                        place = None;
                    }
                    if self.outbox.tell(Change::Failed(error.explain(&self.needs()))).await.is_err() {
                        return;
                    }
                    backoff.wait(error.retry_after()).await;
                }
            }
        }
    }

    async fn follow(&self, place: &mut Option<String>) -> Result<std::convert::Infallible, End> {
        let from = match place {
            Some(from) => from.clone(),
            None => place.insert(self.list().await?).clone(),
        };
        let params = WatchParams::default().timeout(fastrand::u32(WATCH_SECONDS));
        let changes = timeout(ANSWER, self.api.watch(&params, &from)).await??;
        self.outbox.tell(Change::Standing).await?;
        self.reached.tell();
        let mut changes = pin!(changes);
        loop {
            let Ok(Some(change)) = timeout(SILENCE, changes.next()).await else { return Err(End::Over) };
            let (change, next) = self.change(change?)?;
            if let Some(change) = change {
                self.outbox.tell(change).await?;
            }
            *place = Some(next);
        }
    }

    /// Tells all objects that there are. Returns the place in the stream of changes at which that was so.
    async fn list(&self) -> Result<String, End> {
        self.outbox.tell(Change::Listing).await?;
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = timeout(ANSWER, self.api.list(&params)).await??;
            let ListMeta { continue_, resource_version, .. } = page.metadata;
            let objects = page.items.into_iter().map(&self.read).collect();
            self.outbox.tell(Change::Page(objects)).await?;
            match continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    let place = resource_version.filter(|v| !v.is_empty()).ok_or(RequestError::NoVersion)?;
                    self.outbox.tell(Change::Listed).await?;
                    return Ok(place);
                }
            }
        }
    }

    /// What to tell, and the place after it.
    fn change(&self, event: WatchEvent<K>) -> Result<(Option<Change>, String), RequestError> {
        let (object, deleted) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
            WatchEvent::Deleted(object) => (object, true),
            WatchEvent::Bookmark(bookmark) => return Ok((None, bookmark.metadata.resource_version)),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
        };
        let place = object.resource_version().filter(|v| !v.is_empty()).ok_or(RequestError::NoVersion)?;
        let object = (self.read)(object);
        let change = if deleted { Change::Deleted(object.key()) } else { Change::Applied(object) };
        Ok((Some(change), place))
    }

    fn needs(&self) -> String {
        let ApiResource { plural, group, .. } = &self.resource;
        let resource = if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") };
        format!("{} ClusterRole needs list and watch on {resource}", self.whose)
    }
}

// === impl End ===

impl<E: Into<RequestError>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl From<Closed> for End {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}
