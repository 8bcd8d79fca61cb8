use model::SnapshotBuilder;

use super::*;

#[test]
fn a_service_has_a_row_for_each_port_and_one_where_it_has_none() {
    let port = |number, name: &str| ServicePort { port: number, name: name.into(), ..ServicePort::default() };
    let cases = [
        ("one port", vec![port(80, "")], None, vec![(Some(80), "")]),
        (
            "two ports",
            vec![port(80, "http"), port(443, "https")],
            None,
            vec![(Some(80), "http"), (Some(443), "https")],
        ),
        ("only another name", vec![], Some("www.example.com"), vec![(None, "")]),
        ("without TCP ports", vec![], None, vec![(None, "")]),
    ];
    for (name, ports, external_name, expected) in cases {
        let service = Service {
            ports,
            external_name: external_name.map(Into::into),
            ..Service::kubernetes(ObjectName::new("shop", "web"), "cluster.local")
        };
        let rows = services(&SnapshotBuilder::new(1, "cluster.local").service(service).build());
        let ports: Vec<_> = rows.iter().map(|row| (row.port, &*row.port_name)).collect();
        assert_eq!(ports, expected, "{name}");
        for row in &rows {
            assert_eq!(row.external_name.as_deref(), external_name, "{name}");
            assert_eq!(row.host, "web.shop.svc.cluster.local", "{name}");
        }
    }
}
