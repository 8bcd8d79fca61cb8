//! Clusters out of network namespaces, with real processes in them.
//!
//! ```text
//!            wire (a bridge in a namespace of its own)
//!          ┌───────┴────────┐
//!   node a │ br0            │ node b     namespaces, each with its agent
//!     ┌────┴────┐      ┌────┴────┐
//!     eth0      eth0   eth0      eth0    pods: a namespace and a cgroup each
//! ```
//!
//! A [`Lab`] owns everything it makes: when it is dropped, or the test panics, nothing is left. What a
//! killed test left behind, the next lab removes.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use harness::{AgentOptions, Lab, Mode};
//!
//! let lab = Lab::new("example")?;
//! let node = lab.node("a")?;
//! let client = node.pod("shop", "client").start()?;
//! let web = node.pod("shop", "web").port("http", 8080).start()?;
//! let service = lab.service("shop", "web").port("http", 80, "http").endpoints(&[&web]).apply()?;
//! let _server = web.serve(Mode::Http, 8080)?;
//! let agent = node.agent(AgentOptions::default())?;
//! lab.label_namespace("shop", "istio.io/dataplane-mode", Some("ambient"))?;
//! agent.wait_captured(&client)?;
//! client.run(&["curl", "--silent", &format!("http://{}/", service.v4)])?.stdout()?;
//! # Ok(())
//! # }
//! ```

pub mod address;
mod agent;
pub mod bpf;
mod cgroup;
mod crowd;
mod dialler;
mod hold;
mod holder;
mod lab;
pub mod manifest;
mod namespace;
pub mod narrator;
mod netlink;
mod node;
pub mod packet;
mod peer;
mod place;
mod pod;
mod process;
mod service;
pub mod shop;
pub mod standing;
mod teardown;

pub use agent::{Agent, AgentOptions, Post, millstream};
pub use cgroup::root as cgroup_root;
pub use crowd::{Count, Crowd};
pub use dialler::Dialler;
pub use hold::Held;
pub use lab::{Lab, LabId};
pub use node::Node;
pub use peer::{Client, Connected, Load, Mode, Server, program as peer_program};
pub use place::{PATIENCE, Place};
pub use pod::{Pod, PodBuilder};
pub use process::{Io, Output, Process};
pub use service::{Endpoint, Service, ServiceBuilder};
