//! Messages on a stream, each after its length in two bytes (RFC 1035, 4.2.2).

use std::io;

use tokio::net::TcpStream;

const LENGTH: usize = 2;
/// What is read at once, at most.
const READ: usize = 4 << 10;

/// What has come of the next message.
#[derive(Debug, Default)]
pub(super) struct Frames(Vec<u8>);

// === impl Frames ===

impl Frames {
    /// The next message; `None` where the stream ends between two.
    ///
    /// # Cancel safety
    /// May be dropped at any time: what has come is kept.
    pub(super) async fn next(&mut self, stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(message) = self.whole() {
                return Ok(Some(message));
            }
            stream.readable().await?;
            self.0.reserve(READ);
            match stream.try_read_buf(&mut self.0) {
                Ok(0) if self.0.is_empty() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn whole(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.0.split_first_chunk::<LENGTH>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let message = rest.get(..length)?.to_vec();
        self.0.drain(..LENGTH + length);
        Some(message)
    }
}

pub(super) async fn write_frame(stream: &TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_too_long| io::ErrorKind::InvalidInput)?;
    // In one piece: some clients take the first segment for all there is.
    let frame = [&length.to_be_bytes()[..], message].concat();
    let mut rest = &frame[..];
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
