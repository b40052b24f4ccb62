//! Makes foreign text safe for terminals and logs.

use unicode_general_category::{GeneralCategory, get_general_category};

/// Longest text that is shown, in characters; a condition's message may have 32768.
const MAX_LENGTH: usize = 2_000;

/// Returns the text on one line, without control, bidi and other format characters, and without invisible ones. Cuts a
/// text longer than 2,000 characters, and appends an ellipsis.
pub fn plain(text: &str) -> String {
    let mut shown = text.chars().filter_map(visible);
    let mut plain: String = shown.by_ref().take(MAX_LENGTH).collect();
    if shown.next().is_some() {
        plain.push('…');
    }
    plain
}

/// Maps a character to its shown form; `None` if it is removed.
fn visible(c: char) -> Option<char> {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    match get_general_category(c) {
        _ if matches!(c, '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}') => Some(' '),
        LineSeparator | ParagraphSeparator => Some(' '),
        Control | Format => None,
        _ if is_ignorable(c) => None,
        _ => Some(c),
    }
}

/// Returns whether the character is a Default_Ignorable_Code_Point of Unicode other than a format character: fillers,
/// variation selectors, and code points reserved for them.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2065}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns whether [`plain`] leaves the character unchanged.
pub(super) fn is_plain(c: char) -> bool {
    visible(c) == Some(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_or_is_not_seen_is_left_out() {
        for (text, shown) in [
            ("redis-cn01", "redis-cn01"),
            ("会话缓存 (é, ß, 🦀)", "会话缓存 (é, ß, 🦀)"),
            ("\u{1b}[31mred\u{1b}[0m \u{9b}31mtoo", "[31mred[0m 31mtoo"),
            ("\u{1b}]8;;https://evil.example\u{7}click", "]8;;https://evil.exampleclick"),
            (
                "one\ntwo\r\nthree\u{2028}four\u{2029}five\u{85}six\tseven",
                "one two  three four five six seven",
            ),
            ("\u{202e}lives\u{202c}\u{2066}x\u{2069}\u{200f}", "livesx"),
            ("a\u{200b}b\u{feff}c\u{ad}d\u{3164}e\u{fe0f}f\u{e0041}g\u{7f}h", "abcdefgh"),
            ("\u{fffd}", "\u{fffd}"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(plain(&"é".repeat(MAX_LENGTH)), "é".repeat(MAX_LENGTH));
        assert_eq!(plain(&"é".repeat(MAX_LENGTH + 1)), "é".repeat(MAX_LENGTH) + "…");
        // Invisible characters do not count towards the limit.
        assert_eq!(plain(&("a".repeat(MAX_LENGTH) + "\u{200b}")), "a".repeat(MAX_LENGTH));
    }

    proptest! {
        #[test]
        fn nothing_that_steers_comes_through(text in "\\PC*|(?s:.)*|[\u{0}-\u{9f}\u{200b}-\u{206f}\u{2028}a-c]*") {
            let shown = plain(&text);
            for c in shown.chars() {
                let category = get_general_category(c);
                prop_assert!(!c.is_control(), "{c:?}");
                prop_assert!(!matches!(category, GeneralCategory::Format | GeneralCategory::LineSeparator
                    | GeneralCategory::ParagraphSeparator), "{c:?}");
            }
            prop_assert_eq!(plain(&shown), shown);
        }
    }
}
