//! Escapes foreign text for the Markdown of GitHub and GitLab.

use super::plain::plain;

/// Zero-width space that breaks up mentions, references and addresses. The sites search the rendered page for them, so
/// a backslash does not prevent them. Renovate and Dependabot do the same.
const ZERO_WIDTH_SPACE: &str = "&#8203;";

/// Escapes text for a table cell or a list item: none of it is markup, a link or a reference, or notifies anybody.
pub fn markdown(text: &str) -> String {
    let text = plain(text);
    let text: Vec<char> = text.trim().chars().collect();
    // `1.` and `1)` begin a list.
    let number = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let mut out = String::new();
    for (at, &c) in text.iter().enumerate() {
        let next = text.get(at + 1).copied();
        match c {
            // A pipe ends the cell, even within other markup; all parsers agree on the entity.
            '|' => out.push_str("&#124;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '(' | '#' | '!' | '~' | '&'
            | '$' | '^' | ':' | '@' | '%' | '"' | '\'' => {
                out.push('\\');
                out.push(c);
            }
            '-' | '+' | '=' if at == 0 => {
                out.push('\\');
                out.push(c);
            }
            '.' | ')' if at == number && number > 0 => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
        if is_autolinked(&text[..=at], next) {
            out.push_str(ZERO_WIDTH_SPACE);
        }
    }
    out
}

/// Returns whether `before` ends with the start of something that the sites search the rendered page for: `@team`,
/// `#12`, `!12`, `%12`, `~label`, `$12`, `&12`, `^12`, `GH-12`, `://`, `mailto:`, `:tada:`, `www.`, `{+`.
fn is_autolinked(before: &[char], next: Option<char>) -> bool {
    let Some(next) = next else { return false };
    let ends_with = |word: &str| {
        let word: Vec<char> = word.chars().collect();
        before.len() >= word.len()
            && before[before.len() - word.len()..].iter().zip(&word).all(|(a, b)| a.eq_ignore_ascii_case(b))
    };
    match before.last() {
        Some('@' | '#' | '!' | '%' | '~' | '$' | '&' | '^') => !next.is_whitespace(),
        Some(':') => next == '/' || next.is_alphabetic() || matches!(next, '+' | '-' | '_'),
        Some('{' | '[') => matches!(next, '+' | '-'),
        Some('-') => ends_with("GH-") && next.is_ascii_digit(),
        Some('w' | 'W') => ends_with("www") && next == '.',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Options, Parser, Tag};

    use super::*;

    /// All extensions but typographic quotes and dashes, which GitHub and GitLab do not have.
    const EXTENSIONS: Options = Options::all().difference(Options::ENABLE_SMART_PUNCTUATION);
    const ZERO_WIDTH: &str = "\u{200b}";

    /// Parses a table whose second row is `a`, the text, `b`. Returns the texts of its cells, as the sites search them
    /// for references. Panics on any markup.
    fn cells(text: &str) -> Vec<String> {
        let table = format!("| A | B | C |\n| --- | --- | --- |\n| a | {} | b |\n", markdown(text));
        let mut cells = Vec::new();
        for event in Parser::new_ext(&table, EXTENSIONS) {
            match event {
                Event::Start(Tag::TableCell) => cells.push(String::new()),
                Event::Text(text) => cells.last_mut().expect("a cell").push_str(&text),
                Event::Start(Tag::Table(_) | Tag::TableHead | Tag::TableRow) | Event::End(_) => {}
                other => panic!("{other:?} in {table}"),
            }
        }
        cells.split_off(3)
    }

    /// Parses a list with the text as its item, and returns the text of the item.
    fn item(text: &str) -> String {
        let list = format!("- {}\n", markdown(text));
        let mut shown = String::new();
        for event in Parser::new_ext(&list, EXTENSIONS) {
            match event {
                Event::Text(text) => shown.push_str(&text),
                Event::Start(Tag::List(None) | Tag::Item) | Event::End(_) => {}
                other => panic!("{other:?} in {list}"),
            }
        }
        shown
    }

    #[test]
    fn what_means_nothing_stays_readable() {
        assert_eq!(markdown("redis-cn0a1b2"), "redis-cn0a1b2");
        assert_eq!(markdown("active, 26h. 会话"), "active, 26h. 会话");
        assert_eq!(markdown("a|b"), "a&#124;b");
        assert_eq!(markdown("@team"), "\\@&#8203;team");
    }

    #[test]
    fn nothing_is_markup() {
        for text in [
            "a|b",
            "\\|",
            "`x`",
            "**b** _i_ ~~s~~",
            "[a](https://b.example)",
            "![a](b)",
            "<script>alert(1)</script>",
            "<!-- -->",
            "https://evil.example",
            "www.evil.example",
            "me@evil.example",
            "@team",
            "see #12, !3, GH-12",
            "&lt;b&gt; &#64;team",
            "# head",
            "- item",
            "1. one",
            "2) two",
            "> quote",
            "---",
            "===",
            "$a$",
            ":tada:",
            "[^1]",
            "[x] done",
            "{+ new +}",
            "\"quotes\" 'too' -- ...",
            "    code",
            "```",
            "a\\",
            "| x | y |",
        ] {
            assert_eq!(cells(text), ["a", &rendered(text), "b"], "{text}");
            assert_eq!(item(text), rendered(text), "{text}");
        }
    }

    /// Returns the text as it is rendered, with the zero-width gaps.
    fn rendered(text: &str) -> String {
        let text: Vec<char> = plain(text).trim().chars().collect();
        let mut out = String::new();
        for (at, c) in text.iter().enumerate() {
            out.push(*c);
            if is_autolinked(&text[..=at], text.get(at + 1).copied()) {
                out.push_str(ZERO_WIDTH);
            }
        }
        out
    }

    #[test]
    fn nothing_is_left_to_find_in_the_finished_page() {
        for text in [
            "@team",
            "x@y.example",
            "#12",
            "a/b#12",
            "http://a.example",
            "FTP://a",
            "www.a.example",
            "WWW.a",
            "gh-7",
            "mailto:a",
        ] {
            let shown = &cells(text)[1];
            assert!(shown.contains(ZERO_WIDTH), "{text}");
            assert_eq!(shown.replace(ZERO_WIDTH, ""), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_cell_and_reads_as_it_is(
            text in "(?s:.){0,60}|[ -~\n]{0,60}|[|\\\\`*_<>\\[\\]()#@:/!~&;. -]{0,40}"
        ) {
            let plain = plain(&text);
            let found = cells(&text);
            prop_assert_eq!(found.len(), 3);
            prop_assert_eq!(found[1].replace(ZERO_WIDTH, ""), plain.trim());
            prop_assert!(!found[1].contains("://") && !found[1].to_lowercase().contains("www."));
            let mention = found[1].as_bytes().windows(2).any(|pair| matches!(pair[0], b'@' | b'#') && pair[1].is_ascii_alphanumeric());
            prop_assert!(!mention);
            prop_assert_eq!(item(&text).replace(ZERO_WIDTH, ""), plain.trim());
        }
    }
}
