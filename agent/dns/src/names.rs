//! The names that a client may mean by the one that it asks for.

use std::sync::Arc;

use hickory_proto::rr::Name;

/// How services are called, so that it can be compared: in lower case and without the last dot. `None` for the root,
/// and for what no host can be: a dot inside a label, or what cannot be printed.
pub(crate) fn text(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(Name::MAX_LENGTH);
    for label in name {
        if !label.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    (!text.is_empty()).then_some(text)
}

/// The longer names of which `name` is a usual short form: `web`, `web.shop`, `web.shop.svc`, and the same of an
/// endpoint, `web-0.web`. Their number is that of ztunnel.
pub(crate) fn expansions<'a>(
    name: &'a str,
    namespace: &'a str,
    cluster_domain: &'a str,
) -> impl Iterator<Item = String> + 'a {
    /// What is put between the name and the cluster domain.
    #[derive(Clone, Copy)]
    enum Middle {
        Nothing,
        Svc,
        NamespaceSvc,
    }
    use Middle::{NamespaceSvc, Nothing, Svc};

    let ends_in_svc = name.ends_with(".svc");
    let middles: &[Middle] = match labels(name) {
        1 => &[NamespaceSvc],
        2 => &[Svc, NamespaceSvc],
        3 if ends_in_svc => &[Nothing, Svc],
        3 => &[Svc],
        4 if ends_in_svc => &[Nothing],
        _ => &[],
    };
    middles.iter().map(move |middle| match middle {
        Nothing => [name, cluster_domain].join("."),
        Svc => [name, "svc", cluster_domain].join("."),
        NamespaceSvc => [name, namespace, "svc", cluster_domain].join("."),
    })
}

/// The search domains that the name ends in, and what a resolver would have appended them to.
pub(crate) fn stripped<'a>(
    name: &'a str,
    search: &'a [Arc<str>],
) -> impl Iterator<Item = (&'a Arc<str>, &'a str)> {
    search.iter().filter_map(move |domain| Some((domain, below(name, domain)?)))
}

/// `*.example.com` and `*.com` of `api.example.com`, the most specific first; never `*`.
pub(crate) fn wildcards(name: &str) -> impl Iterator<Item = String> + '_ {
    name.match_indices('.').map(|(dot, _)| format!("*{}", &name[dot..]))
}

pub(crate) fn is_within(name: &str, domain: &str) -> bool {
    name == domain || below(name, domain).is_some()
}

pub(crate) fn labels(name: &str) -> usize {
    name.split('.').count()
}

/// What comes before the domain.
fn below<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    name.strip_suffix(domain)?.strip_suffix('.').filter(|rest| !rest.is_empty() && !domain.is_empty())
}
