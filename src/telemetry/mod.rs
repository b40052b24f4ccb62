//! Logs, and the redactor that every log line and every text from a cloud passes.

pub mod redact;
