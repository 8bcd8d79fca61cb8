//! Our entry into the text of a conflist and out of it again, and every other byte as it was. PURE: text to text.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use crate::entry::{Entry, TYPE};

/// What a runtime takes a file for, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `.conflist`: a chain of plugins.
    List,
    /// `.conf` or `.json`: one plugin.
    Single,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("is empty")]
    Empty,
    #[error("is no JSON object")]
    Json(#[source] serde_json::Error),
    #[error("has no \"name\"")]
    NoName,
    #[error("has no \"plugins\" beside ours")]
    NoPlugins,
    #[error("has \"plugins\" that are no list")]
    PluginsNotAList(#[source] serde_json::Error),
    #[error("has a plugin without \"type\" (number {number})")]
    NoType { number: usize },
    #[error("is of CNI {found:?}, and plugins are chained from 0.3.0 to 1.1.0: set its \"cniVersion\"")]
    Version { found: String },
    #[error("cannot hold our entry")]
    Entry(#[source] serde_json::Error),
}

/// A chain, as slices of its text.
struct List<'a> {
    versions: Vec<String>,
    plugins: Vec<Plugin<'a>>,
}

struct Plugin<'a> {
    text: &'a str,
    r#type: String,
}

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// What a `.conf` without `cniVersion` becomes: the first version that knows chains, which every plugin speaks.
const FIRST_WITH_CHAINS: &str = "0.3.1";

/// Of a version that has three numbers, the first two say all.
const OLDEST: (u32, u32) = (0, 3);
const NEWEST: (u32, u32) = (1, 1);

/// The text as a chain: a conflist as it is, a single plugin as a chain of one. Without our entry in either case only
/// if it was without.
pub fn as_list(text: &str, form: Form) -> Result<String, Error> {
    match form {
        Form::List => List::parse(text).map(|_| text.to_owned()),
        Form::Single => convert(text),
    }
}

/// With our entry exactly once, last, as it should be; the same text if it is so already.
pub fn with_entry(text: &str, entry: &Entry) -> Result<String, Error> {
    let list = List::parse(text)?;
    list.check_version()?;
    let entry = entry.json().map_err(Error::Entry)?;
    if list.ours().count() == 1 && list.plugins.last().is_some_and(|last| last.is_like(&entry)) {
        return Ok(text.to_owned());
    }
    let text = without_entry(text)?;
    let list = List::parse(&text)?;
    let (Some(first), Some(last)) = (list.plugins.first(), list.plugins.last()) else {
        return Err(Error::NoPlugins);
    };
    // Spaced from what is before it as the first is from the bracket.
    let gap = &text[..offset(&text, first.text)];
    let gap = &gap[gap.trim_end().len()..];
    let end = offset(&text, last.text) + last.text.len();
    Ok(format!("{},{gap}{entry}{}", &text[..end], &text[end..]))
}

/// Without any entry of ours: what [`with_entry`] put in is taken out to the byte.
pub fn without_entry(text: &str) -> Result<String, Error> {
    let mut text = text.to_owned();
    while let Some((start, end)) = first_of_ours(&text)? {
        text.replace_range(start..end, "");
    }
    Ok(text)
}

/// Whether it has an entry of ours.
pub fn has_entry(text: &str) -> bool {
    List::scan(text).is_ok_and(|list| list.ours().next().is_some())
}

/// Our entry, if there is one that says what ours do.
pub fn entry(text: &str) -> Option<Entry> {
    let list = List::scan(text).ok()?;
    list.ours().find_map(|ours| serde_json::from_str(ours.text).ok())
}

