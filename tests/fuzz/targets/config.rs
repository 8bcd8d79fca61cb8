//! The node's configuration, whatever its file holds.
#![no_main]

use app::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Taken or refused: both are fine, a panic is not.
    let _ = Config::parse(text);
});
