//! What is done over a road, and what is found.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    road::{PATIENCE, Stage},
    usage,
};

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workload {
    Bulk1,
    Bulk8,
    Ping,
    Connect1,
    Connect16,
    Http,
    HttpClose,
}

/// Something that a workload finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    Bulk1,
    Bulk8,
    PingP50,
    PingP99,
    Connect1,
    Connect16,
    Http,
    HttpP99,
    HttpClose,
}

/// One run of a workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) figures: Vec<(Figure, f64)>,
    /// How much was done, in [`Workload::unit`].
    pub(crate) units: f64,
    /// CPU seconds: the machine's, and of them the proxy's.
    pub(crate) machine: f64,
    pub(crate) proxy: f64,
    /// The most memory that the proxy had in it.
    pub(crate) peak: Option<u64>,
}

// === impl Workload ===

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bulk1 => "bulk-1",
            Self::Bulk8 => "bulk-8",
            Self::Ping => "ping",
            Self::Connect1 => "connect-1",
            Self::Connect16 => "connect-16",
            Self::Http => "http",
            Self::HttpClose => "http-close",
        }
    }

    /// What CPU time is divided by.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Bulk1 | Self::Bulk8 => "GiB",
            Self::Ping => "ping",
            Self::Connect1 | Self::Connect16 => "connection",
            Self::Http | Self::HttpClose => "request",
        }
    }

    pub(crate) fn run(self, stage: &mut Stage, seconds: u64) -> Result<Sample> {
        let addr = self.serve(stage)?.to_string();
        let watched = stage.watched();
        // To load the programs it needs more than ever again.
        watched.map_or(Ok(()), usage::Watched::forget_peak)?;
        let proxy_cpu = || watched.map_or(Ok(0.0), usage::Watched::cpu);
        let (machine, proxy) = (usage::machine_cpu()?, proxy_cpu()?);
        let (figures, units) = self.measure(stage, &addr, &seconds.to_string())?;
        Ok(Sample {
            figures,
            units,
            machine: usage::machine_cpu()? - machine,
            proxy: proxy_cpu()? - proxy,
            peak: watched.map(usage::Watched::peak).transpose()?,
        })
    }

    fn serve(self, stage: &mut Stage) -> Result<SocketAddr> {
        match self {
            Self::Bulk1 | Self::Bulk8 => stage.serve("sink", 1),
            Self::Ping => stage.serve("echo", 1),
            Self::Connect1 => stage.serve("answer", 1),
            Self::Connect16 => stage.serve("answer", 16),
            Self::Http | Self::HttpClose => stage.serve_http(),
        }
    }

    /// The figures, and how much was done.
    fn measure(self, stage: &Stage, addr: &str, seconds: &str) -> Result<(Vec<(Figure, f64)>, f64)> {
        let load = |words: &[&str]| stage.load(&[words, &[addr, "--seconds", seconds]].concat());
        match self {
            Self::Bulk1 => bulk(Figure::Bulk1, &load(&["bulk"])?),
            Self::Bulk8 => bulk(Figure::Bulk8, &load(&["bulk", "--streams", "8"])?),
            Self::Ping => {
                let found = load(&["ping"])?;
                let p50 = (Figure::PingP50, number(&found, "p50_us")?);
                let p99 = (Figure::PingP99, number(&found, "p99_us")?);
                Ok((vec![p50, p99], number(&found, "pings")?))
            }
            Self::Connect1 => connect(Figure::Connect1, &load(&["connect"])?),
            Self::Connect16 => connect(Figure::Connect16, &load(&["connect", "--clients", "16"])?),
            Self::Http => {
                let Wrk { requests, per_second, p99_us } = wrk(stage, addr, seconds, "keep-alive")?;
                Ok((vec![(Figure::Http, per_second), (Figure::HttpP99, p99_us)], requests))
            }
            Self::HttpClose => {
                let Wrk { requests, per_second, p99_us: _ } = wrk(stage, addr, seconds, "close")?;
                Ok((vec![(Figure::HttpClose, per_second)], requests))
            }
        }
    }
}

fn bulk(figure: Figure, found: &Value) -> Result<(Vec<(Figure, f64)>, f64)> {
    let bytes = number(found, "bytes")?;
    let gigabits = bytes * 8.0 / 1e9 / number(found, "elapsed_s")?;
    Ok((vec![(figure, gigabits)], bytes / f64::from(1 << 30)))
}

