//! New pods: what the CNI plugin asks of each before its first container starts.
//!
//! ```text
//! millstream-cni ──Add──► who is it? (API server) ──enrolled──► enroller ──captured──► Answer
//!                             └ not to be reached: its namespace decides
//! ```
//!
//! Root alone may ask (mode 0600, `SO_PEERCRED`): whoever asks names network namespaces that are to be entered.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use cni::{
    ask::{Answer, Attachment, LONGEST_LINE, Request},
    entry::Entry,
    standing::{Decision, Known, PodFacts, Standing, decide},
};
use control::kubernetes::PodLookup;
use model::{Enrolment, ObjectName, Pod, Snapshot, WhenAgentDown};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{info, warn};

use crate::{socket, standing};

/// The plugin waits for 30 s; what we cannot answer in that time must not look like silence.
const PATIENCE: Duration = Duration::from_secs(25);

/// A request is there whole as soon as somebody has connected.
const LONGEST_QUESTION: Duration = Duration::from_secs(5);

/// Asks on behalf of new pods.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    /// `None`: all that is known of pods is in the snapshots.
    pub(crate) lookup: Option<PodLookup>,
    pub(crate) enroller: mpsc::Sender<Arrival>,
    pub(crate) entry: Entry,
}

/// A pod to be captured before it starts.
#[derive(Debug)]
pub struct Arrival {
    /// With its addresses, and where its network namespace is.
    pub pod: Pod,
    pub captured: oneshot::Sender<Result<(), String>>,
}

// === impl Arrivals ===

impl Arrivals {
    pub(crate) async fn serve(self, listener: UnixListener) {
        let converse = |stream| {
            let arrivals = self.clone();
            async move { arrivals.converse(stream).await }
        };
        socket::serve(listener, "cni", converse).await;
    }

    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let peer = stream.peer_cred()?.uid();
        if peer != nix::unistd::geteuid().as_raw() {
            warn!(uid = peer, "Not root, and not answered at the CNI socket");
            return Ok(());
        }
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        timeout(LONGEST_QUESTION, BufReader::new(read.take(LONGEST_LINE)).read_line(&mut line)).await??;
        let answer = match serde_json::from_str::<Request>(&line) {
            Ok(Request::Status) => Answer::Ready,
            // What is captured already stays as it is.
            Ok(Request::Add(attachment) | Request::Check(attachment)) => match self.add(attachment).await {
                Some(answer) => answer,
                // The plugin asks again, and finds the next agent.
                None => return Ok(()),
            },
            Err(e) => Answer::Refused {
                why: format!("the agent cannot read what its plugin asks ({e})"),
                remedy: "are agent and plugin of one version? The agent installs its own when it starts"
                    .to_owned(),
            },
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        write.write_all(&line).await
    }

    /// `None`: this agent is ending.
    async fn add(&self, attachment: Attachment) -> Option<Answer> {
        let name = ObjectName::new(&attachment.namespace, &attachment.name);
        if self.entry.own.is_agent(&attachment.namespace, &attachment.name) {
            return Some(Answer::NotEnrolled { because: "it is an agent".to_owned() });
        }
        let answer = match self.look_up(&name, &attachment).await {
            Ok(Some(pod)) => self.meet(pod, attachment.netns.clone()).await?,
            // It was deleted; or it is a static one, whose mirror is not there yet.
            Ok(None) => self.decide_by_namespace(&attachment, "the API server knows no such pod".to_owned()),
            Err(why) => self.decide_by_namespace(&attachment, why),
        };
        info!(pod = %name, ?answer, "New pod");
        Some(answer)
    }

    /// The API server knows best: of a pod that was made just now, and of a label that was set just before it, a watch
    /// may not have told yet.
    async fn look_up(&self, name: &ObjectName, attachment: &Attachment) -> Result<Option<Pod>, String> {
        let Some(lookup) = &self.lookup else {
            return Ok(self.snapshots.borrow().pod_by_name(name).map(|pod| (**pod).clone()));
        };
        match lookup.pod(name, &attachment.ips).await {
            Ok(Some(pod)) if !is_meant(&pod, attachment.uid.as_deref()) => {
                Err("the API server knows another pod of that name".to_owned())
            }
            Ok(pod) => Ok(pod),
            Err(e) => Err(format!("{:#}", anyhow::Error::from(e))),
        }
    }

    async fn meet(&self, mut pod: Pod, netns: PathBuf) -> Option<Answer> {
        if let Enrolment::NotEnrolled(why) = &pod.enrolment {
            return Some(Answer::NotEnrolled { because: why.to_string() });
        }
        let when_agent_down = pod.when_agent_down;
        pod.netns = Some(netns);
        let (captured, is_captured) = oneshot::channel();
        let asked = async {
            self.enroller.send(Arrival { pod, captured }).await.ok()?;
            is_captured.await.ok()
        };
        let outcome = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Some(Err(late())))?;
        Some(match outcome {
            Ok(()) => Answer::Captured,
            Err(because) if when_agent_down == WhenAgentDown::Open => Answer::Later { because },
            Err(why) => Answer::Refused {
                why: format!("it cannot be captured, and must not start outside the mesh: {why}"),
                remedy: "see `millstream status` on the node; the kubelet tries again by itself".to_owned(),
            },
        })
    }

    /// By the plugin's own rule for when we do not answer, but that we mostly know the namespaces as they are now.
    fn decide_by_namespace(&self, attachment: &Attachment, why: String) -> Answer {
        let snapshot = self.snapshots.borrow().clone();
        let known = if snapshot.version > 0 {
            Known::Standing(standing::of(&snapshot))
        } else {
            Standing::read(&self.entry.state_dir)
        };
        let Attachment { namespace, name, annotations, .. } = attachment;
        match decide(&known, &self.entry, PodFacts { namespace, name, annotations }) {
            Decision::Pass => Answer::Later { because: why },
            Decision::Refuse { .. } => Answer::Refused {
                why: format!(
                    "it may not start outside the mesh, and whether it belongs there cannot be told: {why}"
                ),
                remedy: "is the API server well? The kubelet tries again by itself".to_owned(),
            },
        }
    }
}

/// A static pod is known to its kubelet by another UID than to the API server.
fn is_meant(pod: &Pod, uid: Option<&str>) -> bool {
    uid.is_none_or(|uid| pod.uid.as_str() == uid || pod.runtime_uid.as_deref() == Some(uid))
}

fn late() -> String {
    format!("the agent has not come to it within {} s", PATIENCE.as_secs())
}
