//! Policy routing rules, to and from messages.

use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::address_family;
use crate::{
    Family, Steering,
    collision::{Action, Mark, Rule},
};

/// `fwmark C/C lookup T`.
pub(super) fn ours(family: Family, steering: &Steering) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = address_family(family);
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::FwMark(steering.marks.captured),
        RuleAttribute::FwMask(steering.marks.captured),
        RuleAttribute::Table(steering.table),
    ];
    rule
}

pub(super) fn ours_at(priority: u32, family: Family, steering: &Steering) -> RuleMessage {
    let mut rule = ours(family, steering);
    rule.attributes.push(RuleAttribute::Priority(priority));
    rule
}

pub(super) fn read(family: Family, message: &RuleMessage) -> Rule {
    let number = |pick: fn(&RuleAttribute) -> Option<u32>| message.attributes.iter().find_map(pick);
    let value = number(|a| if let RuleAttribute::FwMark(value) = a { Some(*value) } else { None });
    let mask = number(|a| if let RuleAttribute::FwMask(mask) = a { Some(*mask) } else { None });
    let priority = number(|a| if let RuleAttribute::Priority(priority) = a { Some(*priority) } else { None });
    let table = number(|a| if let RuleAttribute::Table(table) = a { Some(*table) } else { None });
    Rule {
        family,
        priority: priority.unwrap_or(0),
        inverted: message.header.flags.contains(RuleFlags::Invert),
        // The kernel shows no mask of nothing, and a value of nothing only beside a mask.
        mark: mask.filter(|mask| *mask != 0).map(|mask| Mark { value: value.unwrap_or(0), mask }),
        action: match message.header.action {
            RuleAction::ToTable => Action::Lookup(table.unwrap_or(u32::from(message.header.table))),
            RuleAction::Unspec | RuleAction::Nop => Action::Nothing,
            _ => Action::Other,
        },
        text: text(message, table),
    }
}

/// Much as `ip rule` says it.
fn text(message: &RuleMessage, table: Option<u32>) -> String {
    let mut words = Vec::new();
    if message.header.flags.contains(RuleFlags::Invert) {
        words.push("not".to_owned());
    }
    let find = |pick: &dyn Fn(&RuleAttribute) -> Option<String>| message.attributes.iter().find_map(pick);
    let source = find(&|a| match a {
        RuleAttribute::Source(ip) => Some(format!("from {ip}/{}", message.header.src_len)),
        _ => None,
    });
    words.push(source.unwrap_or_else(|| "from all".to_owned()));
    for attribute in &message.attributes {
        words.extend(match attribute {
            RuleAttribute::Destination(ip) => Some(format!("to {ip}/{}", message.header.dst_len)),
            RuleAttribute::Iifname(name) => Some(format!("iif {name}")),
            RuleAttribute::Oifname(name) => Some(format!("oif {name}")),
            RuleAttribute::UidRange(range) => Some(format!("uidrange {}-{}", range.start, range.end)),
            RuleAttribute::FwMark(value) => Some(format!("fwmark {value:#x}")),
            RuleAttribute::FwMask(mask) if *mask != u32::MAX => Some(format!("mask {mask:#x}")),
            _ => None,
        });
    }
    words.push(match (message.header.action, table) {
        (RuleAction::ToTable, Some(table)) => format!("lookup {table}"),
        (action, _) => format!("{action:?}").to_lowercase(),
    });
    words.join(" ")
}
