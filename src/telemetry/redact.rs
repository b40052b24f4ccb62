//! Knows every access key id, secret and token that the process holds, and replaces them in texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The longest value that is learnt: a key id, secret or token. The clouds' own have some hundred characters, and a request's
/// headers must have room for all three.
pub const LONGEST: usize = 8192;

const HIDDEN: &str = "[redacted]";
/// Shorter values are no secrets, and replacing them would garble every text.
const SHORTEST: usize = 4;

/// How many times over a value may be escaped and is still found: a Debug text inside of another one in a JSON log line.
const ESCAPED: usize = 3;
/// A part of a value in base64 that is shorter than this could be a part of any text.
const SHORTEST_PART: usize = 12;
/// RFC 3986's unreserved characters are left as they are by most encoders.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Default)]
struct Known {
    /// Needle to (its replacement, how many holders know it).
    needles: BTreeMap<String, (String, usize)>,
}

struct Matcher {
    automaton: AhoCorasick,
    replacements: Vec<String>,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
static MATCHER: RwLock<Option<Arc<Matcher>>> = RwLock::new(None);

/// While it lives, [`scrub`] replaces the value that it was made for.
pub struct Guard {
    needles: Vec<String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        update(|known| {
            for needle in &self.needles {
                if let Some(entry) = known.needles.get_mut(needle) {
                    entry.1 -= 1;
                    if entry.1 == 0 {
                        known.needles.remove(needle);
                    }
                }
            }
        });
    }
}

/// Makes [`scrub`] replace this access key id by its hint.
pub fn learn_access_key_id(id: &str) -> Guard {
    learn(id, &access_key_id_hint(id).unwrap_or_else(|| HIDDEN.to_owned()))
}

/// Makes [`scrub`] replace this secret or token, also where it is written in base64, JSON or percent-encoding.
pub fn learn_secret(secret: &str) -> Guard {
    learn(secret, HIDDEN)
}

/// `AKLT…XyZ9` for an id of at least 16 letters and digits that begins with AK, as those of the clouds do; `None` for
/// what does not look like one: an account can name any key of a Secret as that of its id, by mistake or on purpose.
pub fn access_key_id_hint(id: &str) -> Option<String> {
    let looks_like_one =
        id.len() >= 16 && id.starts_with("AK") && id.bytes().all(|b| b.is_ascii_alphanumeric());
    looks_like_one.then(|| format!("{}…{}", &id[..4], &id[id.len() - 4..]))
}

/// The text with every known value replaced.
pub fn scrub(text: &str) -> Cow<'_, str> {
    let matcher = MATCHER.read().unwrap_or_else(|e| e.into_inner()).clone();
    match matcher {
        Some(m) if m.automaton.is_match(text) => Cow::Owned(m.automaton.replace_all(text, &m.replacements)),
        _ => Cow::Borrowed(text),
    }
}

fn learn(value: &str, replacement: &str) -> Guard {
    let mut needles = Vec::new();
    if value.len() >= SHORTEST {
        for form in forms(value) {
            if form.len() >= SHORTEST && !needles.contains(&form) {
                needles.push(form);
            }
        }
    }
    update(|known| {
        for needle in &needles {
            known.needles.entry(needle.clone()).or_insert_with(|| (replacement.to_owned(), 0)).1 += 1;
        }
    });
    Guard { needles }
}

