//! Which connections of a pod pass without the proxy: what the node's configuration says, and what it lets the
//! annotations of a pod say.

use std::collections::{BTreeMap, BTreeSet};

use model::{ExclusionList, Exclusions, Origin};

use crate::refusal::Invalid;

/// What the node's configuration says. By default nothing is excluded, and no pod may exclude anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExclusionConfig {
    /// For every captured pod of the node.
    pub node: Exclusions,
    /// The lists that pods may have of their own.
    pub allow_overrides: BTreeSet<ExclusionList>,
}

/// What the annotations of one pod came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodExclusions {
    /// Without those of the node.
    pub(crate) own: Exclusions,
    pub(crate) refused: Vec<Invalid>,
}

// === impl PodExclusions ===

impl PodExclusions {
    /// Each annotation is taken or refused as a whole. In the place of one that makes no sense stays what it said
    /// `before`; if it never made sense, or may not be there, it excludes nothing: nobody gets round the mesh for a
    /// slip of the pen.
    pub(crate) fn read(
        annotations: &BTreeMap<String, String>,
        before: Option<&Self>,
        config: &ExclusionConfig,
    ) -> Self {
        let mut pod = Self::default();
        for list in ExclusionList::ALL {
            let Some(text) = annotations.get(list.annotation()) else { continue };
            if !config.allow_overrides.contains(&list) {
                let allow = "exclusions.allow-overrides of the node's configuration does not name";
                pod.refuse(list, format_args!("{allow} {}; it is ignored", list.name()));
                continue;
            }
            match Exclusions::parse(list, text, Origin::Pod) {
                Ok(exclusions) => pod.own.extend(&exclusions),
                Err(error) => {
                    let last = before.map(|b| b.own.only(list, Origin::Pod)).unwrap_or_default();
                    let instead = match last.is_empty() {
                        true => "it excludes nothing",
                        false => "what it said before stays in force",
                    };
                    pod.refuse(list, format_args!("{error}; {instead}"));
                    pod.own.extend(&last);
                }
            }
        }
        pod
    }

    fn refuse(&mut self, list: ExclusionList, reason: std::fmt::Arguments<'_>) {
        let field = format_args!("metadata.annotations[{}]", list.annotation()).to_string();
        self.refused.push(Invalid::new(field, reason));
    }
}

#[cfg(test)]
mod tests;
