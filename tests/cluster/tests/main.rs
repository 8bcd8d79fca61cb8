//! The tests on Kubernetes clusters: `cargo xtask test kubernetes`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod absence;
mod admission;
mod allocation;
mod chart;
mod clusters;
mod daemonset;
mod enrolment;
mod inside;
mod install;
mod restarts;
mod roads;
mod shop;
mod source;
mod workloads;
