//! Random mutations that can still be parsed: of values within JSON, of a response's head, of single bytes.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// More items than any page has.
const TOO_MANY_ITEMS: usize = 150;
/// Upper bound on the length of an item that is repeated; larger ones only take time.
const SMALL_ITEM_LEN: usize = 100;
const RESPONSE_HEADS: [&str; 14] = [
    "200",
    "400",
    "429\nRetry-After: 99999999999999999999",
    "429\nRetry-After: -7",
    "429\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT",
    "503\nRetry-After: Thu, 01 Jan 0000 00:00:00 GMT\nDate: Fri, 31 Dec 9999 23:59:59 GMT",
    "302\nLocation: http://169.254.169.254/",
    "101",
    "204",
    "599",
    "999",
    "200\nDate: Fri, 31 Dec 9999 23:59:59 GMT",
    "403\nDate: Thu, 01 Jan 1970 00:00:00 GMT",
    "500\nDate: \u{7f}\nContent-Encoding: gzip",
];
const TEXTS: [&str; 27] = [
    "",
    " ",
    "\u{0}",
    "a\u{1b}[31mb\r\n\tc\u{7f}",
    "\u{202e}\u{feff}名\u{301}",
    "0000-00-00 00:00:00",
    "9999-12-31 23:59:59",
    "9999-12-30T22:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "-009999-01-02T01:59:59Z",
    "-000001-01-01T00:00:00Z",
    "0000-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-11-01t00:00:00,123456789012345678z",
    "0001-01-01T00:00:00Z",
    "1969-12-31T23:59:59Z",
    "2016-12-31T23:59:60Z",
    "2025-08-22T03:14:15+25:59",
    "999999h999999h999999h",
    "1000000h",
    "0s",
    "+99:99",
    "https://redis.{region}.volcengineapi.com@evil.example",
    "fz7Qw1x/secret+fz7Qw1x==",
    "fz7Qw1x/sec\u{7}ret+fz7Qw1x==",
    "InvalidTimestamp",
    "AuthFailure.SignatureExpire",
];

/// Returns a mutation of the input.
pub fn mutate(input: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let end = input.windows(2).position(|two| two == b"\n\n").filter(|_| input[0].is_ascii_digit());
    let (head, body) = end.map_or((&[][..], input), |end| (&input[..end], &input[end + 2..]));
    if end.is_some() && rng.u8(..6) == 0 {
        return [RESPONSE_HEADS[rng.usize(..RESPONSE_HEADS.len())].as_bytes(), b"\n\n", body].concat();
    }
    if rng.u8(..4) > 0
        && let Ok(mut value) = serde_json::from_slice(body)
    {
        for _ in 0..rng.u8(1..4) {
            edit(&mut value, &mut rng);
        }
        let body = value.to_string().into_bytes();
        return if end.is_some() { [head, b"\n\n", &body].concat() } else { body };
    }
    bytes(input.to_vec(), &mut rng)
}

fn edit(value: &mut Value, rng: &mut Rng) {
    match value {
        Value::Object(members) if !members.is_empty() && rng.u8(..6) > 0 => {
            let names: Vec<_> = members.keys().cloned().collect();
            let name = &names[rng.usize(..names.len())];
            match rng.u8(..12) {
                0 => drop(members.remove(name)),
                1 => drop(members.insert(TEXTS[rng.usize(..TEXTS.len())].to_owned(), hostile(rng))),
                _ => edit(&mut members[name], rng),
            }
        }
        Value::Array(items) if !items.is_empty() && rng.u8(..6) > 0 => match rng.u8(..12) {
            0 => drop(items.pop()),
            1 if items[0].to_string().len() < SMALL_ITEM_LEN => {
                items.resize(TOO_MANY_ITEMS, items[0].clone())
            }
            _ => {
                let at = rng.usize(..items.len());
                edit(&mut items[at], rng);
            }
        },
        _ => *value = hostile(rng),
    }
}

/// Returns an unexpected value.
fn hostile(rng: &mut Rng) -> Value {
    match rng.u8(..20) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(i64::MIN),
        3 => json!(i64::MAX),
        4 => json!(u64::MAX),
        5 => json!(-1),
        6 => json!(0),
        7 => json!(rng.u32(..)),
        8 => json!(1e300),
        9 => json!(0.5),
        10 => json!([]),
        11 => json!({}),
        12 => json!("é".repeat(rng.usize(200..20_000))),
        13 => (0..rng.usize(1..100)).fold(json!("deep"), |inner, _| json!([inner])),
        14 => Value::Object(Map::from_iter((0..TOO_MANY_ITEMS).map(|n| (n.to_string(), json!(n))))),
        _ => json!(TEXTS[rng.usize(..TEXTS.len())]),
    }
}

fn bytes(mut input: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    for _ in 0..rng.u8(1..6) {
        let at = rng.usize(..=input.len());
        match rng.u8(..5) {
            0 => input.truncate(at),
            1 => input.insert(at, rng.u8(..)),
            2 => drop(input.splice(at..at, TEXTS[rng.usize(..TEXTS.len())].bytes())),
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << rng.u8(..8);
                }
            }
        }
    }
    input
}
