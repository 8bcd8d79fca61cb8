//! A DNS message of a pod → its answer. Start it with the seeds of `agent/dns/tests/seeds`.
#![no_main]

use std::sync::{Arc, LazyLock};

use dns::Transport;
use libfuzzer_sys::fuzz_target;
use model::Snapshot;

#[path = "../../../agent/dns/tests/hostile/mod.rs"]
mod hostile;

static CLUSTER: LazyLock<(Arc<Snapshot>, Vec<Arc<str>>)> =
    LazyLock::new(|| (hostile::cluster(), hostile::search()));

fuzz_target!(|message: &[u8]| {
    let (cluster, search) = &*CLUSTER;
    for transport in [Transport::Udp, Transport::Tcp] {
        hostile::check(cluster, search, message, transport);
    }
});
