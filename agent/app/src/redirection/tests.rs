use model::{Exclusions, ExistingConnections, ObjectName, WhenAgentDown};

use super::*;
use crate::pods::Cause;

#[test]
fn the_annotation_says_what_is_true_and_is_left_alone_while_nothing_is_known() {
    let enrolled = || Enrolment::Enrolled("namespace label istio.io/dataplane-mode=ambient".to_owned());
    let not = Enrolment::NotEnrolled;
    let failed = || Some(Phase::Failed { cause: Cause::NetnsNotFound, reason: "no process".to_owned() });
    let cases = [
        ("captured", enrolled(), Some(Phase::Captured), Some(Some("enabled"))),
        ("failed", enrolled(), failed(), Some(Some("pending"))),
        ("about to be captured, or adopted", enrolled(), None, None),
        ("being released", not(Uncaptured::NoLabel), Some(Phase::Releasing), Some(None)),
        ("released", not(Uncaptured::NoLabel), None, Some(None)),
        ("opted out", not(Uncaptured::OptedOut), None, Some(None)),
        ("finished", not(Uncaptured::Terminal), None, None),
        ("finished while captured", not(Uncaptured::Terminal), Some(Phase::Releasing), None),
        ("failed, and not wanted any more", not(Uncaptured::NoLabel), failed(), Some(None)),
    ];
    for (name, enrolment, phase, expected) in cases {
        assert_eq!(wanted(&pod(enrolment), phase.as_ref()), expected, "{name}");
    }
}

fn pod(enrolment: Enrolment) -> Pod {
    Pod {
        uid: PodUid::new("uid"),
        name: ObjectName::new("shop", "cart"),
        node: Some("a".into()),
        service_account: "default".into(),
        ips: Vec::new(),
        runtime_uid: None,
        netns: None,
        enrolment,
        terminating: false,
        when_agent_down: WhenAgentDown::Closed,
        existing_connections: ExistingConnections::Keep,
        policed_by: None,
        exclusions: Exclusions::default(),
        refused_exclusions: Vec::new(),
        redirection: None,
        dns: model::PodDns::default(),
        outbound_policy: model::OutboundPolicy::default(),
    }
}
