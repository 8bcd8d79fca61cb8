//! The text of one manifest file becomes objects, each document on its own.
//!
//! YAML, and JSON as a part of YAML; any number of documents, any of which may be a `List`. What is of no
//! interest (a Deployment, a CRD) is passed over: people hand us whole folders.

use std::fmt;

use k8s_openapi::{
    api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    serde::de::DeserializeOwned,
};
use serde::Deserialize;
use serde_json::Value;
use tracing::debug;

use crate::{
    kind::{Kind, ObjectKey, PolicyKind},
    object::Object,
    policy::Policy,
    printable::printable,
    service_entry::ServiceEntry,
};

mod documents;
mod yaml;

/// One object, and where in its file it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Counted from 1.
    pub document: usize,
    pub object: Object,
}

/// A document, or an item of a list in one, that cannot be read as an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("document {document}: {subject}{}: {reason}", field.as_deref().map(|f| format!(": {f}")).unwrap_or_default())]
pub struct ManifestError {
    /// Counted from 1.
    pub document: usize,
    pub subject: Subject,
    /// The path of the field, where one is to blame.
    pub field: Option<String>,
    pub reason: String,
}

/// How much is known of the object that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Unknown,
    Kind(Kind),
    Object(ObjectKey),
}

/// One mapping with `apiVersion` and `kind`: a document, or an item of a list.
struct Item {
    document: usize,
    /// The path of this item in its document, e.g. `items[2].`; empty for a document.
    path: String,
    value: Value,
}

/// Of an object only its metadata.
#[derive(Deserialize)]
struct Named {
    metadata: ObjectMeta,
}

/// The objects of one file. Never fails as a whole: each document has its own result.
pub fn parse(text: &str) -> Vec<Result<Manifest, ManifestError>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut results = Vec::new();
    for (document, found) in (1..).zip(documents::split(text)) {
        match yaml::parse(&found) {
            Ok(value) => Item { document, path: String::new(), value }.collect(&mut results),
            Err(reason) => results.push(broken(document, yaml::parse_leniently(&found).as_ref(), reason)),
        }
    }
    results
}

/// A document that is no sound YAML. What can be made out to be a policy is taken for one all the same.
fn broken(document: usize, legible: Option<&Value>, reason: String) -> Result<Manifest, ManifestError> {
    let subject = legible.map_or(Subject::Unknown, Subject::of);
    if let (Subject::Object(ObjectKey { kind: Kind::Policy(kind), .. }), Some(value)) = (&subject, legible) {
        let policy = Policy::unreadable(*kind, value, "YAML".to_owned(), &reason);
        return Ok(Manifest { document, object: Object::Policy(Box::new(policy)) });
    }
    Err(ManifestError { document, subject, field: None, reason })
}

// === impl Subject ===

impl Subject {
    /// What can be made out, whatever else is wrong.
    fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let written = |field: &str| value[field].as_str().unwrap_or_default();
        let Some(kind) = Kind::meant(written("apiVersion"), written("kind")) else {
            return Self::Unknown;
        };
        match text(&value["metadata"]["name"]).filter(|name| !name.is_empty()) {
            Some(name) => {
                let namespace = text(&value["metadata"]["namespace"]);
                Self::Object(ObjectKey::new(kind, namespace.as_deref(), &name))
            }
            None => Self::Kind(kind),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("an object"),
            Self::Kind(kind) => write!(f, "a {kind}"),
            Self::Object(key) => key.fmt(f),
        }
    }
}

// === impl Item ===

impl Item {
    fn collect(self, results: &mut Vec<Result<Manifest, ManifestError>>) {
        if self.value.is_null() {
            return;
        }
        if !self.value.is_object() {
            return results.push(Err(self.error(None, "is not a mapping with apiVersion and kind")));
        }
        let (api_version, kind) = match (self.text("apiVersion"), self.text("kind")) {
            (Ok(api_version), Ok(kind)) => (api_version, kind),
            (Err(error), _) | (_, Err(error)) => return results.push(Err(error)),
        };
        if kind.ends_with("List") {
            return self.collect_list(&api_version, kind.trim_end_matches("List"), results);
        }
        match Kind::of(&api_version, &kind) {
            Some(kind) => results.push(self.object(kind)),
            None => debug!(document = self.document, api_version, kind, "Object of no interest"),
        }
    }

