//! A map with no room left: the pod that does not fit says so, those that fit go on.

use std::{net::TcpListener, os::fd::AsFd};

use abi::{AddressKey, PodEntry, RawListenerKey, RegistryKey, limit, name};
use aya::maps::{HashMap, LpmTrie, Map, MapData, SockHash, lpm_trie::Key};
use harness::Node;

use crate::{
    mesh::{Mesh, NAMESPACE, assert_same, dial, echo, fingerprint},
    registry::{Outcome, dialled},
    steering::wait_for,
};

/// Fills a map with what belongs to no pod; emptied again when dropped.
struct Stuffing {
    map: Filled,
    keys: Vec<u64>,
}

enum Filled {
    Pods(HashMap<MapData, u64, PodEntry>),
    Addresses(HashMap<MapData, AddressKey, u8>),
    /// With the socket that is in all its slots.
    Listeners(SockHash<MapData, RawListenerKey>, TcpListener),
    Registry(LpmTrie<MapData, RegistryKey, u8>),
}

#[test]
fn a_pod_for_which_a_map_has_no_room_fails_by_name_and_is_captured_when_there_is() {
    let mesh = Mesh::labelled("fullmap");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _listening = echo(&server, 7);
    for (map, room) in
        [(name::PODS, limit::PODS), (name::ADDRESSES, limit::ADDRESSES), (name::LISTENERS, limit::LISTENERS)]
    {
        let stuffing = Stuffing::of(&mesh.node, map);
        assert!(stuffing.keys.len() < room as usize, "nothing of the pods in {map}");
        let late =
            mesh.node.pod(NAMESPACE, &format!("late-{}", map.to_lowercase())).start_unannounced().unwrap();
        let before = fingerprint(&late);
        late.announce().unwrap();
        let because = || {
            let rows = mesh.ask(&["pods"]);
            let row = rows.as_array().unwrap().iter().find(|row| row["uid"] == *late.uid())?;
            (row["state"] == "failed").then(|| row["because"].as_str().unwrap().to_owned())
        };
        wait_for(|| because().is_some());
        let because = because().unwrap();
        assert!(because.contains(&format!("map {map} is full: it has room for {room} entries")), "{because}");
        assert_same(&fingerprint(&late), &before);

        let (mut connection, local) = dial(&client, (server.v4(), 7), &[]);
        connection.ping("those that fit go on").unwrap();
        assert!(mesh.is_proxied(local), "{map}");

        drop(stuffing);
        mesh.agent.wait_captured(&late).unwrap();
        let (mut connection, local) = dial(&late, (server.v4(), 7), &[]);
        connection.ping("room at last").unwrap();
        assert!(mesh.is_proxied(local), "{map}");
    }
}

/// The proxy does, and the kernel again once all that is registered has room.
#[test]
fn a_full_registry_refuses_nobody_what_is_registered_and_lets_nobody_pass() {
    let mesh = Mesh::labelled("fullregistry");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let unknown = mesh.node.pod("elsewhere", "unknown").start_unannounced().unwrap();
    let _listening = [&server, &unknown].map(|pod| echo(pod, 7));
    let stuffing = Stuffing::of(&mesh.node, name::REGISTRY);
    let policy = Some("REGISTRY_ONLY");
    mesh.lab.annotate_namespace(NAMESPACE, "millstream.dev/outbound-traffic-policy", policy).unwrap();
    let refused = || dialled(&mesh, &client, (unknown.v4(), 7).into());
    wait_for(|| refused() == Outcome::RefusedByTheProxy);
    assert!(mesh.agent.log().unwrap().contains("map REGISTRY is full"));
    assert_eq!(dialled(&mesh, &client, (server.v4(), 7).into()), Outcome::Passes);
    drop(stuffing);
    // It is tried again when the cluster changes.
    let _another = mesh.pod("another");
    wait_for(|| refused() == Outcome::RefusedInTheKernel);
    assert_eq!(dialled(&mesh, &client, (server.v4(), 7).into()), Outcome::Passes);
}

// === impl Stuffing ===

impl Stuffing {
    fn of(node: &Node, map: &str) -> Self {
        let pin = node.pin_dir().join(format!("v{}", abi::VERSION)).join(map);
        let data = MapData::from_pin(&pin).unwrap();
        let map = match map {
            name::PODS => Filled::Pods(Map::HashMap(data).try_into().unwrap()),
            name::ADDRESSES => Filled::Addresses(Map::HashMap(data).try_into().unwrap()),
            name::REGISTRY => Filled::Registry(Map::LpmTrie(data).try_into().unwrap()),
            _ => Filled::Listeners(
                Map::SockHash(data).try_into().unwrap(),
                TcpListener::bind("127.0.0.1:0").unwrap(),
            ),
        };
        let mut stuffing = Self { map, keys: Vec::new() };
        // No namespace has such a cookie: the kernel counts them from one.
        for key in u64::MAX / 2.. {
            if !stuffing.insert(key) {
                return stuffing;
            }
            stuffing.keys.push(key);
        }
        unreachable!("every map has an end")
    }

    /// `false` when the map is full.
    fn insert(&mut self, key: u64) -> bool {
        let inserted = match &mut self.map {
            Filled::Pods(map) => map.insert(
                key,
                PodEntry {
                    open_when_agent_down: 0,
                    excludes: 0,
                    captures_dns: 0,
                    registry_only: 0,
                    reserved: [0; 4],
                },
                0,
            ),
            Filled::Addresses(map) => map.insert(address(key), 1, 0),
            Filled::Listeners(map, socket) => map.insert(listener(key), socket.as_fd(), 0),
            Filled::Registry(map) => map.insert(&nonsense(key), 1, 0),
        };
        match inserted {
            Ok(()) => true,
            Err(error) => {
                let said = format!("{error:?}");
                assert!(said.contains("ArgumentListTooLong") || said.contains("StorageFull"), "{said}");
                false
            }
        }
    }
}

impl Drop for Stuffing {
    fn drop(&mut self) {
        for key in self.keys.drain(..) {
            let removed = match &mut self.map {
                Filled::Pods(map) => map.remove(&key),
                Filled::Addresses(map) => map.remove(&address(key)),
                Filled::Listeners(map, _) => map.remove(&listener(key)),
                Filled::Registry(map) => map.remove(&nonsense(key)),
            };
            // The maps go with the lab in any case.
            drop(removed);
        }
    }
}

fn address(netns_cookie: u64) -> AddressKey {
    AddressKey { netns_cookie, address: [0; 16] }
}

/// No agent writes, nor clears away, what is neither address nor port.
fn nonsense(key: u64) -> Key<RegistryKey> {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&key.to_be_bytes());
    Key::new(RegistryKey::FIXED_BITS + RegistryKey::VALUE_BITS, RegistryKey { kind: 99, value })
}

fn listener(netns_cookie: u64) -> RawListenerKey {
    RawListenerKey { netns_cookie, slot: 0, reserved: 0 }
}
