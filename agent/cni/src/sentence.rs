//! An error with all its causes, on one line: for where it can be kept or sent only as text.

use std::{error::Error, fmt::Write as _, iter};

pub fn sentence(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    for cause in iter::successors(error.source(), |&error| error.source()) {
        let _a_string_takes_all = write!(sentence, ": {cause}");
    }
    sentence
}
