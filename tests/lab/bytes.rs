//! What one end does, the other sees, as if there were no proxy: data, the end of data, a reset.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
};

use harness::Agent;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::road::{End, Roads, carry, expect, reset, rest};

mod bulk;
mod limits;

const BOTH_ENDS: [End; 2] = [End::Client, End::Server];

#[test]
fn each_direction_ends_by_itself() {
    let roads = Roads::new("halfclose");
    for first in BOTH_ENDS {
        for pair in roads.pairs() {
            let what = &format!("{}, the {first:?} ends first", pair.name);
            let (mut ended, mut open) = pair.split(first);
            ended.write_all(b"last words").unwrap();
            ended.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(&open, what), b"last words", "{what}");
            // The other direction goes on for as long as it likes.
            carry(&open, &ended, b"one", what);
            carry(&open, &ended, b"two", what);
            open.write_all(b"three").unwrap();
            drop(open);
            assert_eq!(rest(&ended, what), b"three", "{what}");
        }
    }
}

#[test]
fn both_directions_end_at_once() {
    let roads = Roads::new("bothclose");
    for mut pair in roads.pairs() {
        pair.client.write_all(b"to the server").unwrap();
        pair.server.write_all(b"to the client").unwrap();
        for end in [&pair.client, &pair.server] {
            end.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(rest(&pair.client, &pair.name), b"to the client", "{}", pair.name);
        assert_eq!(rest(&pair.server, &pair.name), b"to the server", "{}", pair.name);
    }
}

#[test]
fn a_server_may_speak_first() {
    let roads = Roads::new("first");
    for pair in roads.pairs() {
        carry(&pair.server, &pair.client, b"220 ready\r\n", &pair.name);
        carry(&pair.client, &pair.server, b"QUIT\r\n", &pair.name);
        carry(&pair.server, &pair.client, b"221 bye\r\n", &pair.name);
    }
}

/// Each byte goes through before the next is sent: nothing waits for more to come.
#[test]
fn single_bytes_go_through_one_by_one() {
    let roads = Roads::new("trickle");
    for pair in roads.pairs() {
        for byte in 0..=u8::MAX {
            carry(&pair.client, &pair.server, &[byte], &pair.name);
            carry(&pair.server, &pair.client, &[!byte], &pair.name);
        }
    }
}

/// What the two ends are doing when one of them resets.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Idle,
    /// The end that resets is sending; the other reads.
    Sending,
    /// The other end sends more than is read.
    Receiving,
    /// The other end has ended its own direction.
    OtherEnded,
    /// The end that resets has ended its own direction before.
    SelfEnded,
}

#[test]
fn a_reset_arrives_as_a_reset() {
    let roads = Roads::new("reset");
    let moments = [Moment::Idle, Moment::Sending, Moment::Receiving, Moment::OtherEnded, Moment::SelfEnded];
    for moment in moments {
        for end in BOTH_ENDS {
            for pair in roads.pairs() {
                let what = format!("{}, the {end:?} resets, {moment:?}", pair.name);
                let (resetting, other) = pair.split(end);
                carry(&resetting, &other, b"hello", &what);
                carry(&other, &resetting, b"hello", &what);
                let seen = reset_at(moment, resetting, &other, &what);
                // The kernel's name for a reset after the other end's orderly end.
                let expected = match moment {
                    Moment::SelfEnded => ErrorKind::BrokenPipe,
                    _ => ErrorKind::ConnectionReset,
                };
                assert_eq!(seen, expected, "{what}");
            }
        }
    }
}

/// A server that answers and resets is a common thing.
#[test]
fn what_was_sent_before_a_reset_arrives() {
    let roads = Roads::new("answered");
    for end in BOTH_ENDS {
        for pair in roads.pairs() {
            let what = format!("{}, the {end:?} resets", pair.name);
            let (mut resetting, other) = pair.split(end);
            carry(&other, &resetting, b"a question", &what);
            // Both are there when the proxies look.
            let stopped = Stopped::of([&roads.mesh.agent, &roads.far_agent]);
            resetting.write_all(b"an answer").unwrap();
            reset(resetting);
            drop(stopped);
            expect(&other, b"an answer", &what);
            assert_eq!(read_until_error(&other, &what), ErrorKind::ConnectionReset, "{what}");
        }
    }
}

/// Agents that get no processor until this is dropped.
struct Stopped(Vec<Pid>);

// === impl Stopped ===

impl Stopped {
    fn of(agents: [&Agent; 2]) -> Self {
        let pid = |agent: &Agent| Pid::from_raw(agent.pid().unwrap().try_into().unwrap());
        let stopped = Self(agents.map(pid).into());
        stopped.signal(Signal::SIGSTOP);
        stopped
    }

    fn signal(&self, signal: Signal) {
        for &pid in &self.0 {
            kill(pid, signal).unwrap();
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
    }
}

/// Resets in that moment; how the other end learns of it.
fn reset_at(moment: Moment, resetting: TcpStream, other: &TcpStream, what: &str) -> ErrorKind {
    const PLENTY: usize = 8 << 20;
    match moment {
        Moment::Idle => {
            reset(resetting);
            read_until_error(other, what)
        }
        Moment::Sending => thread::scope(|scope| {
            let reading = scope.spawn(|| read_until_error(other, what));
            (&resetting).write_all(&vec![7; PLENTY]).unwrap();
            reset(resetting);
            reading.join().unwrap()
        }),
        Moment::Receiving => thread::scope(|scope| {
            let writing = scope.spawn(|| write_until_error(other));
            expect(&resetting, &vec![7; PLENTY], what);
            reset(resetting);
            writing.join().unwrap()
        }),
        Moment::OtherEnded => {
            other.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(&resetting, what), b"");
            reset(resetting);
            read_until_error(other, what)
        }
        Moment::SelfEnded => {
            resetting.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(other, what), b"");
            reset(resetting);
            write_until_error(other)
        }
    }
}

fn read_until_error(mut stream: &TcpStream, what: &str) -> ErrorKind {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("{what}: an orderly end"),
            Ok(_) => {}
            Err(error) => return error.kind(),
        }
    }
}

fn write_until_error(mut stream: &TcpStream) -> ErrorKind {
    let bytes = vec![7; 64 << 10];
    loop {
        if let Err(error) = stream.write_all(&bytes) {
            return error.kind();
        }
    }
}
