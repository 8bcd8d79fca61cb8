//! The versions of the CNI specification that the plugin speaks.

/// Older ones know no chain.
pub(crate) const SUPPORTED: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
pub(crate) const NEWEST: &str = "1.1.0";
