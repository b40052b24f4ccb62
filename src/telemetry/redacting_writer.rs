//! Redacts credentials in log lines by their shape, whichever library wrote them.

use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::scrub::clean_line;

/// Wraps a `MakeWriter` so that each event is written in one piece, redacted.
pub(super) struct RedactingWriter<M>(pub M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for RedactingWriter<M> {
    type Writer = RedactedLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        RedactedLine { text: Vec::new(), out: self.0.make_writer() }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        RedactedLine { text: Vec::new(), out: self.0.make_writer_for(meta) }
    }
}

/// Buffer for the line of one event, which is written on drop.
pub(super) struct RedactedLine<W: Write> {
    text: Vec<u8>,
    out: W,
}

impl<W: Write> Write for RedactedLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Does nothing: the line may be incomplete.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for RedactedLine<W> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            // There is nowhere to report that a log cannot be written.
            let _ = self.out.write_all(clean_line(&String::from_utf8_lossy(&self.text)).as_bytes());
            let _ = self.out.flush();
        }
    }
}
