//! All instances of an account in a region, page by page.

use std::collections::BTreeMap;

use super::reach::Reached;
use crate::cloud::{InstancePage, Pages, Site};
use crate::domain::{Failure, Instance};

/// The longest page that either cloud gives (Redis API, DescribeDBInstances; TencentDB for Redis, DescribeInstances).
const PAGE_SIZE: u32 = 1000;
/// More pages than any account has.
const PAGES_MAX: u32 = 1000;

pub struct Instances {
    action: &'static str,
    pages: Pages,
    /// Something came or went while the pages were read: they are read once more.
    moved: bool,
    second: bool,
    by_id: BTreeMap<String, Instance>,
    list: Vec<Instance>,
}

impl Instances {
    pub fn new(site: Site) -> Self {
        Self {
            action: site.instances_action(),
            pages: Pages::default(),
            moved: false,
            second: false,
            by_id: BTreeMap::new(),
            list: Vec::new(),
        }
    }

    /// Reads the next page; whether that was the last.
    ///
    /// # Errors
    /// The call failed; the next one asks for the same page.
    pub async fn next_page(&mut self, reached: &Reached<'_>, region: &str) -> Result<bool, Failure> {
        let page = self.pages.number;
        let answer = reached
            .call(self.action, |client| async move { client.instances_page(region, page, PAGE_SIZE).await })
            .await?;
        self.take(answer)
    }

    fn take(&mut self, answer: InstancePage) -> Result<bool, Failure> {
        let counts = (answer.records, answer.total);
        let turned = self.pages.turn(self.action, counts, PAGE_SIZE, PAGES_MAX)?;
        self.moved |= turned.moved;
        self.by_id.extend(answer.instances.into_iter().map(|instance| (instance.id.clone(), instance)));
        if !turned.last {
            return Ok(false);
        }
        if self.moved && !self.second {
            (self.pages, self.moved, self.second) = (Pages::default(), false, true);
            return Ok(false);
        }
        self.list = std::mem::take(&mut self.by_id).into_values().collect();
        Ok(true)
    }

    /// By id; empty until the last page was read.
    pub fn list(&self) -> &[Instance] {
        &self.list
    }

    pub fn ids(&self) -> Vec<String> {
        self.list.iter().map(|instance| instance.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(total: u64, ids: std::ops::Range<u64>) -> InstancePage {
        let instances: Vec<_> =
            ids.map(|n| Instance { id: format!("redis-{n}"), ..Instance::default() }).collect();
        InstancePage { total: Some(total), records: instances.len(), instances }
    }

    #[test]
    fn reads_until_total_and_once_more_where_it_moved() {
        let mut still = Instances::new(Site::Volcengine);
        assert_eq!(still.take(page(2, 0..2)), Ok(true));
        assert_eq!(still.ids(), ["redis-0", "redis-1"]);

        let mut moving = Instances::new(Site::Volcengine);
        assert_eq!(moving.take(page(1001, 0..1000)), Ok(false));
        assert_eq!(moving.take(page(1002, 1000..1002)), Ok(false), "Total moved");
        assert_eq!(moving.take(page(1002, 0..1000)), Ok(false));
        assert_eq!(moving.take(page(1002, 1000..1002)), Ok(true));
        assert_eq!(moving.ids().len(), 1002);
    }
}
