//! Who asks, who answers, and one run of it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use harness::{Pod, Process, Service};
use serde_json::Value;

use super::question::{HOST, Question, SERVICE, Way};
use crate::{
    road::{self, NAMESPACE, Road},
    usage,
    workload::number,
};

/// A captured pod and one outside the mesh, each with a resolver.
#[derive(Debug)]
pub(super) struct Stage {
    captured: Pod,
    outside: Pod,
    resolver: Pod,
    service: Service,
    /// They end before their pods.
    _resolvers: [Process; 2],
    road: road::Stage,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Microseconds, one query in flight.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Queries that were answered in a second, many in flight.
    pub(super) rate: f64,
    /// CPU time in microseconds, divided by the queries: the machine's, and of it the agent's.
    pub(super) machine: f64,
    pub(super) agent: f64,
    /// Of a million queries.
    pub(super) lost: f64,
}

const IN_FLIGHT: usize = 32;
const DNS: u16 = 53;

// === impl Stage ===

impl Stage {
    pub(super) fn build() -> Result<Self> {
        let road = road::Stage::build(Road::Ours)?;
        let [outside, resolver] = ["outside", "resolver"].map(|name| road.node.pod("outside", name).start());
        let (outside, resolver) = (outside?, resolver?);
        let records = Question::ALL.map(Question::record);
        let records = records.each_ref().map(String::as_str);
        let resolvers = [outside.resolve(&records)?, resolver.resolve(&records)?];
        let service = road.lab.service(NAMESPACE, SERVICE).port("http", 80, 8_080);
        let service = service.endpoints(&[&road.server]).apply()?;
        road.lab.write_manifest("entry.yaml", &entry())?;
        let known = |services: &Value| {
            let of_host =
                services.as_array().into_iter().flatten().find(|row| row.to_string().contains(HOST));
            of_host.is_some_and(|row| row.to_string().contains("\"240.240."))
                && services.to_string().contains(&service.v4.to_string())
        };
        road.wait_until("the agent knows what is asked for", |agent| Ok(known(&agent.json(&["services"])?)))?;
        Ok(Self { captured: road.client.clone(), outside, resolver, service, _resolvers: resolvers, road })
    }

    pub(super) fn ask(&self, question: Question, way: Way, seconds: u64) -> Result<Sample> {
        let (client, server) = match way {
            Way::Dnsmasq => (&self.outside, &self.resolver),
            Way::Ours => (&self.captured, &self.resolver),
            Way::OverLo => (&self.outside, &self.outside),
        };
        let addr = SocketAddr::from((server.v4(), DNS)).to_string();
        let (name, seconds, many) = (question.name(), seconds.to_string(), IN_FLIGHT.to_string());
        let words = ["ask", &addr, "--name", &name, "--seconds", &seconds];
        let one = road::load(client, &words)?;
        self.check(question, way, &one)?;

        let watched = self.road.watched().context("no agent on this road")?;
        let (machine, agent) = (usage::machine_cpu()?, watched.cpu()?);
        let throughput = road::load(client, &[&words[..], &["--in-flight", &many]].concat())?;
        let (replies, lost) = (number(&throughput, "replies")?, number(&throughput, "lost")?);
        Ok(Sample {
            p50: number(&one, "p50_us")?,
            p99: number(&one, "p99_us")?,
            rate: replies / number(&throughput, "elapsed_s")?,
            machine: (usage::machine_cpu()? - machine) * 1e6 / replies,
            agent: (watched.cpu()? - agent) * 1e6 / replies,
            lost: (number(&one, "lost")? + lost) * 1e6 / (number(&one, "replies")? + replies),
        })
    }

    /// That he answered who should.
    fn check(&self, question: Question, way: Way, found: &Value) -> Result<()> {
        let addresses: Vec<Ipv4Addr> = serde_json::from_value(found["addresses"].clone())?;
        let expected = match (way, question) {
            (Way::Ours, Question::Service) => addresses == [self.service.v4],
            (Way::Ours, Question::Allocated) => {
                addresses.iter().all(|ip| ip.octets().starts_with(&[240, 240]))
            }
            _ => addresses == [question.at_dnsmasq()],
        };
        ensure!(expected, "another answered than should have: {addresses:?}");
        Ok(())
    }
}

/// What the mesh gives an address to.
fn entry() -> String {
    format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: ServiceEntry\n\
         metadata: {{name: api, namespace: {NAMESPACE}}}\n\
         spec:\n  \
           hosts: [{HOST}]\n  \
           ports: [{{number: 443, name: tls, protocol: TLS}}]\n  \
           resolution: DNS\n"
    )
}
