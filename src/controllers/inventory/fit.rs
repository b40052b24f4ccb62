//! Keeps status below 256 KiB: truncates texts, and then the lists, from their ends.

use serde::Serialize;

use crate::api::inventory::BackupInventoryStatus;

/// Maximum length of names, remarks and all other texts of a cloud, in characters.
const MAX_TEXT_CHARS: usize = 64;
/// Maximum size of the whole status as JSON, in bytes: below 256 KiB, which leaves room for what the API server adds
/// to an object.
const MAX_STATUS_BYTES: usize = 240 << 10;

/// Removes control characters and truncates the text.
pub fn clean_text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect()
}

/// Truncates the lists until the status fits, and sets `truncated`.
pub fn truncate_lists(status: &mut BackupInventoryStatus) {
    let mut excess = size(status).saturating_sub(MAX_STATUS_BYTES);
    if excess == 0 {
        return;
    }
    let mut truncated = status.truncated.clone().unwrap_or_default();
    truncated.items |= status.items.as_mut().is_some_and(|items| shorten(items, &mut excess));
    truncated.instances |= status.instances.as_mut().is_some_and(|list| shorten(list, &mut excess));
    truncated.unprotected |=
        status.unprotected.as_mut().is_some_and(|unprotected| shorten(&mut unprotected.items, &mut excess));
    status.truncated = Some(truncated);
}

/// Removes elements from the end until `excess` bytes are gone. Returns whether any was removed.
fn shorten<T: Serialize>(list: &mut Vec<T>, excess: &mut usize) -> bool {
    let before = list.len();
    while *excess > 0
        && let Some(last) = list.pop()
    {
        *excess = excess.saturating_sub(size(&last) + 1);
    }
    list.len() < before
}

/// Returns the size in bytes of the JSON that Go writes and the API server stores: three more characters are escaped,
/// with six bytes each.
fn size(value: &impl Serialize) -> usize {
    let escaped = |json: &[u8]| json.iter().filter(|byte| matches!(byte, b'<' | b'>' | b'&')).count();
    serde_json::to_vec(value).map_or(0, |json| json.len() + 5 * escaped(&json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::inventory::{
        InventoryInstance, InventoryItem, Truncated, Unprotected, UnprotectedInstance,
    };

    /// A status with lists of the maximum length, and texts of `length` characters of three bytes.
    fn full(length: usize) -> BackupInventoryStatus {
        let text = || Some("名".repeat(length));
        let item = || InventoryItem {
            instance_id: "r".repeat(64),
            instance_name: text(),
            project_name: text(),
            backup_point_id: "b".repeat(64),
            backup_point_name: text(),
            remark: text(),
            ..InventoryItem::default()
        };
        let instance = || InventoryInstance {
            instance_id: "r".repeat(64),
            instance_name: text(),
            ..InventoryInstance::default()
        };
        let unprotected = || UnprotectedInstance { instance_id: "r".repeat(64), instance_name: text() };
        BackupInventoryStatus {
            items: Some((0..300).map(|_| item()).collect()),
            instances: Some((0..200).map(|_| instance()).collect()),
            unprotected: Some(Unprotected {
                items: (0..100).map(|_| unprotected()).collect(),
                ..Unprotected::default()
            }),
            truncated: Some(Truncated::default()),
            ..BackupInventoryStatus::default()
        }
    }

    fn lengths(status: &BackupInventoryStatus) -> [usize; 3] {
        [
            status.items.as_ref().map_or(0, Vec::len),
            status.instances.as_ref().map_or(0, Vec::len),
            status.unprotected.as_ref().map_or(0, |u| u.items.len()),
        ]
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut status = full(1);
        let before = status.clone();
        truncate_lists(&mut status);
        assert_eq!(status, before);
    }

    #[test]
    fn items_are_cut_first_and_no_more_than_needed() {
        let mut status = full(64);
        truncate_lists(&mut status);
        let [items, instances, unprotected] = lengths(&status);
        assert!((50..300).contains(&items) && instances == 200 && unprotected == 100, "{items}");
        let one = size(&status.items.as_ref().map(|items| &items[0]));
        assert!((MAX_STATUS_BYTES - one..=MAX_STATUS_BYTES).contains(&size(&status)), "{}", size(&status));
        let expected = Truncated { items: true, instances: false, unprotected: false };
        assert_eq!(status.truncated, Some(expected));
    }

    #[test]
    fn texts_of_any_length_fit() {
        let mut status = full(3000);
        truncate_lists(&mut status);
        assert!(size(&status) <= MAX_STATUS_BYTES);
        assert_eq!(lengths(&status)[..2], [0, 0]);
        assert_eq!(status.truncated.map(|t| (t.items, t.instances, t.unprotected)), Some((true, true, true)));
    }

    #[test]
    fn what_the_api_server_escapes_counts_as_it_stores_it() {
        assert_eq!(size(&"<&>"), r#""\u003c\u0026\u003e""#.len());
        assert_eq!(size(&"plain"), 7);
    }

    #[test]
    fn a_text_is_cut_by_characters_and_has_none_that_control() {
        assert_eq!(clean_text(&"é".repeat(65)), "é".repeat(64));
        assert_eq!(clean_text("a\nb\u{1b}[0mc\u{0}"), "ab[0mc");
    }
}
