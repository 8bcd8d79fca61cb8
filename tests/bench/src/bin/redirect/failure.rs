//! The one way in which a copy fails.

use std::{error::Error, fmt, io};

use crate::end::End;

#[derive(Debug)]
pub(crate) enum Failure {
    Broken { end: End, source: io::Error },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Broken { end, source: _ } = self;
        write!(f, "the {end} broke off")
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let Self::Broken { end: _, source } = self;
        Some(source)
    }
}
