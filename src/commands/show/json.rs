//! Writes JSON that is safe on a terminal.

use serde::Serialize;

use super::plain::is_plain;

/// Serializes the value as indented JSON with a final newline. Escapes control and invisible characters as `\u…`, so
/// that parsing restores them.
///
/// # Errors
/// The value has no JSON form, such as a map whose keys are not strings.
pub fn json(value: &impl Serialize) -> anyhow::Result<String> {
    let mut out = String::new();
    for c in serde_json::to_string_pretty(value)?.chars() {
        if c == '\n' || is_plain(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out.push('\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_is_escaped() {
        let text = json(&["a\u{1b}\u{9b}\u{202e}b", "\u{e0041}", "会话"]).unwrap();
        assert_eq!(text, "[\n  \"a\\u001b\\u009b\\u202eb\",\n  \"\\udb40\\udc41\",\n  \"会话\"\n]\n");
    }

    proptest! {
        #[test]
        fn reads_back_as_it_was(text in "(?s:.)*") {
            let shown = json(&[&text]).unwrap();
            prop_assert!(shown.chars().all(|c| c == '\n' || is_plain(c)));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), vec![text]);
        }
    }
}
