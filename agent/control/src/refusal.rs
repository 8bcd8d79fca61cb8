//! Why an object was not taken.

use std::fmt;

use crate::{kind::ObjectKey, printable::printable};

/// An object, or one field of it, that the index does not take. Its last good version stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field}: {reason}")]
pub struct Refusal {
    pub object: ObjectKey,
    /// The path of the field, e.g. `spec.ports[0].port`.
    pub field: String,
    pub reason: String,
}

/// A field whose value makes no sense: a [`Refusal`] that does not know yet of which object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) field: String,
    pub(crate) reason: String,
}

// === impl Invalid ===

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, reason } = self;
        write!(f, "{field}: {reason}")
    }
}

impl Invalid {
    pub(crate) fn new(field: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self { field: printable(field), reason: printable(reason) }
    }

    pub(crate) fn of(self, object: &ObjectKey) -> Refusal {
        let Self { field, reason } = self;
        Refusal { object: object.clone(), field, reason }
    }
}
