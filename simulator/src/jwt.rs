//! Claims of JWTs; their signatures are not verified.

use serde_json::{Map, Value};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub issuer: String,
    pub subject: String,
    pub audiences: Vec<String>,
    pub expires: Option<i64>,
    pub issued: Option<i64>,
    pub not_before: Option<i64>,
}

/// Returns the claims of a token; `None` if it is no JWT.
pub(crate) fn claims(token: &str) -> Option<Claims> {
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { return None };
    object(header)?;
    let payload = object(payload)?;
    decoded(signature).filter(|bytes| !bytes.is_empty())?;
    let of = |name: &str| payload.get(name).unwrap_or(&Value::Null);
    let text = |name: &str| of(name).as_str().unwrap_or_default().to_owned();
    let audiences = match of("aud") {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    // Times may have fractions.
    let second = |name: &str| of(name).as_f64().map(|second| second.floor() as i64);
    Some(Claims {
        issuer: text("iss"),
        subject: text("sub"),
        audiences,
        expires: second("exp"),
        issued: second("iat"),
        not_before: second("nbf"),
    })
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&decoded(part)?).ok()
}

/// Decodes base64url without padding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let sextet = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    };
    // A lone letter cannot hold a byte.
    if text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut held, mut bits) = (0_u32, 0);
    for letter in text.bytes() {
        held = held << 6 | u32::from(sextet(letter)?);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}
