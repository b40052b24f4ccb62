//! Lists all instances of an account in a region, page by page.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::account_client::AccountClient;
use crate::cloud::{InstancePage, MAX_CONCURRENT_PAGES, PageBuffer, PageCursor, Site};
use crate::domain::{Failure, Instance};

/// Maximum page size of both clouds (Redis API, DescribeDBInstances; TencentDB for Redis, DescribeInstances).
const PAGE_SIZE: u32 = 1000;
/// Upper bound on the instances in a listing: more than any account has.
const MAX_INSTANCES: u64 = 1_000_000;

pub struct Instances {
    action: &'static str,
    pages: PageCursor,
    /// Answers by page number and page size.
    answers: PageBuffer<(u32, u32), InstancePage>,
    /// Whether instances were added or deleted while the pages were read: then all pages are read once more.
    moved: bool,
    second: bool,
    by_id: BTreeMap<String, Instance>,
    list: Vec<Instance>,
}

impl Instances {
    pub fn new(site: Site) -> Self {
        Self {
            action: site.instances_action(),
            pages: PageCursor::of(PAGE_SIZE),
            answers: PageBuffer::default(),
            moved: false,
            second: false,
            by_id: BTreeMap::new(),
            list: Vec::new(),
        }
    }

    /// Reads the next pages, several concurrently once the first one has reported their number. Returns whether all
    /// are read.
    ///
    /// # Errors
    /// A call failed; the next call of this function requests the pages that are missing.
    pub async fn next_pages(
        &mut self,
        account_client: &AccountClient<'_>,
        region: &str,
    ) -> Result<bool, Failure> {
        let (action, size) = (self.action, self.pages.size);
        let missing = self.pages.upcoming(MAX_CONCURRENT_PAGES).map(|page| (page, size));
        let asked = missing.filter(|page| !self.answers.has(page)).map(|(page, size)| async move {
            let answer = account_client
                .call(action, |client| async move { client.instances_page(region, page, size).await });
            ((page, size), answer.await)
        });
        let answers = join_all(asked).await;
        self.answers.add(answers);
        while let Some(answer) = self.answers.take(&(self.pages.number, self.pages.size)) {
            if self.take(answer)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take(&mut self, answer: Result<InstancePage, Failure>) -> Result<bool, Failure> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                self.pages.shrink(failure)?;
                self.answers = PageBuffer::default();
                return Ok(false);
            }
        };
        let counts = (answer.records, answer.total);
        let turned = self.pages.advance(self.action, counts, MAX_INSTANCES)?;
        self.moved |= turned.moved;
        self.by_id.extend(answer.instances.into_iter().map(|instance| (instance.id.clone(), instance)));
        if !turned.last {
            return Ok(false);
        }
        if self.moved && !self.second {
            (self.pages, self.moved, self.second) = (PageCursor::of(self.pages.size), false, true);
            self.answers = PageBuffer::default();
            return Ok(false);
        }
        self.list = std::mem::take(&mut self.by_id).into_values().collect();
        Ok(true)
    }

    /// Returns the instances in the order of their ids; empty until the last page was read.
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

    fn page(total: u64, ids: std::ops::Range<u64>) -> Result<InstancePage, Failure> {
        let instances: Vec<_> =
            ids.map(|n| Instance { id: format!("redis-{n}"), ..Instance::default() }).collect();
        Ok(InstancePage { total: Some(total), records: instances.len(), instances })
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
