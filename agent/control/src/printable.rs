//! Text from outside, made fit for a terminal and a log.

use std::fmt;

/// Characters; enough for every reason that we give, with the longest name in it.
const PRINTED_MAX: usize = 400;

/// What came from outside goes on a terminal and into a log only so: one line, of bounded length.
pub(crate) fn printable(text: impl fmt::Display) -> String {
    let text = text.to_string();
    let mut chars = text.chars();
    let mut printable = String::new();
    for c in chars.by_ref().take(PRINTED_MAX) {
        match c.is_control() {
            true => printable.extend(c.escape_default()),
            false => printable.push(c),
        }
    }
    if chars.next().is_some() {
        printable.push('…');
    }
    printable
}
