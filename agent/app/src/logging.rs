//! What is logged, and how to change that while the agent runs.

use std::{env, io::IsTerminal};

use anyhow::{Context, Result};
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Everything at info, the access records among it.
const DEFAULT: &str = "info";

/// Unless a filter names it: the client of the API server logs whole answers where it cannot read them, and its
/// errors are reported anyway.
const QUIET: &str = "kube_client=off";

/// Changes the filter of a running agent.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// Logs to standard error: text for eyes, or one JSON object a line. `RUST_LOG` overrides the default filter.
pub fn start(json: bool) -> Result<LogFilter> {
    let given = env::var(EnvFilter::DEFAULT_ENV).ok().and_then(|filter| parse(&filter).ok());
    let filter = given.map_or_else(|| parse(DEFAULT), Ok)?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        registry.with(lines.json().flatten_event(true)).try_init()?;
    } else {
        registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()?;
    }
    Ok(LogFilter(handle))
}

fn parse(filter: &str) -> Result<EnvFilter> {
    let quiet = if filter.contains("kube_client") { filter.to_owned() } else { format!("{filter},{QUIET}") };
    EnvFilter::try_new(quiet).with_context(|| format!("{filter:?} is no log filter"))
}

// === impl LogFilter ===

impl LogFilter {
    /// Sets a filter in the syntax of `RUST_LOG`: `debug`, or `info,capture=debug,access=off`.
    pub fn set(&self, filter: &str) -> Result<()> {
        self.0.reload(parse(filter)?).context("cannot change the log filter")
    }
}
