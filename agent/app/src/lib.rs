//! The agent put together. The only crate that knows every component.
//!
//! ```text
//! control ──Snapshot──► enroller ──PodSpec──► capture ──Listen──► proxy ◄──Snapshot── control
//! millstream-cni ──Arrival────┤ PodStatus
//!                       admin socket ──Answer──► millstream status | pods | why …
//! ```
//!
//! In reading order: [`config`] · [`run_dir`] · [`tenure`] (which agent of the node writes) · [`source`] · [`agent`]
//! (build, run, step down, drain; `agent::work` is what only the writer does, `ready`, `retire`, `leave` and `home` are its
//! stages) · [`enroller`] (snapshot → captured pods) · [`arrivals`] (new pods, which the CNI plugin asks about) · [`chain`]
//! (the plugin, kept in its place) · `standing` (what it goes by while no agent runs) · [`pods`] (what became of each) ·
//! `redirection` (what the cluster is told of it) · [`listeners`] (capture meets proxy) · `canary` (is the proxy stuck?) ·
//! [`probes`] (what the kubelet dials; `kubelet` is PURE) · `older` (connections that were there before) · `stopped` (what
//! was dropped) · `neighbours` (what collides with capture) · [`why`] · [`answers`] · [`api`] · `metrics` (what Prometheus
//! asks) · [`admin`] (the socket) · [`client`] (its other end) · [`offline`] (the same answers without an agent) ·
//! [`logging`] · [`threads`] · `socket` · `descriptors`.
#![forbid(unsafe_code)]

pub mod admin;
pub mod agent;
pub mod answers;
pub mod api;
pub mod arrivals;
mod canary;
pub mod chain;
pub mod client;
pub mod config;
mod descriptors;
pub mod enroller;
mod kubelet;
pub mod listeners;
pub mod logging;
mod metrics;
mod neighbours;
pub mod offline;
mod older;
pub mod pods;
pub mod probes;
mod redirection;
mod registry;
pub mod run_dir;
mod socket;
pub mod source;
mod standing;
mod stopped;
pub mod tenure;
pub mod threads;
pub mod why;
