//! `millstream maps`

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result};
use app::run_dir::RunDir;
use capture::{Life, Pins, Pulse, journal::Journal, maps::Maps};
use serde::Serialize;

use crate::{
    Outcome,
    args::Map,
    output::{Format, print, table},
};

mod listeners;

#[derive(Serialize)]
struct Fill {
    map: &'static str,
    entries: usize,
    limit: u32,
    pin: String,
}

#[derive(Serialize)]
struct Pod {
    netns_cookie: u64,
    pod: String,
    when_agent_down: String,
    addresses: Vec<String>,
    /// The slots that hold an open listener.
    listeners: Vec<&'static str>,
}

#[derive(Serialize)]
struct Exclusion {
    netns_cookie: u64,
    pod: String,
    list: &'static str,
    /// A network, or a block of ports.
    what: String,
    /// The programs look at this list of the pod.
    in_force: bool,
}

#[derive(Serialize)]
struct Socket {
    netns_cookie: u64,
    pod: String,
    slot: &'static str,
}

#[derive(Serialize)]
struct Count {
    program: &'static str,
    outcome: &'static str,
    count: u64,
}

pub(crate) fn run(run_dir: &RunDir, format: Format, map: Map) -> Result<Outcome> {
    let agent = run_dir.read()?;
    let pins = Pins::of_node(&agent.node);
    let maps = Maps::open(&pins).with_context(|| {
        format!("no maps of this version are pinned at {}; has the agent ever run?", pins.maps().display())
    })?;
    let names = pod_names(run_dir);
    match map {
        Map::Summary => summary(format, &maps, &pins.maps())?,
        Map::Pods => pods(format, &maps, &Pulse::open(&pins)?, &names)?,
        Map::Exclusions => exclusions(format, &maps, &names)?,
        Map::Listeners => listeners::run(run_dir, format)?,
        Map::Sockets => sockets(format, &maps, &names)?,
        Map::Counters => counters(format, &maps)?,
    }
    Ok(Outcome::Fine)
}

fn summary(format: Format, maps: &Maps, dir: &Path) -> Result<()> {
    let fill: Vec<Fill> = maps
        .fill()
        .into_iter()
        .map(|(map, entries, limit)| Fill { map, entries, limit, pin: dir.join(map).display().to_string() })
        .collect();
    print(format, &fill, |fill| {
        table(
            ["MAP", "ENTRIES", "LIMIT", "PIN"],
            fill.iter()
                .map(|f| [f.map.to_owned(), f.entries.to_string(), f.limit.to_string(), f.pin.clone()]),
        )
    })
}

fn pods(format: Format, maps: &Maps, pulse: &Pulse, names: &HashMap<u64, String>) -> Result<()> {
    let listeners = maps.listeners()?;
    let is_silent = pulse.life()? != Life::Alive;
    let mut pods = Vec::new();
    for (netns_cookie, terms) in maps.pods()? {
        pods.push(Pod {
            netns_cookie,
            pod: name(names, netns_cookie),
            when_agent_down: terms.when_agent_down.to_string(),
            addresses: maps.addresses(netns_cookie)?.iter().map(ToString::to_string).collect(),
            listeners: listeners.iter().filter(|(c, _)| *c == netns_cookie).map(|(_, s)| s.name()).collect(),
        });
    }
    print(format, &pods, |pods| {
        table(
            ["NETNS COOKIE", "POD", "AGENT DOWN", "OWN ADDRESSES", "LISTENERS"],
            pods.iter().map(|pod| {
                [
                    format!("{:#x}", pod.netns_cookie),
                    pod.pod.clone(),
                    pod.when_agent_down.clone(),
                    pod.addresses.join("\n"),
                    match &pod.listeners[..] {
                        [] => "none: agent down".to_owned(),
                        listeners if is_silent => format!("{}\nagent stuck", listeners.join("\n")),
                        listeners => listeners.join("\n"),
                    },
                ]
            }),
        )
    })
}

fn exclusions(format: Format, maps: &Maps, names: &HashMap<u64, String>) -> Result<()> {
    let pods: HashMap<u64, _> = maps.pods()?.into_iter().collect();
    let of = |(netns_cookie, exclusion): (u64, model::Exclusion)| Exclusion {
        netns_cookie,
        pod: name(names, netns_cookie),
        list: exclusion.list.name(),
        what: exclusion.what.to_string(),
        in_force: pods.get(&netns_cookie).is_some_and(|terms| terms.excludes.contains(&exclusion.list)),
    };
    let exclusions: Vec<Exclusion> = maps.exclusions.all()?.into_iter().map(of).collect();
    print(format, &exclusions, |exclusions| {
        table(
            ["NETNS COOKIE", "POD", "LIST", "EXCLUDED", "IN FORCE"],
            exclusions.iter().map(|e| {
                let in_force = if e.in_force { "yes" } else { "no" };
                let cookie = format!("{:#x}", e.netns_cookie);
                [cookie, e.pod.clone(), e.list.to_owned(), e.what.clone(), in_force.to_owned()]
            }),
        )
    })
}

fn sockets(format: Format, maps: &Maps, names: &HashMap<u64, String>) -> Result<()> {
    let sockets: Vec<Socket> = maps
        .listeners()?
        .into_iter()
        .map(|(netns_cookie, slot)| Socket {
            netns_cookie,
            pod: name(names, netns_cookie),
            slot: slot.name(),
        })
        .collect();
    print(format, &sockets, |sockets| {
        table(
            ["NETNS COOKIE", "POD", "SLOT"],
            sockets.iter().map(|l| [format!("{:#x}", l.netns_cookie), l.pod.clone(), l.slot.to_owned()]),
        )
    })
}

fn counters(format: Format, maps: &Maps) -> Result<()> {
    let counters: Vec<Count> = maps
        .counters()?
        .into_iter()
        .map(|(counter, count)| Count { program: counter.program(), outcome: counter.name(), count })
        .collect();
    print(format, &counters, |counters| {
        table(
            ["PROGRAM", "OUTCOME", "COUNT"],
            counters.iter().map(|c| [c.program.to_owned(), c.outcome.to_owned(), c.count.to_string()]),
        )
    })
}

fn pod_names(run_dir: &RunDir) -> HashMap<u64, String> {
    let (entries, _) = Journal::new(&run_dir.journal()).all();
    entries.into_iter().map(|entry| (entry.netns_cookie, entry.pod.to_string())).collect()
}

fn name(names: &HashMap<u64, String>, cookie: u64) -> String {
    names.get(&cookie).cloned().unwrap_or_else(|| "?".to_owned())
}
