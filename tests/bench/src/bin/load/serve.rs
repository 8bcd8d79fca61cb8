//! Servers.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result};
use clap::ValueEnum;

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// Reads to the end, then answers with the number of bytes
    Sink,
    /// Sends back what it gets
    Echo,
    /// Sends back 64 bytes and ends first, as HTTP servers do
    Answer,
    /// Sends a byte, and that is all
    Hold,
}

/// What a read may bring at once.
const CHUNK: usize = 1 << 20;

pub(crate) fn serve(listen: SocketAddr, mode: Mode, threads: usize) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen at {listen}"))?;
    println!("ready");
    match mode {
        Mode::Sink => each(&listener, sink),
        Mode::Echo => each(&listener, echo),
        Mode::Answer => answer_all(&listener, threads),
        Mode::Hold => hold(&listener),
    }
    .with_context(|| format!("cannot accept at {listen}"))
}

/// A thread for each connection: there are few, and they last.
fn each(listener: &TcpListener, converse: fn(TcpStream) -> io::Result<()>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        thread::spawn(move || {
            if let Err(error) = converse(stream) {
                eprintln!("{error}");
            }
        });
    }
}

fn sink(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut taken = 0_u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(&taken.to_le_bytes()),
            n => taken += n as u64,
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 64 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

/// A fixed number of threads: to start one for each connection would cost more than the connection.
fn answer_all(listener: &TcpListener, threads: usize) -> io::Result<()> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> io::Result<()> {
                    loop {
                        let (stream, _) = listener.accept()?;
                        // What breaks off is counted by the client.
                        let _ = answer(stream);
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 64];
    stream.read_exact(&mut bytes)?;
    stream.write_all(&bytes)
}

fn hold(listener: &TcpListener) -> io::Result<()> {
    let mut held = Vec::new();
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(&[7])?;
        held.push(stream);
    }
}
