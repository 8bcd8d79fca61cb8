use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use model::SnapshotBuilder;

use super::*;
use crate::fixture::{cluster, search};

/// As `why` tells it.
#[test]
fn meanings() {
    let snapshot = cluster();
    let search = search("shop");
    let client = Client { namespace: "shop", search: &search };
    for (asked, expected) in [
        ("web", "service shop/web: 192.0.2.10 2001:db8::10"),
        ("Web.Other.svc.cluster.local.", "service other/web: 192.0.2.12 192.0.2.13"),
        ("db", "headless service shop/db: 198.51.100.1 198.51.100.4 198.51.100.5"),
        ("db-0.db", "an endpoint of headless service shop/db: 198.51.100.1"),
        ("idle", "headless service shop/idle: headless service shop/idle has no ready endpoint"),
        ("api.example.com", "ServiceEntry host shop/api.example.com: 240.240.0.1 2001:2::1"),
        (
            "api.example.com.cluster.local",
            "ServiceEntry host shop/api.example.com, without the search domain cluster.local: 240.240.0.1 2001:2::1",
        ),
        (
            "a.wild.example",
            "ServiceEntry host shop/*.wild.example by its wildcard *.wild.example: 240.240.0.2",
        ),
        (
            "to-alias",
            "ExternalName shop/to-alias, alias of TO-MESH.shop.svc.cluster.local., alias of api.example.com: \
             240.240.0.1 2001:2::1",
        ),
        (
            "to-internet",
            "ExternalName shop/to-internet: the ExternalName www.example.org is no host of the mesh",
        ),
        ("www.example.org", "its resolver's"),
        ("", "its resolver's"),
        (".", "its resolver's"),
        ("..", "its resolver's"),
        ("web..shop", "its resolver's"),
        ("Ünï.example", "its resolver's"),
    ] {
        let told = match lookup(&snapshot, &client, asked) {
            None => "its resolver's".to_owned(),
            Some(found) => {
                let mut told = found.to_string();
                if let Ok(meaning) = found.meaning {
                    let ips: Vec<_> = meaning.addresses().iter().map(ToString::to_string).collect();
                    write!(told, ": {}", ips.join(" ")).unwrap();
                }
                told
            }
        };
        assert_eq!(told, expected, "{asked}");
    }
}

#[test]
fn before_the_first_snapshot_nothing_is_known() {
    let client = Client { namespace: "shop", search: &[] };
    assert!(lookup(&Snapshot::default(), &client, "web.shop.svc.cluster.local").is_none());
}

/// The longest name there is, in every search domain of the longest list that Kubernetes takes.
#[test]
fn the_worst_name_takes_no_time() {
    let name = ["a"; 127].join(".");
    let search: Vec<Arc<str>> = (1..=32).map(|labels| vec!["a"; labels].join(".").into()).collect();
    let client = Client { namespace: "shop", search: &search };
    let snapshot = SnapshotBuilder::new(1, "a").build();
    let begun = Instant::now();
    assert!(lookup(&snapshot, &client, &name).is_none());
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
}
