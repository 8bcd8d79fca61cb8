//! Which pods a policy may select.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Written;

use crate::{
    refusal::Invalid,
    selector::{Expression, LabelSelector, Operator, Selector},
};

/// Pods that any of the clauses selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope(Vec<Clause>);

/// Pods with such labels in namespaces with such labels. A policy that belongs to a namespace is only asked about
/// the pods there, so its clauses leave the namespace open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) namespaces: Selector,
    pub(super) pods: Selector,
}

// === impl Scope ===

impl Scope {
    /// All that the kind of the policy permits.
    pub(crate) fn everything() -> Self {
        Self(vec![Clause::default()])
    }

    pub(super) fn of_pods(field: &str, pods: Written) -> Result<Self, Invalid> {
        let pods = selector(field, pods)?;
        Ok(Self(vec![Clause { pods, ..Clause::default() }]))
    }

    /// Of a namespace that has not been seen (`None`) nobody knows the labels.
    pub(crate) fn may_select(
        &self,
        pod: &BTreeMap<String, String>,
        namespace: Option<&BTreeMap<String, String>>,
    ) -> bool {
        self.0.iter().any(|Clause { namespaces, pods }| {
            pods.matches(pod) && namespace.is_none_or(|labels| namespaces.matches(labels))
        })
    }
}

impl FromIterator<Clause> for Scope {
    fn from_iter<T: IntoIterator<Item = Clause>>(clauses: T) -> Self {
        Self(clauses.into_iter().collect())
    }
}

pub(super) fn selector(field: &str, written: Written) -> Result<Selector, Invalid> {
    let expressions = written.match_expressions.unwrap_or_default().into_iter().map(|expression| {
        let operator = operator(&expression.operator).ok_or_else(|| {
            let reason = format_args!("operator {:?} is not known", expression.operator);
            Invalid::new(format_args!("{field}.matchExpressions"), reason)
        })?;
        Ok(Expression { key: expression.key, operator, values: expression.values.unwrap_or_default() })
    });
    let match_labels = written.match_labels.unwrap_or_default();
    let match_expressions = expressions.collect::<Result<_, _>>()?;
    Selector::try_from(LabelSelector { match_labels, match_expressions }).map_err(|e| Invalid::new(field, e))
}

fn operator(text: &str) -> Option<Operator> {
    match text {
        "In" => Some(Operator::In),
        "NotIn" => Some(Operator::NotIn),
        "Exists" => Some(Operator::Exists),
        "DoesNotExist" => Some(Operator::DoesNotExist),
        _ => None,
    }
}
