//! What operators are told by the one that leads: why no addresses are given, or what is wrong with them.

use control::kubernetes::{AllocatorNotes, AllocatorReport};
use jiff::Timestamp;

/// Agents tell them one by one.
const PROBLEMS_MAX: usize = 20;

pub(crate) struct Told {
    notes: AllocatorNotes,
    manager: String,
    identity: String,
    /// Why this one gives no addresses, and what is wrong, as it is written there; `None`: another may have written it.
    written: Option<(Option<String>, Vec<String>)>,
}

// === impl Told ===

impl Told {
    pub(crate) fn new(notes: AllocatorNotes, manager: &str, identity: &str) -> Self {
        Self { notes, manager: manager.to_owned(), identity: identity.to_owned(), written: None }
    }

    /// For who leads anew.
    pub(crate) fn begin_anew(&mut self) {
        self.written = None;
    }

    /// # Errors
    ///
    /// In one line, why it could not be written.
    pub(crate) async fn tell(
        &mut self,
        standing_by: Option<String>,
        problems: &[String],
    ) -> Result<(), String> {
        let mut named: Vec<String> = problems.iter().take(PROBLEMS_MAX).cloned().collect();
        if let more @ 1.. = problems.len() - named.len() {
            named.push(format!("and {more} more"));
        }
        let said = (standing_by, named);
        if self.written.as_ref() == Some(&said) {
            return Ok(());
        }
        let (standing_by, problems) = said.clone();
        let is_something = standing_by.is_some() || !problems.is_empty();
        let (by, since) = (self.identity.clone(), Timestamp::now());
        let report = is_something.then_some(AllocatorReport { by, since, standing_by, problems });
        self.notes.write(report.as_ref(), &self.manager).await?;
        self.written = Some(said);
        Ok(())
    }
}
