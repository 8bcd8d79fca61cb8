//! The tests on Kubernetes clusters: `cargo xtask test kubernetes`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod clusters;
mod enrolment;
mod mesh;
mod probes;
mod roads;
mod source;
mod workloads;
