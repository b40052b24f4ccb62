//! Scrubs each log line of known secrets before it is written, whichever crate it comes from.

use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::redact::scrub;

/// Makes writers that pass on what they got in one piece, scrubbed.
pub(super) struct Scrubbing<M>(M);

impl<M> Scrubbing<M> {
    pub(super) fn new(out: M) -> Self {
        Self(out)
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Scrubbing<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { text: Vec::new(), out: self.0.make_writer() }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        Line { text: Vec::new(), out: self.0.make_writer_for(meta) }
    }
}

/// One event's line. It is kept until it is complete, so that a secret cannot pass in two halves.
pub(super) struct Line<W: Write> {
    text: Vec<u8>,
    out: W,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Does nothing: the line may go on. Dropping writes it.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Line<W> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            // A log that cannot be written has nobody to tell it to.
            let _ = self.out.write_all(scrub(&String::from_utf8_lossy(&self.text)).as_bytes());
            let _ = self.out.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::redact::learn_secret;

    #[test]
    fn a_secret_written_in_two_pieces_is_replaced() {
        let _guard = learn_secret("canary-in-two-pieces");
        let mut out = Vec::new();
        let mut line = Line { text: Vec::new(), out: &mut out };
        line.write_all(b"key canary-in-").unwrap();
        line.flush().unwrap();
        line.write_all(b"two-pieces.\n").unwrap();
        drop(line);
        assert_eq!(out, b"key [redacted].\n");
    }
}
