//! Label selectors: `matchLabels` and `matchExpressions`, all of which must hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A label selector as it is written. An unknown field is an error: with a misspelt `matchLabels` the selector
/// would select everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelSelector {
    pub match_labels: BTreeMap<String, String>,
    pub match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    pub key: String,
    pub operator: Operator,
    #[serde(default)]
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// A selector ready to be asked. Without requirements it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(BTreeSet<String>),
    /// Also holds where the label is absent, as in Kubernetes.
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

/// Why a selector makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error(
        "{key:?} is not a label key: an optional DNS prefix and /, then at most 63 of A-Z, a-z, 0-9, -, _ and ."
    )]
    Key { key: String },
    #[error("{value:?} cannot be the value of label {key}: at most 63 of A-Z, a-z, 0-9, -, _ and .")]
    Value { key: String, value: String },
    #[error("operator {operator:?} on label {key} needs values")]
    NoValues { key: String, operator: Operator },
    #[error("operator {operator:?} on label {key} takes no values")]
    Values { key: String, operator: Operator },
}

// === impl Selector ===

impl Selector {
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Requirement { key, test }| match (test, labels.get(key)) {
            (Test::In(values), Some(value)) => values.contains(value),
            (Test::NotIn(values), Some(value)) => !values.contains(value),
            (Test::Exists, label) => label.is_some(),
            (Test::In(_), None) => false,
            (Test::NotIn(_), None) => true,
            (Test::DoesNotExist, label) => label.is_none(),
        })
    }
}

impl TryFrom<LabelSelector> for Selector {
    type Error = SelectorError;

    fn try_from(selector: LabelSelector) -> Result<Self, SelectorError> {
        let LabelSelector { match_labels, match_expressions } = selector;
        let labels = match_labels.into_iter().map(|(key, value)| {
            let values = vec![value];
            Expression { key, operator: Operator::In, values }
        });
        labels.chain(match_expressions).map(Requirement::try_from).collect::<Result<_, _>>().map(Self)
    }
}

// === impl Requirement ===

impl TryFrom<Expression> for Requirement {
    type Error = SelectorError;

    fn try_from(expression: Expression) -> Result<Self, SelectorError> {
        let Expression { key, operator, values } = expression;
        if !is_label_key(&key) {
            return Err(SelectorError::Key { key });
        }
        if let Some(value) = values.iter().find(|value| !value.is_empty() && !is_label_part(value)) {
            return Err(SelectorError::Value { value: value.clone(), key });
        }
        let test = match (operator, values.is_empty()) {
            (Operator::In, false) => Test::In(values.into_iter().collect()),
            (Operator::NotIn, false) => Test::NotIn(values.into_iter().collect()),
            (Operator::Exists, true) => Test::Exists,
            (Operator::DoesNotExist, true) => Test::DoesNotExist,
            (Operator::In | Operator::NotIn, true) => return Err(SelectorError::NoValues { key, operator }),
            (Operator::Exists | Operator::DoesNotExist, false) => {
                return Err(SelectorError::Values { key, operator });
            }
        };
        Ok(Self { key, test })
    }
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => crate::field::name("prefix", prefix).is_ok() && is_label_part(name),
        None => is_label_part(key),
    }
}

fn is_label_part(part: &str) -> bool {
    part.len() <= 63
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && part.starts_with(|c: char| c.is_ascii_alphanumeric())
        && part.ends_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests;
