//! The one access record of a connection, whatever ends it.

use std::sync::Arc;

use model::ClientAddr;
use tracing::field;

use crate::{
    Direction, Reason, Stage,
    connections::{Facts, Live},
    failure::Failure,
    pods::OpenPod,
    shared::Shared,
};

/// Lists a connection as live; dropped, unlists it, counts how it ended and writes its record. A task that is
/// cancelled drops it like any other.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) live: Arc<Live>,
    shared: Arc<Shared>,
    outcome: Option<Result<(), Failure>>,
}

// === impl Record ===

impl Record {
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        pod: &OpenPod,
        direction: Direction,
        client: ClientAddr,
    ) -> Self {
        let live = shared.connections.add((&pod.uid, &pod.name), direction, client);
        Self { live, shared: Arc::clone(shared), outcome: None }
    }

    pub(crate) fn finish(mut self, outcome: Result<(), Failure>) {
        self.outcome = Some(outcome);
    }

    fn write(&self, reason: Reason, error: Option<&Failure>) {
        let Live { pod, direction, client, meter, .. } = &*self.live;
        let Facts { stage, original_dst, client_workload, service, upstream, upstream_workload, via, .. } =
            self.live.facts();
        let (source, destination) = match direction {
            Direction::Outbound => (Some(pod), upstream_workload.as_ref()),
            Direction::Inbound => (client_workload.as_ref(), Some(pod)),
        };
        let message = if matches!(stage, Stage::Answer | Stage::Copy) {
            "connection closed"
        } else {
            "connection refused"
        };
        tracing::info!(
            target: "access",
            {
                src.addr = %client,
                src.workload = source.map(field::display),
                dst.addr = original_dst.map(field::display),
                dst.service = service.as_ref().map(field::display),
                dst.workload = destination.map(field::display),
                upstream.addr = upstream.map(field::display),
                %direction,
                via = via.map(field::display),
                %stage,
                bytes_sent = meter.sent(),
                bytes_received = meter.received(),
                duration = ?meter.elapsed(),
                %reason,
                error = error.map(Failure::chain)
            },
            "{message}"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let (reason, error) = match &self.outcome {
            Some(Ok(())) => (Reason::Closed, None),
            Some(Err(failure)) => (failure.reason(), Some(failure)),
            None => (Reason::Aborted, None),
        };
        self.shared.connections.remove(self.live.id);
        self.shared.reasons.count(reason);
        self.write(reason, error);
    }
}
