//! Whether the agent lives, as the programs see it: until when, by the kernel's clock.

use std::{fmt, time::Duration};

use abi::name;
use aya::maps::{Array, Map, MapData, MapError};
use nix::time::{ClockId, clock_gettime};

use crate::{Error, Pins};

/// The pinned map `PULSE`.
pub struct Pulse(Array<MapData, u64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Alive,
    /// The agent is dead, stopped or stuck, for this long. Listeners that are open are held open by nobody who would
    /// accept.
    Silent(Duration),
}

// === impl Pulse ===

impl Pulse {
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let map = MapData::from_pin(pins.map(name::PULSE)).map_err(failed("open"))?;
        Map::Array(map).try_into().map(Self).map_err(failed("read the type of"))
    }

    /// The agent counts as alive from now on for this long.
    pub fn beat(&mut self, lasts: Duration) -> Result<(), Error> {
        self.0.set(0, nanoseconds(now() + lasts), 0).map_err(failed("write"))
    }

    pub fn life(&self) -> Result<Life, Error> {
        let until = Duration::from_nanos(self.0.get(&0, 0).map_err(failed("read"))?);
        Ok(now().checked_sub(until).map_or(Life::Alive, Life::Silent))
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").finish_non_exhaustive()
    }
}

/// What `bpf_ktime_get_ns` reads.
fn now() -> Duration {
    // It fails for clocks that do not exist; this one does.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// 64 bits last for 584 years of uptime.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn failed(op: &'static str) -> impl Fn(MapError) -> Error {
    move |source| Error::Map { op, map: name::PULSE, source }
}
