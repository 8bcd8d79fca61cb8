//! Which pods a policy may select.

use super::{Applied, Kind, ObjectKey};
use crate::kind::PolicyKind;

const PODS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: bank}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db, tier: back}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: till, namespace: bank, labels: {app: web}}}
---
# Nothing is known of its namespace.
{apiVersion: v1, kind: Pod, metadata: {name: stray, namespace: unseen, labels: {app: web}}}
---
";

const EVERY_POD: &str = "shop/web shop/db bank/till unseen/stray";

/// A policy, the pods that it may select, and what is refused of it.
struct Case {
    name: &'static str,
    group: &'static str,
    kind: &'static str,
    rest: &'static str,
    selected: &'static str,
    refusal: &'static str,
}

impl Case {
    const fn network(name: &'static str, rest: &'static str, selected: &'static str) -> Self {
        Self { name, group: "networking.k8s.io/v1", kind: "NetworkPolicy", rest, selected, refusal: "" }
    }

    const fn cilium(name: &'static str, rest: &'static str, selected: &'static str) -> Self {
        Self {
            group: "cilium.io/v2",
            kind: "CiliumClusterwideNetworkPolicy",
            ..Self::network(name, rest, selected)
        }
    }

    const fn admin(name: &'static str, rest: &'static str, selected: &'static str) -> Self {
        Self {
            group: "policy.networking.k8s.io/v1alpha2",
            kind: "ClusterNetworkPolicy",
            ..Self::network(name, rest, selected)
        }
    }

    const fn refused(self, refusal: &'static str) -> Self {
        Self { refusal, ..self }
    }

    const fn of(self, group: &'static str, kind: &'static str) -> Self {
        Self { group, kind, ..self }
    }

    #[track_caller]
    fn check(&self) {
        let Self { name, group, kind, rest, selected, refusal } = self;
        let policy = format!(
            "{{apiVersion: {group}, kind: {kind}, metadata: {{name: p, namespace: shop}}{}{rest}}}",
            if rest.is_empty() { "" } else { ", " }
        );
        let applied = Applied::new(PODS).and(&policy);
        let mut expected: Vec<_> = selected.split_whitespace().map(str::to_owned).collect();
        expected.sort();
        assert_eq!(policed(&applied), expected, "{name}: {policy}");
        match *refusal {
            "" => assert_eq!(applied.refusals, [], "{name}"),
            refusal => assert_eq!(
                applied.refusal(),
                format!("{refusal}; until it is mended it may select every pod that it could"),
                "{name}"
            ),
        }
    }
}

/// `namespace/name` of each pod that has a policy over it.
fn policed(applied: &Applied) -> Vec<String> {
    let snapshot = applied.snapshot();
    let policed = snapshot.pods().into_iter().filter(|pod| pod.policed_by.is_some());
    policed.map(|pod| pod.name.to_string()).collect()
}

#[test]
fn a_network_policy_selects_by_labels_in_its_namespace() {
    for case in [
        Case::network("an empty selector", "spec: {podSelector: {}}", "shop/web shop/db"),
        Case::network("no selector", "spec: {policyTypes: [Ingress]}", "shop/web shop/db"),
        Case::network("a selector that is null", "spec: {podSelector: null}", "shop/web shop/db"),
        Case::network("no spec", "", "shop/web shop/db"),
        Case::network("labels", "spec: {podSelector: {matchLabels: {app: db}}}", "shop/db"),
        Case::network(
            "labels of which one is missing",
            "spec: {podSelector: {matchLabels: {app: web, tier: back}}}",
            "",
        ),
        Case::network(
            "In",
            "spec: {podSelector: {matchExpressions: [{key: app, operator: In, values: [web, other]}]}}",
            "shop/web",
        ),
        Case::network(
            "NotIn",
            "spec: {podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [back]}]}}",
            "shop/web",
        ),
        Case::network(
            "Exists",
            "spec: {podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}",
            "shop/db",
        ),
        Case::network(
            "DoesNotExist",
            "spec: {podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}",
            "shop/web",
        ),
        Case::network(
            "the labels of peers do not matter",
            "spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}]}]}",
            "shop/db",
        ),
        Case::network(
            "egress alone",
            "spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: []}",
            "shop/db",
        ),
    ] {
        case.check();
    }
}

