//! Two agents of a node, without the agents.

use std::{fs::File, time::Duration};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{Tenure, is_held, try_lock, usurp};
use crate::run_dir::RunDir;

const NODE: &str = "n1";
const PATIENCE: Duration = Duration::from_secs(20);

/// The directory goes when the first is dropped.
fn run_dir() -> (TempDir, RunDir) {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = RunDir::new(dir.path());
    (dir, run_dir)
}

#[tokio::test]
async fn the_right_to_write_goes_from_one_to_the_next() {
    let (_dir, run_dir) = run_dir();
    let path = run_dir.lock_file();
    let first = Tenure::take(&run_dir, NODE).await.unwrap();
    assert!(first.holds() && is_held(&path));
    first.step_down();
    timeout(PATIENCE, first.until_lost()).await.unwrap();
    assert!(!first.holds(), "who is asked writes no more");
    assert!(is_held(&path), "but keeps others out until it has finished what it has in hand");
    let draining = first.end();
    assert!(!is_held(&path));
    let second = Tenure::take(&run_dir, NODE).await.unwrap();
    assert!(second.holds() && !first.holds());
    assert!(second.is_predecessor_draining(), "the first still has connections");
    drop(draining);
    assert!(!second.is_predecessor_draining());
}

#[tokio::test]
async fn who_does_not_answer_finds_itself_replaced() {
    let (_dir, run_dir) = run_dir();
    let path = run_dir.lock_file();
    let stuck = Tenure::take(&run_dir, NODE).await.unwrap();
    let new = usurp(&path).unwrap();
    timeout(PATIENCE, stuck.until_lost()).await.unwrap();
    assert!(!stuck.holds());
    assert!(try_lock(&path).unwrap().is_none(), "the new one has it");
    drop(stuck.end());
    assert!(try_lock(&path).unwrap().is_none(), "and the old one cannot give away what it has not");
    drop(new);
    assert!(try_lock(&path).unwrap().is_some());
}

#[tokio::test]
async fn a_lock_that_a_dead_agent_left_is_nobodys() {
    let (_dir, run_dir) = run_dir();
    drop(Flock::lock(File::create(run_dir.lock_file()).unwrap(), FlockArg::LockExclusive).unwrap());
    assert!(!is_held(&run_dir.lock_file()));
    assert!(Tenure::take(&run_dir, NODE).await.unwrap().holds());
}
