//! The commands of the CNI specification.

use std::{
    io::{self, Write as _},
    thread,
    time::{Duration, Instant},
};

use cni::{
    ask::{self, Answer, Attachment, Request, Unanswered},
    entry::Entry,
    sentence,
    standing::{self, Decision, PodFacts, Standing},
};
use serde_json::json;

use crate::{
    call::Conf,
    failure::{Code, Failure},
    version::{NEWEST, SUPPORTED},
};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

/// Runtimes ask every few seconds, and the kubelet waits for them.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);

/// An agent that was started again is back in a second or two, and a pod that is refused is tried again by its kubelet
/// only after ten. Who may start does not wait.
const GRACE: Duration = Duration::from_secs(5);

/// Between tries meanwhile.
const KNOCK: Duration = Duration::from_millis(100);

const NOT_ASKED: &str = "the agent answered what was not asked";

// === impl Command ===

impl Command {
    pub(crate) fn of(name: &str) -> Result<Self, Failure> {
        Ok(match name {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "STATUS" => Self::Status,
            "GC" => Self::Gc,
            "VERSION" => Self::Version,
            other => {
                return Err(Failure::new(
                    Code::Environment,
                    format!("CNI_COMMAND is {other:?}"),
                    "this is a CNI plugin, run by the container runtime with ADD, DEL, CHECK, STATUS, GC or VERSION",
                ));
            }
        })
    }
}

pub(crate) fn version() -> String {
    json!({ "cniVersion": NEWEST, "supportedVersions": SUPPORTED }).to_string()
}

pub(crate) fn add(stdin: &str) -> Result<String, Failure> {
    let conf = Conf::parse(stdin)?;
    let in_version = |failure: Failure| failure.in_version(&conf.cni_version);
    let result = conf.prev_result.map(|result| result.get().to_owned()).ok_or_else(|| {
        let details = "millstream-cni makes no network: in the conflist it comes after the plugin that does";
        in_version(Failure::new(Code::InvalidConfig, "prevResult is missing", details))
    })?;
    let Some(attachment) = conf.attachment().map_err(in_version)? else {
        return Ok(result);
    };
    may_start(&conf.entry, &attachment).map_err(in_version)?;
    Ok(result)
}

/// An agent that is down has changed nothing in the pod.
pub(crate) fn check(stdin: &str) -> Result<String, Failure> {
    let conf = Conf::parse(stdin)?;
    let in_version = |failure: Failure| failure.in_version(&conf.cni_version);
    let Some(attachment) = conf.attachment().map_err(in_version)? else {
        return Ok(String::new());
    };
    match question(&conf.entry, &Request::Check(attachment), conf.entry.patience()) {
        Ok(Answer::Refused { why, remedy }) => Err(in_version(Failure::new(Code::Refused, why, remedy))),
        Ok(_) | Err(_) => Ok(String::new()),
    }
}

/// Unless it is to gate the node, nothing that is wrong with us may make it unready.
pub(crate) fn status(stdin: &str) -> Result<String, Failure> {
    let Ok(conf) = Conf::parse(stdin) else {
        return Ok(String::new());
    };
    if !conf.entry.status_gates_node {
        return Ok(String::new());
    }
    let patience = conf.entry.patience().min(STATUS_PATIENCE);
    let because = match question(&conf.entry, &Request::Status, patience) {
        Ok(Answer::Ready) => return Ok(String::new()),
        Ok(Answer::Refused { why, remedy }) => format!("{why}; {remedy}"),
        Ok(Answer::Captured | Answer::NotEnrolled { .. } | Answer::Later { .. }) => NOT_ASKED.to_owned(),
        Err(unanswered) => sentence(&unanswered),
    };
    let msg =
        "the Millstream agent of this node is not ready, and cni.statusGatesNode makes the node wait for it";
    Err(Failure::new(Code::NotAvailable, msg, because).in_version(&conf.cni_version))
}

/// By the agent's answer, or by the file in its stead.
fn may_start(entry: &Entry, attachment: &Attachment) -> Result<(), Failure> {
    let pod = PodFacts {
        namespace: &attachment.namespace,
        name: &attachment.name,
        annotations: &attachment.annotations,
    };
    // It would wait for itself, or for an older one that is stuck.
    if pod.is_agent(entry) {
        return Ok(());
    }
    let deadline = Instant::now() + GRACE.min(entry.patience());
    loop {
        let unanswered = match question(entry, &Request::Add(attachment.clone()), entry.patience()) {
            Ok(Answer::Captured | Answer::NotEnrolled { .. } | Answer::Later { .. }) => return Ok(()),
            Ok(Answer::Refused { why, remedy }) => return Err(Failure::new(Code::Refused, why, remedy)),
            Ok(Answer::Ready) => None,
            Err(unanswered) => Some(unanswered),
        };
        let may_be_back = matches!(unanswered, Some(Unanswered::Absent { .. } | Unanswered::HungUp { .. }));
        let unanswered = unanswered.map_or_else(|| NOT_ASKED.to_owned(), |unanswered| sentence(&unanswered));
        match standing::decide(&Standing::read(&entry.state_dir), entry, pod) {
            Decision::Pass => {
                let _nobody_listens = writeln!(
                    io::stderr(),
                    "millstream-cni: {}/{} starts without the agent: {unanswered}",
                    attachment.namespace,
                    attachment.name
                );
                return Ok(());
            }
            Decision::Refuse { .. } if may_be_back && Instant::now() < deadline => thread::sleep(KNOCK),
            Decision::Refuse { why, remedy } => {
                return Err(Failure::new(Code::TryAgainLater, why, format!("{unanswered}; {remedy}")));
            }
        }
    }
}

fn question(entry: &Entry, request: &Request, patience: Duration) -> Result<Answer, Unanswered> {
    ask::ask(&entry.run_dir.join(ask::SOCKET), request, patience)
}
