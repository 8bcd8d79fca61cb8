//! What a folder says, and what it said when it last made sense. PURE.

use std::{collections::BTreeMap, mem, sync::Arc};

use allocation::{Demand, Reconciled};
use model::Snapshot;
use tracing::warn;

use super::SourceFile;
use crate::{
    index::{Index, IndexConfig},
    kind::ObjectKey,
    manifest::{self, Manifest, ManifestError, Subject},
    object::Object,
    refusal::Refusal,
    slices,
    source::SourceRefusal,
};

pub(super) struct Folder {
    index: Index,
    /// The last version of each object that could be read.
    held: BTreeMap<ObjectKey, Held>,
    /// The last version of each object that the index took as well.
    taken: BTreeMap<ObjectKey, Object>,
}

#[derive(Clone, Debug, PartialEq)]
struct Held {
    place: Place,
    object: Object,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: String,
    document: usize,
}

/// What one look at the folder found, before it is compared with the last.
#[derive(Default)]
struct Reading {
    found: BTreeMap<ObjectKey, Vec<Held>>,
    /// What could not be read: the file, and which object it would have been.
    failed: Vec<(String, Subject)>,
    refusals: Vec<SourceRefusal>,
}

// === impl Folder ===

impl Folder {
    pub(super) fn new(config: IndexConfig) -> Self {
        let index = Index::new(IndexConfig { honour_netns_annotation: true, ..config });
        Self { index, held: BTreeMap::new(), taken: BTreeMap::new() }
    }

    /// Makes `files` the present state. Returns all that is wrong with it, in the order of the files.
    pub(super) fn reread(&mut self, files: &[SourceFile]) -> Vec<SourceRefusal> {
        let Reading { found, failed, mut refusals } = Reading::of(files);
        let mut held = self.choose(found, &mut refusals);
        self.keep_failed(&failed, &mut held);
        self.held = held;

        let refused = self.reset_index();
        refusals.extend(refused.into_iter().map(|refusal| self.at_its_place(refusal)));
        refusals.sort_by(|a, b| (&a.file, a.document).cmp(&(&b.file, b.document)));
        refusals
    }

    /// `is_sound`: nothing of the folder was refused, so that what is not known of is not there.
    pub(super) fn demand(&self, is_sound: bool) -> Demand {
        Demand { is_complete: is_sound, ..self.index.demand() }
    }

    pub(super) fn allocate(&mut self, allocated: Reconciled) {
        self.index.allocate(allocated);
    }

    pub(super) fn snapshot(&self, version: u64) -> Arc<Snapshot> {
        self.index.snapshot(version)
    }

    /// One place for each object: the file where it was before, else the first.
    fn choose(
        &self,
        found: BTreeMap<ObjectKey, Vec<Held>>,
        refusals: &mut Vec<SourceRefusal>,
    ) -> BTreeMap<ObjectKey, Held> {
        let mut held = BTreeMap::new();
        for (key, mut places) in found {
            let before = self.held.get(&key).map(|held| &held.place.file);
            let chosen = places.iter().position(|p| Some(&p.place.file) == before).unwrap_or_default();
            let chosen = places.remove(chosen);
            refusals.extend(places.into_iter().map(|Held { place, .. }| SourceRefusal {
                document: Some(place.document),
                object: Some(key.to_string()),
                reason: format!("is also in {}, document {}", chosen.place.file, chosen.place.document),
                ..SourceRefusal::of_file(place.file)
            }));
            held.insert(key, chosen);
        }
        held
    }

    /// Of an object that cannot be read the last good version stays; of a file where one cannot even tell which
    /// objects are meant, all that it held.
    fn keep_failed(&self, failed: &[(String, Subject)], held: &mut BTreeMap<ObjectKey, Held>) {
        for (file, subject) in failed {
            for (key, last_good) in &self.held {
                let is_meant = match subject {
                    Subject::Object(object) => object == key,
                    Subject::Kind(_) | Subject::Unknown => last_good.place.file == *file,
                };
                if is_meant && !held.contains_key(key) {
                    held.insert(key.clone(), last_good.clone());
                }
            }
        }
    }

    /// In the order of the folder, for among contradicting strangers the first wins.
    fn reset_index(&mut self) -> Vec<Refusal> {
        let mut in_order: Vec<_> = self.held.iter().collect();
        in_order.sort_by_key(|(_, held)| &held.place);
        let objects: Vec<Object> = in_order.iter().map(|(_, held)| held.object.clone()).collect();
        let refusals = self.index.reset(&objects);

        let mut last_good = mem::take(&mut self.taken);
        for object in objects {
            let key = object.key();
            let taken = if self.index.is_refused(&key) { last_good.remove(&key) } else { Some(object) };
            if let Some(object) = taken.filter(|_| self.index.contains(&key)) {
                self.taken.insert(key, object);
            }
        }
        for slice in slices::derive(self.taken.values()) {
            if let Err(refusal) = self.index.apply(&slice) {
                warn!(%refusal, "Derived EndpointSlice refused");
            }
        }
        refusals
    }

    fn at_its_place(&self, refusal: Refusal) -> SourceRefusal {
        let Refusal { object, field, reason } = refusal;
        // The index was given nothing else than what is held.
        let place = self.held.get(&object).map(|held| held.place.clone());
        SourceRefusal {
            file: place.as_ref().map(|place| place.file.clone()),
            document: place.map(|place| place.document),
            object: Some(object.to_string()),
            field: Some(field),
            reason,
        }
    }
}

// === impl Reading ===

impl Reading {
    fn of(files: &[SourceFile]) -> Self {
        let mut reading = Self::default();
        for SourceFile { name, text } in files {
            match text {
                Ok(text) => manifest::parse(text).into_iter().for_each(|result| reading.add(name, result)),
                Err(reason) => {
                    let reason = reason.clone();
                    reading.refusals.push(SourceRefusal { reason, ..SourceRefusal::of_file(name.clone()) });
                    reading.failed.push((name.clone(), Subject::Unknown));
                }
            }
        }
        reading
    }

    fn add(&mut self, file: &str, result: Result<Manifest, ManifestError>) {
        match result {
            Ok(Manifest { document, object }) => {
                let place = Place { file: file.to_owned(), document };
                self.found.entry(object.key()).or_default().push(Held { place, object });
            }
            Err(ManifestError { document, subject, field, reason }) => {
                let object = match &subject {
                    Subject::Unknown => None,
                    Subject::Kind(kind) => Some(kind.to_string()),
                    Subject::Object(key) => Some(key.to_string()),
                };
                let file = file.to_owned();
                self.refusals.push(SourceRefusal {
                    file: Some(file.clone()),
                    document: Some(document),
                    object,
                    field,
                    reason,
                });
                self.failed.push((file, subject));
            }
        }
    }
}
