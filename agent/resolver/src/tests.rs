use super::*;

#[tokio::test]
async fn whom_it_asks() {
    let given = vec!["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:5353".parse().unwrap()];
    for (name, given, resolv_conf, expected) in [
        ("the configuration's", given, "nameserver 192.0.2.1", "name server 192.0.2.53, 2001:db8::53"),
        (
            "those of the file",
            vec![],
            "search example.com\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions ndots:5 timeout:2",
            "name server 192.0.2.1, 2001:db8::1 of /etc/resolv.conf",
        ),
        (
            "an empty file",
            vec![],
            "",
            "cannot use /etc/resolv.conf: io error: no nameservers found in config; give dns.resolvers",
        ),
        (
            "nonsense among what makes sense",
            vec![],
            "nameserver one\n\u{0}\nnameserver 192.0.2.1",
            "name server 192.0.2.1 of /etc/resolv.conf",
        ),
    ] {
        let said = match Servers::new(given).make(resolv_conf.into()) {
            Ok(ready) => ready.names.to_string(),
            Err(because) => because,
        };
        assert_eq!(said, expected, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_name_is_not_asked_for() {
    let servers = Servers::new(vec!["192.0.2.53:53".parse().unwrap()]);
    let long = "a".repeat(64);
    for host in [&*long, "a..b", &"a.".repeat(200)] {
        let question = Question { host: host.into(), family: Family::V4 };
        let outcome = servers.ask(&question).await;
        assert!(
            matches!(&outcome, Outcome::Failed(because) if because.starts_with("it is no name of DNS")),
            "{host}: {outcome:?}"
        );
    }
}