/// How the value is written where it is not written as it is.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    for alphabet in [STANDARD, URL_SAFE] {
        forms.push(alphabet.encode(value));
        // In a longer text the value begins at any of three places within a group, and its last group has other bytes as
        // well: what is found then is its whole groups, which is all but two bytes at either end.
        for start in 0..3 {
            let whole = value.as_bytes().get(start..).map_or(&[][..], |rest| &rest[..rest.len() / 3 * 3]);
            forms.push(Some(alphabet.encode(whole)).filter(|p| p.len() >= SHORTEST_PART).unwrap_or_default());
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
    for _ in 0..ESCAPED {
        escaped = escape(&escaped);
        forms.push(escaped.clone());
        // Go, and Kubernetes with it, keeps JSON fit for HTML; PHP escapes slashes.
        forms.push(escaped.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"));
        forms.push(escaped.replace('/', "\\/"));
    }
    forms
}

/// As JSON has it inside of a string, and for ordinary text Rust's Debug as well.
fn escape(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or(&quoted).to_owned()
}

fn update(change: impl FnOnce(&mut Known)) {
    let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
    let before = known.needles.len();
    change(&mut known);
    // A change either adds needles or removes some; mostly they have another holder already.
    if known.needles.len() == before {
        return;
    }
    let matcher =
        AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(known.needles.keys()).ok().map(
            |automaton| {
                let replacements = known.needles.values().map(|(to, _)| to.clone()).collect();
                Arc::new(Matcher { automaton, replacements })
            },
        );
    *MATCHER.write().unwrap_or_else(|e| e.into_inner()) = matcher.filter(|m| !m.replacements.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_every_form_while_the_guard_lives() {
        let secret = "c2VjcmV0/Li8+\"quoted\"==";
        let guard = learn_secret(secret);
        let base64 = STANDARD.encode(secret);
        let json = serde_json::to_string(secret).unwrap();
        for text in [secret, &base64, &json] {
            let out = scrub(text).into_owned();
            assert!(out.contains(HIDDEN) && !out.contains("quoted"), "{text} gave {out}");
        }
        drop(guard);
        assert_eq!(scrub(secret), secret);
    }

    #[test]
    fn base64_and_percent_encoding_are_found_however_they_are_made() {
        let secret = "Kx9-w.7+Jf/2Lq_8~Vd&Gp<4>Tm5";
        let _guard = learn_secret(secret);
        for around in ["", "\n", " ", "  ", "user:", "\r\n\t"] {
            for alphabet in [STANDARD, URL_SAFE] {
                let text = alphabet.encode(format!("{around}{secret}{around}"));
                let out = scrub(&text).into_owned();
                assert!(out.contains(HIDDEN) && out.len() <= HIDDEN.len() + 24, "{text} gave {out}");
            }
        }
        for text in [
            "Kx9-w.7%2BJf%2F2Lq_8~Vd%26Gp%3C4%3ETm5",
            "Kx9-w.7%2bJf%2f2Lq_8~Vd%26Gp%3c4%3eTm5",
            "Kx9%2Dw%2E7%2BJf%2F2Lq%5F8%7EVd%26Gp%3C4%3ETm5",
            "Kx9-w.7+Jf/2Lq_8~Vd\\u0026Gp\\u003c4\\u003eTm5",
            "Kx9-w.7+Jf\\/2Lq_8~Vd&Gp<4>Tm5",
        ] {
            assert_eq!(scrub(text), HIDDEN, "{text}");
        }
    }

    #[test]
    fn a_quote_at_the_end_belongs_to_the_secret() {
        let secret = "ends-with-a-quote\"";
        let _guard = learn_secret(secret);
        let json = serde_json::json!({ "key": secret }).to_string();
        assert_eq!(scrub(&json), r#"{"key":"[redacted]"}"#);
    }

    #[test]
    fn keeps_a_value_hidden_until_its_last_holder_is_gone() {
        let first = learn_secret("held-by-two-holders");
        let second = learn_secret("held-by-two-holders");
        drop(first);
        assert_eq!(scrub("held-by-two-holders"), HIDDEN);
        drop(second);
        assert_eq!(scrub("held-by-two-holders"), "held-by-two-holders");
    }

    #[test]
    fn shows_an_access_key_id_only_as_its_hint() {
        let _guard = learn_access_key_id("AKLTZz0123456789XyZ9");
        assert_eq!(scrub("key AKLTZz0123456789XyZ9 is invalid"), "key AKLT…XyZ9 is invalid");
        assert_eq!(access_key_id_hint("AKshort"), None);
        assert_eq!(access_key_id_hint("SomebodysPassword0123456789"), None);
        assert_eq!(access_key_id_hint("has spaces and more text"), None);
    }
}
