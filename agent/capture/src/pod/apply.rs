//! The steps of a plan, taken one by one; when one fails, those before it are undone in reverse.

use std::{os::fd::AsFd, time::Instant};

use abi::Slot;
use tracing::{debug, warn};

use super::{Capture, Live, meet};
use crate::{
    Error, GuardHook, Listen, Listener, Programs,
    change::{merge, revert},
    filter,
    journal::Entry,
    plan::{Change, Step},
    programs::PodPrograms,
    sysctl,
};

impl Capture {
    pub(super) async fn apply(
        &self,
        pod: &mut Live,
        steps: &[Step],
        listen: &impl Listen,
    ) -> Result<(), Error> {
        let journalled = self.note(pod, steps)?;
        meet::tell_of_changes_back(pod, journalled.as_ref(), steps);
        let mut programs = None;
        for (done, step) in steps.iter().enumerate() {
            let begun = Instant::now();
            if let Err(e) = self.take(pod, step, &mut programs, listen).await {
                for step in steps[..=done].iter().rev() {
                    if let Err(e) = self.undo(pod, step, listen).await {
                        warn!(pod = %pod.spec.name, ?step, error = %e, "Step of a failed enrolment could not be undone");
                    }
                }
                self.restore_note(pod, journalled)?;
                return Err(e);
            }
            debug!(pod = %pod.spec.name, ?step, took = ?begun.elapsed(), "Step taken");
        }
        Ok(())
    }

    /// Writes the changes that are about to be made into the journal. Returns what stood there before.
    fn note(&self, pod: &Live, steps: &[Step]) -> Result<Option<Entry>, Error> {
        let before = self.journal.read(&pod.spec.uid)?;
        let mut changes = before.as_ref().map(|entry| entry.changes.clone()).unwrap_or_default();
        for step in steps {
            match step {
                Step::Change(change) => merge(&mut changes, change),
                Step::Guard { ifindex, .. } if self.guard_hook == GuardHook::Clsact => {
                    merge(&mut changes, &Change::Filter { ifindex: *ifindex });
                }
                _ => {}
            }
        }
        let entry = Entry {
            uid: pod.spec.uid.clone(),
            pod: pod.spec.name.clone(),
            netns: pod.spec.netns_path.clone(),
            netns_cookie: pod.spec.netns.cookie(),
            netns_inode: pod.spec.netns.inode(),
            when_agent_down: pod.spec.when_agent_down,
            steering: self.config.steering,
            changes,
        };
        if before.as_ref() != Some(&entry) {
            self.journal.write(&entry)?;
        }
        Ok(before)
    }

    fn restore_note(&self, pod: &Live, before: Option<Entry>) -> Result<(), Error> {
        match before {
            Some(entry) => self.journal.write(&entry),
            None => self.journal.remove(&pod.spec.uid),
        }
    }

    async fn take(
        &self,
        pod: &mut Live,
        step: &Step,
        programs: &mut Option<PodPrograms>,
        listen: &impl Listen,
    ) -> Result<(), Error> {
        let steering = self.steering_of(pod);
        let Live { spec, netlink, .. } = &*pod;
        let cookie = spec.netns.cookie();
        match step {
            Step::Change(Change::Sysctl { name, after, .. }) => sysctl::write(&spec.netns, name, after),
            Step::Change(Change::Rule { family }) => netlink.add_rule(*family, &steering).await,
            Step::Change(Change::Route { family, source }) => {
                netlink.set_route(*family, *source, &steering).await
            }
            // Planned as `Step::Guard`.
            Step::Change(Change::Filter { .. }) => Ok(()),
            Step::AddOwnAddress(address) => self.with_maps(|maps| maps.add_address(cookie, *address)),
            Step::RemoveOwnAddress(address) => self.with_maps(|maps| maps.remove_address(cookie, *address)),
            Step::Listen => {
                for Listener { slot, socket } in listen.listen(spec).map_err(Error::Listen)? {
                    self.with_maps(|maps| maps.set_listener(cookie, slot, socket.as_fd()))?;
                }
                pod.listening = true;
                Ok(())
            }
            Step::Steer => {
                self.programs_of(spec, programs)?.steer(&self.config)?;
                pod.steered = true;
                Ok(())
            }
            Step::Guard { ifindex, interface } => {
                let programs = self.programs_of(spec, programs)?;
                match self.guard_hook {
                    GuardHook::Clsact => programs.guard_by_filter(&self.config, interface),
                    GuardHook::Tcx | GuardHook::Auto => programs.guard(&self.config, *ifindex, interface),
                }?;
                pod.guarded.insert(*ifindex);
                Ok(())
            }
            Step::ForgetGuard { ifindex } => {
                pod.guarded.remove(ifindex);
                Programs::unguard(&self.config, cookie, *ifindex)
            }
            Step::Exclude(exclusion) => self.with_maps(|maps| maps.exclusions.add(cookie, *exclusion)),
            Step::Include(exclusion) => self.with_maps(|maps| maps.exclusions.remove(cookie, *exclusion)),
            Step::Begin { terms, .. } => self.with_maps(|maps| maps.set_pod(cookie, terms)),
        }
    }

    async fn undo(&self, pod: &mut Live, step: &Step, listen: &impl Listen) -> Result<(), Error> {
        let cookie = pod.spec.netns.cookie();
        match step {
            Step::Change(change) => {
                revert(&pod.spec.netns, &pod.netlink, change, &self.config.steering).await
            }
            Step::AddOwnAddress(address) => self.with_maps(|maps| maps.remove_address(cookie, *address)),
            Step::RemoveOwnAddress(address) => self.with_maps(|maps| maps.add_address(cookie, *address)),
            Step::Listen => {
                for slot in Slot::ALL {
                    self.with_maps(|maps| maps.remove_listener(cookie, slot))?;
                }
                pod.listening = false;
                listen.close(&pod.spec.uid).await;
                Ok(())
            }
            Step::Steer => {
                pod.steered = false;
                Programs::unsteer(&self.config, cookie)
            }
            Step::Guard { ifindex, .. } => {
                pod.guarded.remove(ifindex);
                if self.guard_hook == GuardHook::Clsact {
                    filter::detach(&pod.spec.netns, *ifindex)?;
                }
                Programs::unguard(&self.config, cookie, *ifindex)
            }
            // Its interface is gone, and so is what it watched.
            Step::ForgetGuard { .. } => Ok(()),
            Step::Exclude(exclusion) => self.with_maps(|maps| maps.exclusions.remove(cookie, *exclusion)),
            Step::Include(exclusion) => self.with_maps(|maps| maps.exclusions.add(cookie, *exclusion)),
            Step::Begin { before: Some(terms), .. } => self.with_maps(|maps| maps.set_pod(cookie, terms)),
            Step::Begin { before: None, .. } => self.with_maps(|maps| maps.remove_pod(cookie)),
        }
    }
}