    /// Items of a typed list, such as a `PodList`, need not say again what they are.
    fn collect_list(
        mut self,
        api_version: &str,
        kind: &str,
        results: &mut Vec<Result<Manifest, ManifestError>>,
    ) {
        let items = match self.value["items"].take() {
            Value::Null => return,
            Value::Array(items) => items,
            _ => return results.push(Err(self.error(Some("items"), "is not a list"))),
        };
        for (position, mut value) in items.into_iter().enumerate() {
            if let Value::Object(fields) = &mut value
                && !kind.is_empty()
            {
                fields.entry("apiVersion").or_insert_with(|| api_version.into());
                fields.entry("kind").or_insert_with(|| kind.into());
            }
            let path = format!("{}items[{position}].", self.path);
            Self { document: self.document, path, value }.collect(results);
        }
    }

    fn object(self, kind: Kind) -> Result<Manifest, ManifestError> {
        if let Subject::Kind(_) | Subject::Unknown = Subject::of(&self.value)
            && self.value["metadata"]["name"].as_str().is_none_or(str::is_empty)
        {
            return Err(self.error(Some("metadata.name"), "is missing, or not text"));
        }
        let object = match kind {
            Kind::Namespace => Object::Namespace(self.typed::<core::Namespace>()?),
            Kind::Node => Object::Node(self.typed::<core::Node>()?),
            Kind::Pod => Object::Pod(self.typed::<core::Pod>()?),
            Kind::Service => Object::Service(self.typed::<core::Service>()?),
            Kind::EndpointSlice => Object::EndpointSlice(self.typed::<discovery::EndpointSlice>()?),
            Kind::ServiceEntry => {
                let Named { metadata } = *self.typed::<Named>()?;
                Object::ServiceEntry(Box::new(ServiceEntry::read(metadata, &self.value)))
            }
            Kind::ServiceCidr => Object::ServiceCidr(self.typed::<networking::ServiceCIDR>()?),
            Kind::Policy(kind) => Object::Policy(Box::new(self.policy(kind)?)),
        };
        Ok(Manifest { document: self.document, object })
    }

    /// Must have a place to hold in; whatever else is wrong with it, it is taken.
    fn policy(&self, kind: PolicyKind) -> Result<Policy, ManifestError> {
        match &self.value["metadata"]["namespace"] {
            Value::Null | Value::String(_) => Ok(Policy::read(kind, &self.value)),
            _ => Err(self.error(Some("metadata.namespace"), "is not text")),
        }
    }

    fn typed<T: DeserializeOwned>(&self) -> Result<Box<T>, ManifestError> {
        serde_path_to_error::deserialize(&self.value).map(Box::new).map_err(|error| {
            let path = error.path().to_string();
            self.error(Some(path.as_str()).filter(|path| *path != "."), error.inner())
        })
    }

    fn text(&self, field: &str) -> Result<String, ManifestError> {
        match &self.value[field] {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            Value::Null | Value::String(_) => Err(self.error(Some(field), "is missing")),
            _ => Err(self.error(Some(field), "is not text")),
        }
    }

    fn error(&self, field: Option<&str>, reason: impl fmt::Display) -> ManifestError {
        let Self { document, path, value } = self;
        let field = match field {
            Some(field) => Some(printable(format_args!("{path}{field}"))),
            None => path.strip_suffix('.').map(str::to_owned),
        };
        ManifestError { document: *document, subject: Subject::of(value), field, reason: printable(reason) }
    }
}

#[cfg(test)]
mod tests;
