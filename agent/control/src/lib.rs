//! What the cluster looks like: Kubernetes objects, wherever they come from, joined in one synchronous index
//! and published as one immutable [`model::Snapshot`].
//!
//! ```text
//!  folder of manifests ──► manifest ──► Object ─┐
//!                                               ├──► Index ──► Snapshot ──► everybody
//!  API server ──► list, then watch ───► Object ─┘
//!
//!  [Namespace] → [Pod] → [Endpoint] ← [EndpointSlice] ← [Service]
//!    labels       uid      addr:port     port by name      vip:port
//! ```
//!
//! A namespace's labels and a pod's own decide whether the pod is enrolled. A service port finds, by name, the
//! port of each of its slices, and so its endpoints; each endpoint finds the pod behind it by reference or address.
//! Network policies are not evaluated; each pod learns of one that may select it.
//!
//! Whatever is wrong with one object is a [`Refusal`] that names the field; the last good version of that object
//! stays, and the rest goes on. Everything but [`mod@file`], [`folder_watcher`],
//! [`kubernetes`] and `publisher` is pure.
//!
//! In reading order:
#![forbid(unsafe_code)]

/// PURE: what becomes of a pod's DNS queries.
pub mod dns;
/// PURE: which pods are captured.
pub mod enrolment;
/// PURE: ServiceEntries as whoever gives their hosts addresses sees them.
pub mod entries;
/// PURE: which connections of a pod pass without the proxy.
pub mod exclusions;
/// PURE: strings and numbers of an object become addresses, ports and names.
mod field;
/// The objects of a folder, followed while they change.
pub mod file;
/// Tells when folders have changed, whatever is in them.
pub mod folder_watcher;
/// PURE: the join.
pub mod index;
/// PURE: how objects are called.
pub mod kind;
/// The objects of a cluster, followed through its API server.
pub mod kubernetes;
/// PURE: text of one file → objects.
pub mod manifest;
/// PURE: the objects.
pub mod object;
/// PURE: which pods a network policy may select.
pub mod policy;
/// PURE: text from outside, on a terminal.
mod printable;
/// What a source tells everybody.
mod publisher;
/// PURE: why an object was not taken.
pub mod refusal;
/// PURE: label selectors.
pub mod selector;
/// PURE: Istio's ServiceEntry.
pub mod service_entry;
/// PURE: the work of the EndpointSlice controller, where there is none.
pub mod slices;
/// PURE: which source, and what it has to say.
pub mod source;
/// PURE: who sees a service.
mod visibility;

pub use dns::DnsConfig;
pub use enrolment::EnrolmentConfig;
pub use exclusions::ExclusionConfig;
pub use file::FileSource;
pub use folder_watcher::FolderWatcher;
pub use index::{Index, IndexConfig};
pub use kind::ObjectKey;
pub use kubernetes::{EntriesSource, KubernetesSource};
pub use object::Object;
pub use refusal::Refusal;
pub use source::{InForce, Source, SourceRefusal, SourceReport, WatchTrouble};
