//! Labels take pods into the mesh and out of it, while they run.

use harness::Count;
use serde_json::json;

use crate::shop::{NAMESPACE, Shop, failures, redirection, wait_for};

const CROWD: usize = 10;

#[test]
fn a_label_takes_running_pods_in_and_out_and_no_connection_is_harmed() {
    let shop = Shop::with_agents("label");
    let servers = ["near", "far"].map(|server| shop.echo_at(server));
    let mut before = servers.map(|addr| shop.crowd(addr, CROWD));
    for crowd in &mut before {
        assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
    }
    let loads = servers.map(|addr| shop.load(addr));

    shop.label(Some("ambient"));
    shop.wait_captured();
    for crowd in &mut before {
        assert_eq!(crowd.exchange().unwrap(), Count::all(CROWD));
    }
    let mut captured = servers.map(|addr| shop.crowd(addr, CROWD));
    for crowd in &mut captured {
        assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
    }
    let client = shop.pod("client");
    let ip = client["status"]["podIP"].as_str().unwrap();
    let rows = shop.agent("n1").json(&["connections"]).unwrap();
    let of_client = rows.as_array().unwrap().iter().filter(|row| {
        row["direction"] == "outbound" && row["client"].as_str().is_some_and(|addr| addr.starts_with(ip))
    });
    assert!(2 * CROWD <= of_client.count(), "{rows}");
    let pods = shop.agent("n1").json(&["pods"]).unwrap();
    let row = pods.as_array().unwrap().iter().find(|row| row["name"] == "client").unwrap();
    assert!(2 * CROWD as u64 <= row["older_connections"].as_u64().unwrap(), "{row}");

    shop.label(None);
    wait_for("all annotations to be gone", || shop.pods().iter().all(|pod| redirection(pod).is_none()));
    for crowd in before.iter_mut().chain(&mut captured) {
        assert_eq!(crowd.exchange().unwrap(), Count::all(CROWD));
    }
    for load in loads {
        assert_eq!(failures(load), json!({}));
    }
    for crowd in before.into_iter().chain(captured) {
        assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
    }
    for (node, pod) in [("n1", "client"), ("n1", "near"), ("n2", "far")] {
        shop.agent(node).wait(&["released", &format!("{NAMESPACE}/{pod}")]).unwrap();
    }
}
