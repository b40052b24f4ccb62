//! Redacts the secrets of one account in texts that its cloud wrote.
//!
//! A [`Redactor`] is built from an account's values when a text of that account is redacted, and keeps no state: new
//! credentials cost nothing, however many accounts there are, and one account's values never affect another's texts.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Maximum length of a credential's value in bytes: a key id, secret or token. Those of the clouds have some hundred,
/// and a request's headers must have room for all three.
pub const SECRET_LEN_MAX: usize = 8192;
/// Minimum length in bytes of a value that counts as a secret. All values of the clouds are longer; a shorter one may
/// be an ordinary word.
pub const SECRET_LEN_MIN: usize = 16;

/// Placeholder of a secret.
pub const REDACTED: &str = "[redacted]";
/// Bytes of a text that are redacted and kept; the rest is dropped. More than is shown of any text.
const TEXT_LEN_MAX: usize = 4096;
/// Levels of escaping at which a value is still found: a Debug text inside of another one in JSON.
const ESCAPE_LEVELS: usize = 3;
/// Length of the longest form of a one-byte value: a backslash that is escaped three times.
const EXPANSION: usize = 1 << ESCAPE_LEVELS;
/// Unreserved characters of RFC 3986, which most encoders leave as they are.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Values that the texts of one account must not show, each with its placeholder.
#[derive(Default)]
pub struct Redactor<'a>(Vec<(&'a str, String)>);

/// Range of a text, in bytes, that holds a value.
struct Match<'r> {
    start: usize,
    end: usize,
    shown: &'r str,
}

impl<'a> Redactor<'a> {
    /// Replaces this access key id by its hint.
    pub fn hide_access_key_id(&mut self, id: &'a str) {
        self.hide(id, access_key_id_hint(id).unwrap_or_else(|| REDACTED.to_owned()));
    }

    /// Replaces this secret or token by [`REDACTED`].
    pub fn hide_secret(&mut self, secret: &'a str) {
        self.hide(secret, REDACTED.to_owned());
    }

    fn hide(&mut self, value: &'a str, shown: String) {
        if value.len() >= SECRET_LEN_MIN {
            self.0.push((value, shown));
        }
    }

    /// Returns the first 4,096 bytes of the text with every value replaced, also one that is encoded in base64, JSON or
    /// percent-encoding, or that extends beyond them.
    pub fn clean(&self, text: impl IntoIterator<Item = char>) -> String {
        let longest = self.0.iter().map(|(value, _)| value.len()).max().unwrap_or_default();
        let mut window = String::new();
        for character in text {
            if window.len() >= TEXT_LEN_MAX + EXPANSION * longest {
                break;
            }
            window.push(character);
        }
        let end = window.floor_char_boundary(TEXT_LEN_MAX);
        let mut clean = String::new();
        let mut at = 0;
        for found in self.find(&window).iter().take_while(|found| found.start < end) {
            clean.push_str(&window[at..found.start]);
            clean.push_str(found.shown);
            at = found.end;
        }
        clean.push_str(window.get(at..end).unwrap_or_default());
        clean
    }

    /// Finds the values, from left to right. Overlapping ones are merged.
    fn find(&self, text: &str) -> Vec<Match<'_>> {
        let mut all: Vec<Match<'_>> = Vec::new();
        // No form of a value is shorter than the value.
        for (value, shown) in self.0.iter().filter(|(value, _)| value.len() <= text.len()) {
            for form in forms(value) {
                let found = memmem::find_iter(text.as_bytes(), &form);
                all.extend(found.map(|start| Match { start, end: start + form.len(), shown }));
            }
        }
        all.sort_by_key(|found| (found.start, std::cmp::Reverse(found.end)));
        all.dedup_by(|next, kept| {
            let overlaps = next.start < kept.end;
            if overlaps {
                kept.end = kept.end.max(next.end);
            }
            overlaps
        });
        all
    }
}

/// Returns `AKLT…XyZ9` for an id of at least 16 letters and digits that begins with AK, as those of the clouds do;
/// `None` for anything else: an account can name any key of a Secret as that of its id, by mistake or on purpose.
pub fn access_key_id_hint(id: &str) -> Option<String> {
    let looks_like_one =
        id.len() >= 16 && id.starts_with("AK") && id.bytes().all(|b| b.is_ascii_alphanumeric());
    looks_like_one.then(|| format!("{}…{}", &id[..4], &id[id.len() - 4..]))
}