#[test]
fn what_makes_no_sense_may_select_all_and_is_refused() {
    for case in [
        Case::network(
            "an unknown operator",
            "spec: {podSelector: {matchExpressions: [{key: app, operator: Near}]}}",
            "shop/web shop/db",
        )
        .refused("NetworkPolicy shop/p: spec.podSelector.matchExpressions: operator \"Near\" is not known"),
        Case::network(
            "no values",
            "spec: {podSelector: {matchExpressions: [{key: app, operator: In}]}}",
            "shop/web shop/db",
        )
        .refused("NetworkPolicy shop/p: spec.podSelector: operator In on label app needs values"),
        Case::network("not a selector", "spec: {podSelector: [web]}", "shop/web shop/db").refused(
            "NetworkPolicy shop/p: spec.podSelector: invalid type: sequence, expected LabelSelector",
        ),
        Case::network(
            "a rule that is none",
            "spec: {podSelector: {matchLabels: {app: db}}, ingress: 1}",
            "shop/web shop/db",
        )
        .refused("NetworkPolicy shop/p: spec.ingress: invalid type: integer `1`, expected a sequence"),
        Case::cilium("nothing", "", EVERY_POD)
            .refused("CiliumClusterwideNetworkPolicy p: spec: is missing, and so is specs"),
        Case::cilium("no selector", "spec: {ingress: []}", EVERY_POD)
            .refused("CiliumClusterwideNetworkPolicy p: spec.endpointSelector: is missing"),
        Case::cilium(
            "one rule of two",
            "specs: [{endpointSelector: {matchLabels: {app: db}}}, {}]",
            EVERY_POD,
        )
        .refused("CiliumClusterwideNetworkPolicy p: specs[1].endpointSelector: is missing"),
        Case::admin("no subject", "spec: {tier: Admin}", EVERY_POD)
            .refused("ClusterNetworkPolicy p: spec: missing field `subject`"),
        Case::admin("an empty subject", "spec: {subject: {}}", EVERY_POD)
            .refused("ClusterNetworkPolicy p: spec.subject: needs one of namespaces and pods"),
        Case::admin("no spec", "", "shop/web shop/db")
            .of("projectcalico.org/v3", "NetworkPolicy")
            .refused("Calico NetworkPolicy shop/p: .: missing field `spec`"),
    ] {
        case.check();
    }
}

