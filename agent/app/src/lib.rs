//! The agent put together. The only crate that knows every component.
//!
//! ```text
//! control ──Snapshot──► enroller ──PodSpec──► capture ──Listen──► proxy ◄──Snapshot── control
//!                          │ PodStatus
//!                       admin socket ──Answer──► millstream status | pods | why …
//! ```
//!
//! In reading order: [`config`] · [`run_dir`] · [`tenure`] (which agent of the node writes) · [`source`] · [`agent`] (build, run, drain) · [`enroller`] (snapshot →
//! captured pods) · [`pods`] (what became of each) · `redirection` (what the cluster is told of it) · [`listeners`]
//! (capture meets proxy) · `canary` (is the proxy stuck?) · [`probes`] (what the kubelet dials; `kubelet` is PURE) ·
//! `older` (connections that were there before) · `stopped` (what was dropped) · [`chain`] (the CNI plugin, kept in its
//! place) · `neighbours` (what collides with capture) · [`why`] · [`answers`] · [`api`] · `metrics` (what Prometheus asks) · [`admin`] (the socket) · [`client`] (its other end) · [`offline`] (the same answers without an agent)
//! · [`logging`] · `descriptors`.
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
pub mod run_dir;
mod socket;
pub mod source;
mod standing;
mod stopped;
pub mod tenure;
pub mod threads;
pub mod why;
