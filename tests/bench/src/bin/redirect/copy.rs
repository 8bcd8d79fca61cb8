//! The copy of the proxy, and what it expects to find beside itself.

use crate::end::End;

#[path = "../../../../../agent/proxy/src/copy/both_ways.rs"]
#[rustfmt::skip]
mod both_ways;

pub(crate) use both_ways::both_ways;
