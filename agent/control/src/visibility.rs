//! `exportTo`: from which namespaces a service is seen.

use std::fmt::Display;

use model::Visibility;

use crate::{field, refusal::Invalid};

/// Istio's, on a Service: comma-separated.
pub(crate) const EXPORT_TO: &str = "networking.istio.io/exportTo";
pub(crate) const EXPORT_TO_FIELD: &str = "metadata.annotations[networking.istio.io/exportTo]";

/// `.` is the namespace of the service itself, `*` all, `~` none. Who says nothing is seen everywhere.
pub(crate) fn visibility<'a>(
    field: impl Display,
    written: impl IntoIterator<Item = &'a str>,
    own: &str,
) -> Result<Visibility, Invalid> {
    let written: Vec<_> = written.into_iter().map(str::trim).collect();
    let mut namespaces = Vec::new();
    for namespace in &written {
        match *namespace {
            "*" | "~" if 1 < written.len() => {
                return Err(Invalid::new(field, format_args!("{namespace} cannot stand beside another")));
            }
            "*" => return Ok(Visibility::Everywhere),
            "~" => return Ok(Visibility::Namespaces([].into())),
            "." => namespaces.push(own.into()),
            namespace => {
                field::name(&field, namespace).map_err(|_| {
                    let known = "is not one of ., *, ~ and the name of a namespace";
                    Invalid::new(&field, format_args!("{namespace:?} {known}"))
                })?;
                namespaces.push(namespace.into());
            }
        }
    }
    match namespaces.is_empty() {
        true => Ok(Visibility::Everywhere),
        false => Ok(Visibility::Namespaces(namespaces.into_iter().collect())),
    }
}

#[cfg(test)]
mod tests;
