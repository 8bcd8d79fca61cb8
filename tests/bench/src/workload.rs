//! What is done over a road, and what is found.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{road::Stage, usage};

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workload {
    Bulk1,
    Bulk8,
    Ping,
    Connect1,
    Connect16,
    Http,
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
    /// The most memory that the proxy ever had.
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
        }
    }

    /// What CPU time is divided by.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Bulk1 | Self::Bulk8 => "GiB",
            Self::Ping => "ping",
            Self::Connect1 | Self::Connect16 => "connection",
            Self::Http => "request",
        }
    }

    pub(crate) fn run(self, stage: &mut Stage, seconds: u64) -> Result<Sample> {
        let seconds = seconds.to_string();
        let go: Box<dyn Fn(&Stage) -> Result<Sample>> = match self {
            Self::Bulk1 => bulk(Figure::Bulk1, "1", stage.serve("sink", 1)?.to_string(), seconds),
            Self::Bulk8 => bulk(Figure::Bulk8, "8", stage.serve("sink", 1)?.to_string(), seconds),
            Self::Ping => ping(stage.serve("echo", 1)?.to_string(), seconds),
            Self::Connect1 => connect(Figure::Connect1, "1", stage.serve("answer", 1)?.to_string(), seconds),
            Self::Connect16 => {
                connect(Figure::Connect16, "16", stage.serve("answer", 16)?.to_string(), seconds)
            }
            Self::Http => http(stage.serve_http()?.to_string(), seconds),
        };
        measured(stage, go)
    }
}

/// Runs it, and adds what it cost.
fn measured(stage: &Stage, go: impl FnOnce(&Stage) -> Result<Sample>) -> Result<Sample> {
    let watched = stage.watched();
    let proxy_cpu = || watched.map_or(Ok(0.0), usage::Watched::cpu);
    let before = (usage::machine_cpu()?, proxy_cpu()?);
    let sample = go(stage)?;
    Ok(Sample {
        machine: usage::machine_cpu()? - before.0,
        proxy: proxy_cpu()? - before.1,
        peak: watched.map(usage::Watched::peak).transpose()?,
        ..sample
    })
}

type Go = Box<dyn Fn(&Stage) -> Result<Sample>>;

fn bulk(figure: Figure, streams: &'static str, addr: String, seconds: String) -> Go {
    Box::new(move |stage| {
        let found = stage.load(&["bulk", &addr, "--streams", streams, "--seconds", &seconds])?;
        let bytes = number(&found, "bytes")?;
        let gigabits = bytes * 8.0 / 1e9 / number(&found, "elapsed_s")?;
        let units = bytes / f64::from(1 << 30);
        Ok(Sample { figures: vec![(figure, gigabits)], units, ..Sample::default() })
    })
}

fn ping(addr: String, seconds: String) -> Go {
    Box::new(move |stage| {
        let found = stage.load(&["ping", &addr, "--seconds", &seconds])?;
        let figures =
            vec![(Figure::PingP50, number(&found, "p50_us")?), (Figure::PingP99, number(&found, "p99_us")?)];
        Ok(Sample { figures, units: number(&found, "pings")?, ..Sample::default() })
    })
}

fn connect(figure: Figure, clients: &'static str, addr: String, seconds: String) -> Go {
    Box::new(move |stage| {
        let found = stage.load(&["connect", &addr, "--clients", clients, "--seconds", &seconds])?;
        let units = number(&found, "connections")?;
        let rate = units / number(&found, "elapsed_s")?;
        Ok(Sample { figures: vec![(figure, rate)], units, ..Sample::default() })
    })
}

/// Sixteen connections that are kept.
fn http(addr: String, seconds: String) -> Go {
    Box::new(move |stage| {
        let duration = format!("-d{seconds}");
        let url = format!("http://{addr}/");
        let output = stage.client.run_for(
            std::time::Duration::from_secs(120),
            &["wrk", "-t1", "-c16", &duration, "--latency", &url],
        )?;
        let Wrk { requests, per_second, p99_us } = Wrk::parse(output.stdout()?)?;
        let figures = vec![(Figure::Http, per_second), (Figure::HttpP99, p99_us)];
        Ok(Sample { figures, units: requests, ..Sample::default() })
    })
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
    pub(crate) const ALL: [Self; 8] = [
        Self::Bulk1,
        Self::Bulk8,
        Self::PingP50,
        Self::PingP99,
        Self::Connect1,
        Self::Connect16,
        Self::Http,
        Self::HttpP99,
    ];

    pub(crate) fn workload(self) -> Workload {
        match self {
            Self::Bulk1 => Workload::Bulk1,
            Self::Bulk8 => Workload::Bulk8,
            Self::PingP50 | Self::PingP99 => Workload::Ping,
            Self::Connect1 => Workload::Connect1,
            Self::Connect16 => Workload::Connect16,
            Self::Http | Self::HttpP99 => Workload::Http,
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
        }
    }

    /// What the figure of our road, divided by that of the direct one, is to be.
    pub(crate) fn target(self) -> Option<Bound> {
        match self {
            Self::Bulk1 | Self::Bulk8 => Some(Bound::AtLeast(0.85)),
            Self::PingP50 => Some(Bound::AtMost(1.25)),
            Self::Connect1 | Self::Connect16 => Some(Bound::AtLeast(0.5)),
            Self::PingP99 | Self::Http | Self::HttpP99 => None,
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