/// The types of the other plugins, in order: who else writes this file is mostly told by them.
pub fn types(text: &str) -> Vec<String> {
    let plugins = List::scan(text).map(|list| list.plugins).unwrap_or_default();
    plugins.into_iter().map(|plugin| plugin.r#type).filter(|r#type| r#type != TYPE).collect()
}

/// Where to cut, with one comma.
fn first_of_ours(text: &str) -> Result<Option<(usize, usize)>, Error> {
    let plugins = List::scan(text)?.plugins;
    let Some(index) = plugins.iter().position(Plugin::is_ours) else {
        return Ok(None);
    };
    let start_of = |plugin: &Plugin<'_>| offset(text, plugin.text);
    let end_of = |plugin: &Plugin<'_>| start_of(plugin) + plugin.text.len();
    let ours = &plugins[index];
    Ok(Some(match (index.checked_sub(1), plugins.get(index + 1)) {
        (Some(before), _) => (end_of(&plugins[before]), end_of(ours)),
        (None, Some(after)) => (start_of(ours), start_of(after)),
        (None, None) => (start_of(ours), end_of(ours)),
    }))
}

fn convert(conf: &str) -> Result<String, Error> {
    let object = object(conf)?;
    let name = name(&object)?;
    if string(&object, "type").is_none() {
        return Err(Error::NoType { number: 1 });
    }
    let version = string(&object, "cniVersion").unwrap_or(FIRST_WITH_CHAINS.to_owned());
    let (version, name) = (Value::from(version), Value::from(name));
    let plugin = conf.trim();
    Ok(format!(
        "{{\n  \"cniVersion\": {version},\n  \"name\": {name},\n  \"plugins\": [\n    {plugin}\n  ]\n}}\n"
    ))
}

// === impl List ===

impl<'a> List<'a> {
    /// One that a runtime would take, with a plugin that is not ours.
    fn parse(text: &'a str) -> Result<Self, Error> {
        let list = Self::scan(text)?;
        name(&object(text)?)?;
        if list.plugins.iter().all(Plugin::is_ours) {
            return Err(Error::NoPlugins);
        }
        Ok(list)
    }

    fn scan(text: &'a str) -> Result<Self, Error> {
        let object = object(text)?;
        let plugins = object.get("plugins").ok_or(Error::NoPlugins)?;
        let plugins: Vec<&RawValue> = serde_json::from_str(plugins.get()).map_err(Error::PluginsNotAList)?;
        let plugins = plugins.into_iter().enumerate().map(|(index, plugin)| Plugin::parse(index, plugin));
        let mut versions: Vec<String> = object
            .get("cniVersions")
            .and_then(|versions| serde_json::from_str(versions.get()).ok())
            .unwrap_or_default();
        versions.extend(string(&object, "cniVersion"));
        Ok(Self { versions, plugins: plugins.collect::<Result<_, _>>()? })
    }

    fn ours(&self) -> impl Iterator<Item = &Plugin<'a>> {
        self.plugins.iter().filter(|plugin| plugin.is_ours())
    }

    /// A runtime takes the newest that is offered. One that we do not speak would fail every pod of the node.
    fn check_version(&self) -> Result<(), Error> {
        let newest = self.versions.iter().max_by_key(|version| numbers(version));
        let spoken =
            newest.and_then(|version| numbers(version)).is_some_and(|n| (OLDEST..=NEWEST).contains(&n));
        if spoken {
            return Ok(());
        }
        Err(Error::Version { found: newest.cloned().unwrap_or_default() })
    }
}

// === impl Plugin ===

impl<'a> Plugin<'a> {
    fn parse(index: usize, plugin: &'a RawValue) -> Result<Self, Error> {
        let r#type = object(plugin.get()).ok().and_then(|object| string(&object, "type"));
        let r#type = r#type.ok_or(Error::NoType { number: index + 1 })?;
        Ok(Self { text: plugin.get(), r#type })
    }

    fn is_ours(&self) -> bool {
        self.r#type == TYPE
    }

    /// Whether it says the same, however it is spaced.
    fn is_like(&self, entry: &str) -> bool {
        let value = |text| serde_json::from_str::<Value>(text).ok();
        self.is_ours() && value(self.text) == value(entry)
    }
}

// === impl Form ===

impl Form {
    /// `None`: no runtime reads it.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "conflist" => Some(Self::List),
            "conf" | "json" => Some(Self::Single),
            _ => None,
        }
    }
}

fn object(text: &str) -> Result<Object<'_>, Error> {
    if text.trim().is_empty() {
        return Err(Error::Empty);
    }
    serde_json::from_str(text).map_err(Error::Json)
}

/// `None` too for an empty one, which to a runtime is none.
fn string(object: &Object<'_>, key: &str) -> Option<String> {
    serde_json::from_str(object.get(key)?.get()).ok().filter(|string: &String| !string.is_empty())
}

fn name(object: &Object<'_>) -> Result<String, Error> {
    string(object, "name").ok_or(Error::NoName)
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// `part` is a slice of `text`: serde_json lends what it has read.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}

#[cfg(test)]
mod tests;
