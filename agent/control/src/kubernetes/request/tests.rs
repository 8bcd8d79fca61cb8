use std::io;

use kube::core::{Status, response::StatusDetails};

use super::RequestError;

const NEEDS: &str = "the agent's ClusterRole needs list and watch on pods";

fn answered(code: u16, message: &str) -> RequestError {
    kube::Error::Api(Status::failure(message, "").with_code(code).boxed()).into()
}

fn garbage() -> RequestError {
    kube::Error::SerdeError(serde_json::from_str::<u8>("<html>").unwrap_err()).into()
}

fn unreachable() -> RequestError {
    kube::Error::Service(io::Error::from(io::ErrorKind::ConnectionRefused).into()).into()
}

#[test]
fn an_error_says_what_to_do() {
    for (error, said) in [
        (
            answered(403, "pods is forbidden: User \"millstream\" cannot watch"),
            "forbidden: pods is forbidden: User \"millstream\" cannot watch; the agent's ClusterRole needs list and \
             watch on pods",
        ),
        (
            answered(401, "Unauthorized"),
            "the API server does not know who asks (Unauthorized); is the token or certificate expired?",
        ),
        (answered(500, "etcd is\nslow"), "the API server answers 500: etcd is\\nslow"),
        (garbage(), "what answered makes no sense: expected value at line 1 column 1; is it an API server?"),
        (unreachable(), "cannot reach the API server: connection refused"),
        (RequestError::NoVersion, "the API server sent an object without resourceVersion"),
    ] {
        assert_eq!(error.explain(NEEDS), said);
    }
}

#[test]
fn a_watch_is_taken_up_only_where_nothing_can_be_missing() {
    for (name, error, can_resume) in [
        ("unreachable", unreachable(), true),
        ("overloaded", answered(429, ""), true),
        ("forbidden", answered(403, ""), true),
        ("internal", answered(500, ""), true),
        ("too far behind", answered(410, "too old resource version: 1 (2)"), false),
        ("ahead of a restored etcd", answered(504, "Too large resource version: 9, current: 2"), false),
        ("no such version", answered(400, "Invalid value: \"resourceVersion\""), false),
        ("not understood", garbage(), false),
        ("not understood, as the client has it", answered(0, ""), false),
        ("no longer served", answered(404, ""), false),
        ("without version", RequestError::NoVersion, false),
    ] {
        assert_eq!(error.can_resume(), can_resume, "{name}");
        assert_eq!(error.is_gone(), name == "too far behind", "{name}");
    }
}

#[test]
fn the_api_server_may_ask_for_patience_within_bounds() {
    for (asked, seconds) in [(0, 0), (7, 7), (100_000, 60)] {
        let details: StatusDetails =
            serde_json::from_value(serde_json::json!({"retryAfterSeconds": asked})).unwrap();
        let status = Status::failure("", "").with_code(429).with_details(details);
        let error = RequestError::from(kube::Error::Api(status.boxed()));
        assert_eq!(error.retry_after().unwrap().as_secs(), seconds);
    }
    assert_eq!(unreachable().retry_after(), None);
}
