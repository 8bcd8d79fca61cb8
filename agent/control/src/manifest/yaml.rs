//! The YAML of one document, within bounds.

use serde_json::Value;
use serde_saphyr::{
    Options, RenderOptions, UserMessageFormatter, budget, options, options::DuplicateKeyPolicy,
    render_options,
};

use super::documents::Document;
use crate::printable::printable;

/// Deeper than any object of Kubernetes, CRDs with their schemas included. The parser recurses, and without
/// optimisation 80 levels are the end of a thread's 2 MiB of stack.
const DEPTH_MAX: usize = 50;
/// A list of some thousand pods as `kubectl get -o yaml` prints it.
const NODES_MAX: usize = 4_000_000;
/// What anchors may add. Manifests use few; a bomb needs many.
const ALIASES_MAX: usize = 1_000;
const REPLAYED_MAX: usize = 10_000;
/// A merge key (`<<`) copies whole mappings, so even a few of them make a bomb.
const MERGE_KEYS_MAX: usize = 64;

/// The reason for a failure is one line, which names the line of the file.
pub(super) fn parse(document: &Document<'_>) -> Result<Value, String> {
    serde_saphyr::from_str_with_options(document.text, bounded(DuplicateKeyPolicy::Error))
        .map_err(|error| printable(error.render_with_options(render(document.first_line))))
}

/// Overlooks repeated keys: good enough to learn which object is meant.
pub(super) fn parse_leniently(document: &Document<'_>) -> Option<Value> {
    serde_saphyr::from_str_with_options(document.text, bounded(DuplicateKeyPolicy::FirstWins)).ok()
}

fn bounded(duplicate_keys: DuplicateKeyPolicy) -> Options {
    options! {
        duplicate_keys: duplicate_keys,
        with_snippet: false,
        budget: budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_merge_keys: MERGE_KEYS_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPLAYED_MAX },
    }
}

fn render(first_line: u64) -> RenderOptions<'static> {
    render_options! { formatter: &UserMessageFormatter, line_offset: first_line }
}
