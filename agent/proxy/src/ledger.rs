//! What each pod has taken of something that all pods of the node share.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    fair::{Denial, Share, Used},
    lock::lock,
};

#[derive(Debug)]
pub(crate) struct Ledger {
    share: Share,
    node: Mutex<Node>,
}

#[derive(Debug, Default)]
struct Node {
    used: usize,
    accounts: usize,
}

/// The part of one pod.
#[derive(Debug)]
pub(crate) struct Account {
    ledger: Arc<Ledger>,
    /// Changed only while the node's is locked.
    used: AtomicUsize,
}

// === impl Ledger ===

impl Ledger {
    pub(crate) fn new(share: Share) -> Arc<Self> {
        Arc::new(Self { share, node: Mutex::default() })
    }

    pub(crate) fn account(self: &Arc<Self>) -> Account {
        lock(&self.node).accounts += 1;
        Account { ledger: Arc::clone(self), used: AtomicUsize::new(0) }
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        lock(&self.node).used
    }
}

// === impl Account ===

impl Account {
    pub(crate) fn take(&self, amount: usize) -> Result<(), Denial> {
        let mut node = lock(&self.ledger.node);
        let used = Used { node: node.used, pod: self.used.load(Ordering::Relaxed) };
        self.ledger.share.admit(used, node.accounts, amount)?;
        node.used += amount;
        self.used.fetch_add(amount, Ordering::Relaxed);
        Ok(())
    }

    /// Takes what nobody may be denied.
    pub(crate) fn overdraw(&self, amount: usize) {
        lock(&self.ledger.node).used += amount;
        self.used.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, amount: usize) {
        lock(&self.ledger.node).used -= amount;
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        lock(&self.ledger.node).accounts -= 1;
    }
}

#[cfg(test)]
mod tests;
