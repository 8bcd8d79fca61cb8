//! What is logged, and how to change that while the agent runs.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Everything at info, the access records among it.
const DEFAULT: &str = "info";

/// Changes the filter of a running agent.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// Logs to standard error: text for eyes, or one JSON object a line. `RUST_LOG` overrides the default filter.
pub fn start(json: bool) -> Result<LogFilter> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
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

// === impl LogFilter ===

impl LogFilter {
    /// Sets a filter in the syntax of `RUST_LOG`: `debug`, or `info,capture=debug,access=off`.
    pub fn set(&self, filter: &str) -> Result<()> {
        let filter = EnvFilter::try_new(filter).with_context(|| format!("{filter:?} is no log filter"))?;
        self.0.reload(filter).context("cannot change the log filter")
    }
}