/// Returns the encodings of the value, without duplicates.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    for alphabet in [STANDARD, URL_SAFE] {
        forms.push(alphabet.encode(value));
        // In a longer text the value begins at any of three offsets within a group, and its last group holds other
        // bytes as well: only its whole groups can be found, which are all but two bytes at either end.
        for start in 0..3 {
            let rest = &value.as_bytes()[start..];
            forms.push(alphabet.encode(&rest[..rest.len() / 3 * 3]));
        }
    }
    for kept in [NON_ALPHANUMERIC, UNRESERVED] {
        let upper: Vec<&str> = utf8_percent_encode(value, kept).collect();
        let lower =
            |piece: &&str| if piece.starts_with('%') { piece.to_lowercase() } else { (*piece).to_owned() };
        forms.push(upper.iter().map(lower).collect());
        forms.push(upper.concat());
    }
    let mut escaped = value.to_owned();
    for _ in 0..ESCAPE_LEVELS {
        escaped = escape(&escaped);
        forms.push(escaped.clone());
        // Go, and with it Kubernetes, escapes JSON for HTML; PHP escapes slashes.
        forms.push(escaped.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"));
        forms.push(escaped.replace('/', "\\/"));
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// Escapes a text as inside a JSON string; for ordinary text Rust's Debug does the same.
fn escape(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or(&quoted).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets<'a>(values: &[&'a str]) -> Redactor<'a> {
        let mut redactor = Redactor::default();
        values.iter().for_each(|value| redactor.hide_secret(value));
        redactor
    }

    fn clean(redactor: &Redactor<'_>, text: &str) -> String {
        redactor.clean(text.chars())
    }

    #[test]
    fn replaces_every_form_of_a_value() {
        let secret = "c2VjcmV0/Li8+\"quoted\"==";
        let redactor = secrets(&[secret]);
        for text in [secret, &STANDARD.encode(secret), &serde_json::to_string(secret).unwrap()] {
            let out = clean(&redactor, text);
            assert!(out.contains(REDACTED) && !out.contains("quoted"), "{text} gave {out}");
        }
        assert_eq!(clean(&secrets(&["another-secret-of-24"]), secret), secret, "each account has its own");
    }

    #[test]
    fn base64_and_percent_encoding_are_found_however_they_are_made() {
        let secret = "Kx9-w.7+Jf/2Lq_8~Vd&Gp<4>Tm5";
        let redactor = secrets(&[secret]);
        for around in ["", "\n", " ", "  ", "user:", "\r\n\t"] {
            for alphabet in [STANDARD, URL_SAFE] {
                let text = alphabet.encode(format!("{around}{secret}{around}"));
                let out = clean(&redactor, &text);
                assert!(out.contains(REDACTED) && out.len() <= REDACTED.len() + 24, "{text} gave {out}");
            }
        }
        for text in [
            "Kx9-w.7%2BJf%2F2Lq_8~Vd%26Gp%3C4%3ETm5",
            "Kx9-w.7%2bJf%2f2Lq_8~Vd%26Gp%3c4%3eTm5",
            "Kx9%2Dw%2E7%2BJf%2F2Lq%5F8%7EVd%26Gp%3C4%3ETm5",
            "Kx9-w.7+Jf/2Lq_8~Vd\\u0026Gp\\u003c4\\u003eTm5",
            "Kx9-w.7+Jf\\/2Lq_8~Vd&Gp<4>Tm5",
        ] {
            assert_eq!(clean(&redactor, text), REDACTED, "{text}");
        }
    }

    #[test]
    fn a_quote_at_the_end_belongs_to_the_secret() {
        let secret = "ends-with-a-quote\"";
        let json = serde_json::json!({ "key": secret }).to_string();
        assert_eq!(clean(&secrets(&[secret]), &json), r#"{"key":"[redacted]"}"#);
    }

    #[test]
    fn values_that_overlap_are_hidden_as_one() {
        let redactor = secrets(&["abcdefghijklmnop", "ghijklmnopqrstuvwxyz", "abcdefghijklmnopqrst"]);
        assert_eq!(clean(&redactor, "<abcdefghijklmnopqrstuvwxyz>"), "<[redacted]>");
    }

    #[test]
    fn shows_an_access_key_id_only_as_its_hint() {
        let mut redactor = Redactor::default();
        redactor.hide_access_key_id("AKLTZz0123456789XyZ9");
        assert_eq!(clean(&redactor, "key AKLTZz0123456789XyZ9 is invalid"), "key AKLT…XyZ9 is invalid");
        assert_eq!(access_key_id_hint("AKshort"), None);
        assert_eq!(access_key_id_hint("SomebodysPassword0123456789"), None);
        assert_eq!(access_key_id_hint("has spaces and more text"), None);
    }

    #[test]
    fn a_value_that_may_well_be_a_word_is_none() {
        let redactor = secrets(&["", "a", "level", "AccessDenied", "fifteen-letters"]);
        let text = "level a AccessDenied fifteen-letters";
        assert_eq!(clean(&redactor, text), text);
        assert_eq!(clean(&secrets(&["sixteen--letters"]), "sixteen--letters"), REDACTED);
    }

    /// The work for one text is bounded by the lengths of the values alone, however long the text is and whatever they
    /// contain; credentials cost nothing while no text is redacted.
    #[test]
    fn the_work_for_one_text_is_bounded() {
        for letter in ["a", "+", "/", "\"", "\\", "&", "\"\\/&<é"] {
            let value = letter.repeat(SECRET_LEN_MAX / letter.len());
            let forms = forms(&value);
            assert!(forms.len() <= 22, "{} forms", forms.len());
            let lengths = || forms.iter().map(String::len);
            assert!(lengths().all(|length| (value.len()..=EXPANSION * value.len()).contains(&length)));
            // An endless text is read no further than a value that begins in the part that is kept can reach.
            let mut read = 0;
            let endless = std::iter::repeat('x').inspect(|_| read += 1);
            assert_eq!(secrets(&[value.as_str(); 3]).clean(endless), "x".repeat(TEXT_LEN_MAX));
            assert!(read <= TEXT_LEN_MAX + EXPANSION * SECRET_LEN_MAX + 1, "{read} characters");
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_value_comes_through_wherever_a_text_is_cut(
            value in "[!-~]{16,80}", before in 0_usize..5000, times in 1_usize..60, form in 0_usize..22,
        ) {
            let forms = forms(&value);
            prop_assert!(forms.iter().all(|form| form.len() >= value.len()), "a shorter text is not searched");
            let form = &forms[form % forms.len()];
            let text = format!("{}{}", " ".repeat(before), format!("{form} ").repeat(times));
            let cleaned = clean(&secrets(&[&value]), &text);
            let rest = cleaned.replace(REDACTED, "");
            prop_assert_eq!(rest.trim(), "");
        }
    }
}
