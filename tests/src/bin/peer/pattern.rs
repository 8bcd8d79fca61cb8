//! A stream whose every byte is known: better than a checksum, it tells where the first wrong byte is.

use std::{
    io::{self, Read, Write},
    sync::LazyLock,
};

/// Not a power of two, nor near one: a lost buffer of any usual size shifts the stream visibly.
const PERIOD: usize = 64_507;
/// Two periods, so that a slice of one period can begin anywhere in the first.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
    [period.clone(), period].concat()
});

/// Compares what arrives with what should.
#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) received: u64,
    pub(crate) first_wrong: Option<u64>,
}

/// Up to a period of the stream, from `offset` on.
pub(crate) fn at(offset: u64, length: u64) -> &'static [u8] {
    let start = place(offset);
    let length = usize::try_from(length).unwrap_or(PERIOD).min(PERIOD);
    &BYTES[start..start + length]
}

/// Sends the first `total` bytes of the stream.
pub(crate) fn send(mut to: impl Write, total: u64) -> io::Result<()> {
    let mut sent = 0;
    while sent < total {
        let chunk = at(sent, total - sent);
        to.write_all(chunk)?;
        sent += chunk.len() as u64;
    }
    Ok(())
}

/// Reads to the end.
pub(crate) fn receive(mut from: impl Read, check: &mut Check) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => check.take(&buffer[..n]),
        }
    }
}

// === impl Check ===

impl Check {
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let expected = at(self.received, bytes.len() as u64);
            let (now, later) = bytes.split_at(expected.len());
            if self.first_wrong.is_none() && now != expected {
                let index = now.iter().zip(expected).position(|(a, b)| a != b);
                self.first_wrong = index.map(|index| self.received + index as u64);
            }
            self.received += now.len() as u64;
            bytes = later;
        }
    }

    pub(crate) fn is_intact(&self) -> bool {
        self.first_wrong.is_none()
    }
}

fn place(offset: u64) -> usize {
    // Less than PERIOD, so it fits.
    usize::try_from(offset % PERIOD as u64).unwrap_or(0)
}
