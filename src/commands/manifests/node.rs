//! Parses a YAML document, with the position of each of its values.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Options, Spanned};

/// Line and column, from 1.
pub type Position = (u64, u64);

/// Value of a document, with the position of each part by its JSON pointer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Located {
    pub value: Value,
    positions: HashMap<String, Position>,
}

impl Located {
    /// Returns the position of a part; a missing part has that of its nearest parent.
    pub fn position(&self, pointer: &str) -> Position {
        let mut pointer = pointer;
        loop {
            match (self.positions.get(pointer), pointer.rfind('/')) {
                (Some(position), _) => return *position,
                (None, Some(end)) => pointer = &pointer[..end],
                (None, None) => return (1, 1),
            }
        }
    }

    /// Returns a part as a separate document, such as an item of a List.
    pub fn part(&self, pointer: &str) -> Option<Self> {
        let value = self.value.pointer(pointer)?.clone();
        let below = |(at, position): (&String, &Position)| {
            let rest = at.strip_prefix(pointer)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (rest.to_owned(), *position))
        };
        Some(Self { value, positions: self.positions.iter().filter_map(below).collect() })
    }
}

/// Escapes a key for a JSON pointer (RFC 6901).
pub fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Reads one document.
///
/// # Errors
/// The text is not valid YAML; with the position and the message.
pub fn read(text: &str) -> Result<Located, (Position, String)> {
    // An error message must not quote the lines around the error: they may belong to a Secret.
    let options = serde_saphyr::options! { with_snippet: false, duplicate_keys: DuplicateKeyPolicy::Error };
    let options: Options = options;
    let node =
        serde_saphyr::from_str_with_options::<Option<Spanned<Node>>>(text, options).map_err(|error| {
            let at = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            // The line in the message is relative to this document; the caller reports the position in the file.
            let words = error.to_string();
            let words = words.lines().next().unwrap_or_default();
            (at, words.split(" at line ").next().unwrap_or_default().to_owned())
        })?;
    let mut located = Located::default();
    if let Some(node) = node {
        located.value = node_to_value(node, String::new(), &mut located.positions);
    }
    Ok(located)
}

enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

fn node_to_value(node: Spanned<Node>, pointer: String, positions: &mut HashMap<String, Position>) -> Value {
    let at = (node.referenced.line(), node.referenced.column());
    // A field has the position of its key, which is inserted first.
    positions.entry(pointer.clone()).or_insert(at);
    match node.value {
        Node::Scalar(value) => value,
        Node::List(items) => {
            let items = items.into_iter().enumerate();
            items.map(|(at, item)| node_to_value(item, format!("{pointer}/{at}"), positions)).collect()
        }
        Node::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let below = format!("{pointer}/{}", escaped(&key.value));
                positions.insert(below.clone(), (key.referenced.line(), key.referenced.column()));
                map.insert(key.value, node_to_value(value, below, positions));
            }
            Value::Object(map)
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    /// kubectl reads the YAML float 10.0 as the JSON number 10.
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        const EXACT: f64 = (1_u64 << 53) as f64;
        let is_whole = value.fract() == 0.0 && value.abs() < EXACT;
        let number = if is_whole { Some(Number::from(value as i64)) } else { Number::from_f64(value) };
        Ok(Node::Scalar(number.map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_is_where_its_key_is() {
        let located = read("a:\n  b/c: 1\n  d:\n  - x\n  - {e: yes}\n").unwrap();
        assert_eq!(located.value, json!({"a": {"b/c": 1, "d": ["x", {"e": true}]}}));
        assert_eq!(located.position("/a/b~1c"), (2, 3));
        assert_eq!(located.position("/a/d"), (3, 3));
        assert_eq!(located.position("/a/d/1/e").0, 5);
        assert_eq!(located.position("/a/missing/below"), (1, 1));
        assert_eq!(located.part("/a/d").unwrap().position("/1").0, 5);
    }

    #[test]
    fn what_kubectl_reads_is_read_alike() {
        for (text, value) in [
            ("a: 10.0", json!({"a": 10})),
            ("a: 1.5", json!({"a": 1.5})),
            ("a: ~\nb:", json!({"a": null, "b": null})),
            ("a: 'yes'", json!({"a": "yes"})),
            ("a: on", json!({"a": true})),
            ("1: x", json!({"1": "x"})),
            ("x: &x {a: 1}\ny: *x", json!({"x": {"a": 1}, "y": {"a": 1}})),
            ("x: &x {a: 1}\ny:\n  <<: *x\n  b: 2", json!({"x": {"a": 1}, "y": {"a": 1, "b": 2}})),
            ("{\"a\": [1, true, null]}", json!({"a": [1, true, null]})),
            ("a: |\n  one\n  two\n", json!({"a": "one\ntwo\n"})),
            ("a: b\r\nc: d\r\n", json!({"a": "b", "c": "d"})),
            ("# nothing\n", Value::Null),
        ] {
            assert_eq!(read(text).unwrap().value, value, "{text}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place_and_without_its_text() {
        for (text, line) in [
            ("a: b\na: c\n", 2),
            ("stringData:\n  key: TopSecret\n bad: TopSecret\n", 3),
            ("a: [TopSecret", 1),
            ("a: \"TopSecret", 1),
            ("a:\n\t- TopSecret", 2),
        ] {
            let ((at, _), words) = read(text).unwrap_err();
            assert!(at >= line && at <= line + 1, "{text}: line {at}");
            assert!(!words.is_empty() && !words.contains("TopSecret"), "{words}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&text);
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}
