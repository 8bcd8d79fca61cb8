use serde_json::json;

use super::*;

#[test]
fn of_an_agent_it_is_told_what_keeps_it_from_being_ready() {
    let waiting = json!([{
        "name": "agent", "ready": false, "restartCount": 0, "image": "", "imageID": "",
        "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
    }]);
    let cases = [
        ("nothing is known", json!({}), "starting"),
        ("it pulls in vain", json!({"containerStatuses": waiting}), "ErrImagePull: not found"),
        ("it runs", json!({"phase": "Running"}), "running, not ready yet"),
        ("it is ready", json!({"conditions": [{"type": "Ready", "status": "True"}]}), "ready"),
        (
            "no node takes it",
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}]}),
            "no room",
        ),
    ];
    for (name, status, expected) in cases {
        let pod: Pod = serde_json::from_value(json!({"status": status})).unwrap();
        assert_eq!(state(&pod), expected, "{name}");
    }
}

fn daemonset(generation: i64, desired: i32, updated: i32, ready: i32) -> DaemonSet {
    let value = json!({
        "metadata": {"name": "m", "generation": generation},
        "status": {
            "observedGeneration": 2, "desiredNumberScheduled": desired, "updatedNumberScheduled": updated,
            "numberReady": ready, "currentNumberScheduled": desired, "numberMisscheduled": 0,
        },
    });
    serde_json::from_value(value).unwrap()
}

#[test]
fn it_is_rolled_out_when_each_node_has_one_agent_that_is_new_and_ready() {
    let cases = [
        ("all of them", daemonset(2, 2, 2, 2), 2, true),
        ("a cluster without nodes", daemonset(2, 0, 0, 0), 0, true),
        ("the controller has not seen it", daemonset(3, 2, 2, 2), 2, false),
        ("one is old", daemonset(2, 2, 1, 2), 2, false),
        ("one is not ready", daemonset(2, 2, 2, 1), 2, false),
        ("an old one has not ended", daemonset(2, 2, 2, 2), 3, false),
    ];
    for (name, daemonset, pods, expected) in cases {
        let mut agents = Agents::default();
        agents.daemonset.note(Event::Apply(daemonset));
        for pod in 0..pods {
            let pod = json!({"metadata": {"name": format!("m-{pod}")}});
            agents.pods.note(Event::Apply(serde_json::from_value(pod).unwrap()));
        }
        assert_eq!(agents.is_rolled_out(), expected, "{name}");
    }
}

#[test]
fn what_a_new_list_does_not_name_is_gone() {
    let pod = |name: &str| -> Pod { serde_json::from_value(json!({"metadata": {"name": name}})).unwrap() };
    let mut known = Known::default();
    for event in [
        Event::Init,
        Event::InitApply(pod("a")),
        Event::InitDone,
        Event::Apply(pod("b")),
        Event::Init,
        Event::InitApply(pod("b")),
        Event::InitDone,
    ] {
        known.note(event);
    }
    assert_eq!(known.objects.keys().collect::<Vec<_>>(), ["b"]);
}
