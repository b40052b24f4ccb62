//! Writes comma-separated values (RFC 4180) that a spreadsheet does not take for formulas.

use csv::{QuoteStyle, WriterBuilder};

use super::plain::plain;

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Foreign text; never written as a formula.
    Text(String),
    Number(i64),
    None,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::None, Into::into)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Number(number)
    }
}

/// Writes the header and the rows.
///
/// # Errors
/// A row has more or fewer values than the header.
pub fn csv<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [Value; N]>,
) -> anyhow::Result<String> {
    // All texts are quoted, so that a semicolon does not start a cell in a spreadsheet that separates by semicolons.
    let mut writer = WriterBuilder::new().quote_style(QuoteStyle::NonNumeric).from_writer(Vec::new());
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row.map(|value| match value {
            Value::Text(text) => cell(&text),
            Value::Number(number) => number.to_string(),
            Value::None => String::new(),
        }))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Prefixes text that a spreadsheet would take for a formula with an apostrophe, as OWASP advises (CSV Injection).
fn cell(text: &str) -> String {
    let text = plain(text);
    let begins = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '|', '%']);
    // `plain` has replaced tabs and carriage returns, which OWASP names too, by spaces.
    if begins { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn numbers_stay_numbers_and_texts_are_quoted() {
        let rows = [
            [Value::from("a;=1+1"), Value::from(-5), Value::None],
            [Value::from("say \"hi\", you\nthere"), Value::from(7), Value::from(Some("x"))],
        ];
        let text = csv(["NAME", "NUMBER", "MORE"], rows).unwrap();
        assert_eq!(
            text,
            "\"NAME\",\"NUMBER\",\"MORE\"\n\"a;=1+1\",-5,\"\"\n\"say \"\"hi\"\", you there\",7,\"x\"\n"
        );
    }

    #[test]
    fn no_text_begins_a_formula() {
        for text in [
            "=cmd|' /C calc'!A0",
            "+1",
            "-1",
            "@SUM(1)",
            "\t=1",
            "\r=1",
            " =1",
            "＝1",
            "－1",
            "\u{200b}=1",
            "\u{3000}=1",
        ] {
            let found = &read(&csv(["A"], [[Value::from(text)]]).unwrap())[0][0];
            assert_eq!(found, &format!("'{}", plain(text)), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_text(texts in prop::collection::vec("(?s:.){0,30}|[=+@\\-\t\r\n;,\"' ]{0,8}", 2)) {
            let row = [Value::from(texts[0].as_str()), Value::from(texts[1].as_str())];
            let found = read(&csv(["A", "B"], [row]).unwrap());
            prop_assert_eq!(found.len(), 1);
            for (text, found) in texts.iter().zip(&found[0]) {
                let plain = plain(text);
                prop_assert_eq!(found.strip_prefix('\'').filter(|_| !plain.starts_with('\'')).unwrap_or(found), &plain);
                prop_assert!(!found.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r']));
            }
        }
    }
}