fn connect(figure: Figure, found: &Value) -> Result<(Vec<(Figure, f64)>, f64)> {
    let connections = number(found, "connections")?;
    // A rate of connections that fail is none.
    ensure!(found["failures"].as_object().is_some_and(serde_json::Map::is_empty), "some failed: {found}");
    Ok((vec![(figure, connections / number(found, "elapsed_s")?)], connections))
}

/// Sixteen connections at a time.
fn wrk(stage: &Stage, addr: &str, seconds: &str, connection: &str) -> Result<Wrk> {
    let (duration, url) = (format!("-d{seconds}"), format!("http://{addr}/"));
    let header = format!("Connection: {connection}");
    let words = ["wrk", "-t1", "-c16", &duration, "--latency", "-H", &header, &url];
    Wrk::parse(stage.client.run_for(PATIENCE, &words)?.stdout()?)
}

pub(crate) fn number(found: &Value, key: &str) -> Result<f64> {
    found[key].as_f64().with_context(|| format!("no number {key} in {found}"))
}

/// What wrk prints.
#[derive(Debug, PartialEq)]
struct Wrk {
    requests: f64,
    per_second: f64,
    p99_us: f64,
}

// === impl Wrk ===

impl Wrk {
    fn parse(text: &str) -> Result<Self> {
        let after = |label: &str| {
            let line = text.lines().find_map(|line| line.trim_start().strip_prefix(label));
            line.map(str::trim).with_context(|| format!("wrk printed no {label:?}: {text}"))
        };
        let errors = text.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
        ensure!(errors.is_none(), "wrk met errors: {text}");
        let requests = text.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
        Ok(Self {
            requests: requests.with_context(|| format!("wrk counted no requests: {text}"))?,
            per_second: after("Requests/sec:")?.parse()?,
            p99_us: microseconds(after("99%")?).with_context(|| format!("wrk printed no time: {text}"))?,
        })
    }
}

/// A time with its unit, as wrk and Rust write it.
pub(crate) fn microseconds(text: &str) -> Option<f64> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    let factor = match unit {
        "ns" => 0.001,
        "us" | "µs" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

// === impl Figure ===

impl Figure {
    pub(crate) const ALL: [Self; 9] = [
        Self::Bulk1,
        Self::Bulk8,
        Self::PingP50,
        Self::PingP99,
        Self::Connect1,
        Self::Connect16,
        Self::Http,
        Self::HttpP99,
        Self::HttpClose,
    ];

    pub(crate) fn workload(self) -> Workload {
        match self {
            Self::Bulk1 => Workload::Bulk1,
            Self::Bulk8 => Workload::Bulk8,
            Self::PingP50 | Self::PingP99 => Workload::Ping,
            Self::Connect1 => Workload::Connect1,
            Self::Connect16 => Workload::Connect16,
            Self::Http | Self::HttpP99 => Workload::Http,
            Self::HttpClose => Workload::HttpClose,
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bulk1 => "bulk, 1 stream, Gbit/s",
            Self::Bulk8 => "bulk, 8 streams, Gbit/s",
            Self::PingP50 => "64-byte ping-pong, p50 µs",
            Self::PingP99 => "64-byte ping-pong, p99 µs",
            Self::Connect1 => "connect-request-close, 1 client, conn/s",
            Self::Connect16 => "connect-request-close, 16 clients, conn/s",
            Self::Http => "HTTP keep-alive, 16 connections, req/s",
            Self::HttpP99 => "HTTP keep-alive, p99 µs",
            Self::HttpClose => "HTTP, a connection each, 16 at a time, req/s",
        }
    }

    /// What the figure of our road, divided by that of the direct one, is to be.
    pub(crate) fn target(self) -> Option<Bound> {
        match self {
            Self::Bulk1 | Self::Bulk8 => Some(Bound::AtLeast(0.85)),
            Self::PingP50 => Some(Bound::AtMost(1.25)),
            Self::Connect1 | Self::Connect16 => Some(Bound::AtLeast(0.5)),
            Self::PingP99 | Self::Http | Self::HttpP99 | Self::HttpClose => None,
        }
    }
}

/// What a number is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

// === impl Bound ===

impl Bound {
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => bound <= value,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

#[cfg(test)]
mod tests;
