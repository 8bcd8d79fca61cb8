//! Lab tests: each module is named after what it shows. They need root and a kernel that loads eBPF
//! programs; `cargo xtask test lab` runs them.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod agent_down;
mod bytes;
mod clsact;
mod dns;
mod evasion;
mod exclusions;
mod full_map;
mod guard;
mod headless;
mod hostile;
mod in_pod;
mod lab;
mod lifecycle;
mod limits;
mod load;
mod mesh;
mod metrics;
mod neighbours;
mod older;
mod probes;
mod records;
mod registry;
mod road;
mod same_node;
mod service_entries;
mod services;
mod steering;
mod strangers;
mod stuck;
mod supervisor;
mod survival;
mod traces;
mod upgrade;
