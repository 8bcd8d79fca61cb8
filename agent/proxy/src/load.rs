//! How many connections of this proxy each endpoint is serving.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use model::EndpointAddr;

use crate::lock::lock;

#[derive(Clone, Debug, Default)]
pub(crate) struct Loads(Arc<Mutex<HashMap<EndpointAddr, usize>>>);

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    loads: Loads,
    endpoint: EndpointAddr,
}

// === impl Loads ===

impl Loads {
    pub(crate) fn of(&self, endpoint: EndpointAddr) -> usize {
        lock(&self.0).get(&endpoint).copied().unwrap_or_default()
    }

    pub(crate) fn add(&self, endpoint: EndpointAddr) -> Load {
        *lock(&self.0).entry(endpoint).or_default() += 1;
        Load { loads: self.clone(), endpoint }
    }
}

// === impl Load ===

impl Drop for Load {
    fn drop(&mut self) {
        let mut loads = lock(&self.loads.0);
        if let Some(count) = loads.get_mut(&self.endpoint) {
            *count -= 1;
            if *count == 0 {
                loads.remove(&self.endpoint);
            }
        }
    }
}

#[cfg(test)]
mod tests;