#[test]
fn the_kinds_that_others_enforce() {
    const NAMESPACE: &str = "shop/web shop/db";
    for case in [
        Case::cilium("labels", "spec: {endpointSelector: {matchLabels: {app: db}}}", "shop/db"),
        Case::cilium("in its namespace", "spec: {endpointSelector: {matchLabels: {app: web}}}", "shop/web")
            .of("cilium.io/v2", "CiliumNetworkPolicy"),
        Case::cilium("everything", "spec: {endpointSelector: {}}", EVERY_POD),
        Case::cilium(
            "sources of labels",
            "spec: {endpointSelector: {matchLabels: {'k8s:app': db, 'any:tier': back}}}",
            "shop/db",
        ),
        Case::cilium(
            "a label that the manifest does not have",
            "spec: {endpointSelector: {matchLabels: {'reserved:host': ''}}}",
            EVERY_POD,
        ),
        Case::cilium(
            "a label of the namespace",
            "spec: {endpointSelector: {matchLabels: {'k8s:io.kubernetes.pod.namespace': bank, app: web}}}",
            "shop/web bank/till unseen/stray",
        ),
        Case::cilium(
            "absence, of a label that Cilium may not see",
            "spec: {endpointSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}, {key: app, operator: NotIn, values: [db]}]}}",
            EVERY_POD,
        ),
        Case::cilium(
            "several rules",
            "specs: [{endpointSelector: {matchLabels: {app: db}}}, {endpointSelector: {matchLabels: {app: none}}}]",
            "shop/db",
        ),
        Case::cilium("of nodes", "spec: {nodeSelector: {}}", ""),
        Case::admin(
            "namespaces by label",
            "spec: {subject: {namespaces: {matchLabels: {team: a}}}}",
            "shop/web shop/db unseen/stray",
        ),
        Case::admin(
            "namespaces by name",
            "spec: {subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: bank}}}}",
            "bank/till unseen/stray",
        ),
        Case::admin(
            "pods",
            "spec: {subject: {pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}}}",
            "shop/web unseen/stray",
        ),
        Case::admin("all", "spec: {subject: {namespaces: {}}}", EVERY_POD)
            .of("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
        Case::admin(
            "the baseline",
            "spec: {subject: {namespaces: {matchLabels: {team: b}}}}",
            "unseen/stray",
        )
        .of("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy"),
        Case::admin(
            "a later version",
            "spec: {subject: {namespaces: {matchLabels: {team: b}}}}",
            "unseen/stray",
        )
        .of("policy.networking.k8s.io/v1beta1", "ClusterNetworkPolicy"),
        Case::admin("of Calico", "spec: {selector: app == 'db'}", NAMESPACE)
            .of("projectcalico.org/v3", "NetworkPolicy"),
        Case::admin("of Calico, as its CRD", "spec: {selector: all()}", NAMESPACE)
            .of("crd.projectcalico.org/v1", "NetworkPolicy"),
        Case::admin("of Calico, global", "spec: {selector: app == 'db'}", EVERY_POD)
            .of("projectcalico.org/v3", "GlobalNetworkPolicy"),
        Case::admin("of Calico, only staged", "spec: {selector: all()}", "")
            .of("projectcalico.org/v3", "StagedNetworkPolicy"),
        Case::admin("of Antrea", "spec: {appliedTo: []}", NAMESPACE)
            .of("crd.antrea.io/v1beta1", "NetworkPolicy"),
        Case::admin("of Antrea, global", "spec: {appliedTo: []}", EVERY_POD)
            .of("crd.antrea.io/v1beta1", "ClusterNetworkPolicy"),
        Case::admin("of a group that nobody knows", "spec: {}", "").of("example.com/v1", "NetworkPolicy"),
    ] {
        case.check();
    }
}

#[test]
fn the_first_policy_by_kind_and_name_is_noted() {
    let policy = |group: &str, kind: &str, name: &str, rest: &str| {
        format!(
            "{{apiVersion: {group}, kind: {kind}, metadata: {{name: {name}, namespace: shop}}, spec: {{{rest}}}}}\n---\n"
        )
    };
    let noted = |applied: &Applied| {
        let snapshot = applied.snapshot();
        let web = snapshot.pod_by_name(&model::ObjectName::new("shop", "web")).unwrap().clone();
        web.policed_by.as_deref().map(str::to_owned)
    };
    let network = |name| policy("networking.k8s.io/v1", "NetworkPolicy", name, "podSelector: {}");
    let applied = Applied::new(PODS).and(&network("b")).and(&network("a")).and(&policy(
        "projectcalico.org/v3",
        "NetworkPolicy",
        "a",
        "selector: all()",
    ));
    assert_eq!(noted(&applied).as_deref(), Some("NetworkPolicy shop/a"));

    let mut applied = applied.sound();
    for name in ["a", "b"] {
        applied.index.delete(&ObjectKey::new(Kind::Policy(PolicyKind::Kubernetes), Some("shop"), name));
    }
    assert_eq!(noted(&applied).as_deref(), Some("Calico NetworkPolicy shop/a"));
    applied.index.delete(&ObjectKey::new(Kind::Policy(PolicyKind::Calico), Some("shop"), "a"));
    assert_eq!(noted(&applied), None);
}
