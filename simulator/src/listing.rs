//! Sorted index of backups: the cost of a page depends on its size, not on the size of the world.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

/// Upper bound on a block's items: few enough to be shifted on every insertion, many enough that a hundred thousand
/// items make a few hundred blocks.
const BLOCK: usize = 512;

/// Properties of an item that determine its order in a listing.
pub(crate) trait Listed {
    fn id(&self) -> &str;
    fn account(&self) -> u64;
    fn region(&self) -> &str;
    fn instance_id(&self) -> &str;
    fn start(&self) -> Timestamp;
    /// A property that listings filter by so often that its values are counted in advance.
    fn class(&self) -> i64;
}

/// Sort key: the newest start first; the real orders are not documented.
type SortKey<'a> = (Reverse<Timestamp>, &'a str);

fn sort_key<T: Listed>(item: &T) -> SortKey<'_> {
    (Reverse(item.start()), item.id())
}

/// Scope of a listing: an account's region, and one of its instances or all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    pub account: u64,
    pub region: String,
    pub instance_id: Option<String>,
}

/// Filters and page of a listing.
pub(crate) struct Query<'f, T> {
    /// Lower bound on the start, inclusive.
    pub from: Option<Timestamp>,
    /// Upper bound on the start, inclusive.
    pub to: Option<Timestamp>,
    /// `None`: all classes.
    pub classes: Option<&'f [i64]>,
    /// Additional filter, which has to read every item.
    pub test: Option<&'f dyn Fn(&T) -> bool>,
    pub skip: usize,
    pub take: usize,
}

impl<T> Default for Query<'_, T> {
    fn default() -> Self {
        Self { from: None, to: None, classes: None, test: None, skip: 0, take: usize::MAX }
    }
}

impl<T: Listed> Query<'_, T> {
    fn covers_time(&self, item: &T) -> bool {
        self.from.is_none_or(|from| from <= item.start()) && self.to.is_none_or(|to| item.start() <= to)
    }

    fn covers_class(&self, class: i64) -> bool {
        self.classes.is_none_or(|classes| classes.contains(&class))
    }

    fn passes(&self, item: &T) -> bool {
        self.covers_time(item) && self.covers_class(item.class()) && self.test.is_none_or(|test| test(item))
    }
}

/// One page, and the number of items on all pages.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub total: usize,
    pub items: Vec<Arc<T>>,
    /// Number of items that were read one by one.
    pub touched: usize,
}

/// All items of one kind, by id and by scope.
#[derive(Debug)]
pub(crate) struct ListingStore<T> {
    items: BTreeMap<String, Arc<T>>,
    indexes: BTreeMap<Scope, SortedIndex<T>>,
}

impl<T> Default for ListingStore<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), indexes: BTreeMap::new() }
    }
}

fn scopes<T: Listed>(item: &T) -> [Scope; 2] {
    let (account, region) = (item.account(), item.region().to_owned());
    [
        Scope { account, region: region.clone(), instance_id: Some(item.instance_id().to_owned()) },
        Scope { account, region, instance_id: None },
    ]
}

impl<T: Listed> ListingStore<T> {
    /// Adds an item, and replaces one with the same id.
    pub fn put(&mut self, item: T) {
        let item = Arc::new(item);
        self.remove(item.id());
        for scope in scopes(&*item) {
            self.indexes.entry(scope).or_default().insert(Arc::clone(&item));
        }
        self.items.insert(item.id().to_owned(), item);
    }

    pub fn remove(&mut self, id: &str) -> bool {
        let Some(item) = self.items.remove(id) else { return false };
        for scope in scopes(&*item) {
            if let Some(index) = self.indexes.get_mut(&scope) {
                index.remove(&item);
                if index.blocks.is_empty() {
                    self.indexes.remove(&scope);
                }
            }
        }
        true
    }

    pub fn get(&self, id: &str) -> Option<&T> {
        self.items.get(id).map(|item| &**item)
    }

    /// Returns all items of all accounts and regions, in the order of a listing.
    pub fn all(&self) -> Vec<Arc<T>> {
        let mut all: Vec<_> = self.items.values().cloned().collect();
        all.sort_by(|a, b| sort_key(&**a).cmp(&sort_key(&**b)));
        all
    }

    pub fn page(&self, scope: &Scope, query: &Query<'_, T>) -> Page<T> {
        let mut page = Page { total: 0, items: Vec::new(), touched: 0 };
        if let Some(index) = self.indexes.get(scope) {
            index.read(query, &mut page);
        }
        page
    }
}

/// Items of one scope in their order, split into blocks.
#[derive(Debug)]
struct SortedIndex<T> {
    blocks: Vec<Block<T>>,
}

#[derive(Debug)]
struct Block<T> {
    /// Never empty.
    items: Vec<Arc<T>>,
    counts: BTreeMap<i64, usize>,
}

impl<T> Default for SortedIndex<T> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<T: Listed> Block<T> {
    fn new(items: Vec<Arc<T>>) -> Self {
        let mut counts = BTreeMap::new();
        for item in &items {
            *counts.entry(item.class()).or_default() += 1;
        }
        Self { items, counts }
    }

    fn find(&self, wanted: SortKey<'_>) -> Result<usize, usize> {
        self.items.binary_search_by(|item| sort_key(&**item).cmp(&wanted))
    }

    /// Returns the number of items that pass, if that is known without reading each.
    fn count(&self, query: &Query<'_, T>) -> Option<usize> {
        let within = [self.items.first(), self.items.last()].into_iter().flatten();
        if query.test.is_some() || !within.into_iter().all(|item| query.covers_time(item)) {
            return None;
        }
        Some(self.counts.iter().filter(|(class, _)| query.covers_class(**class)).map(|(_, n)| n).sum())
    }

    /// Returns whether no item can have a requested start.
    fn is_outside(&self, query: &Query<'_, T>) -> bool {
        let too_old = |from| self.items.first().is_none_or(|newest| newest.start() < from);
        let too_new = |to| self.items.last().is_none_or(|oldest| to < oldest.start());
        query.from.is_some_and(too_old) || query.to.is_some_and(too_new)
    }
}

impl<T: Listed> SortedIndex<T> {
    /// Returns the block that contains this sort key, or would contain it.
    fn block(&self, wanted: SortKey<'_>) -> usize {
        let ends_before =
            |block: &Block<T>| block.items.last().is_some_and(|last| sort_key(&**last) < wanted);
        self.blocks.partition_point(ends_before).min(self.blocks.len().saturating_sub(1))
    }

    fn insert(&mut self, item: Arc<T>) {
        let index = self.block(sort_key(&*item));
        let Some(block) = self.blocks.get_mut(index) else {
            self.blocks.push(Block::new(vec![item]));
            return;
        };
        let (Ok(at) | Err(at)) = block.find(sort_key(&*item));
        *block.counts.entry(item.class()).or_default() += 1;
        block.items.insert(at, item);
        if block.items.len() > BLOCK {
            let half = block.items.split_off(BLOCK / 2);
            *block = Block::new(std::mem::take(&mut block.items));
            self.blocks.insert(index + 1, Block::new(half));
        }
    }

    fn remove(&mut self, item: &T) {
        let index = self.block(sort_key(item));
        let Some(block) = self.blocks.get_mut(index) else { return };
        let Ok(at) = block.find(sort_key(item)) else { return };
        block.items.remove(at);
        if let Some(count) = block.counts.get_mut(&item.class()) {
            *count -= 1;
        }
        if block.items.is_empty() {
            self.blocks.remove(index);
        }
    }

    fn read(&self, query: &Query<'_, T>, page: &mut Page<T>) {
        for block in &self.blocks {
            if block.is_outside(query) {
                continue;
            }
            let full = page.items.len() >= query.take;
            match block.count(query) {
                Some(count) if full || page.total + count <= query.skip => page.total += count,
                _ => {
                    page.touched += block.items.len();
                    for item in block.items.iter().filter(|item| query.passes(item)) {
                        if page.total >= query.skip && page.items.len() < query.take {
                            page.items.push(Arc::clone(item));
                        }
                        page.total += 1;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone)]
    struct Item {
        id: String,
        second: i64,
        class: i64,
    }

    impl Listed for Item {
        fn id(&self) -> &str {
            &self.id
        }
        fn account(&self) -> u64 {
            1
        }
        fn region(&self) -> &str {
            "here"
        }
        fn instance_id(&self) -> &str {
            if self.class == 1 { "one" } else { "two" }
        }
        fn start(&self) -> Timestamp {
            second(self.second)
        }
        fn class(&self) -> i64 {
            self.class
        }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn scope(instance_id: Option<&str>) -> Scope {
        Scope { account: 1, region: "here".into(), instance_id: instance_id.map(str::to_owned) }
    }

    /// Computes the expected page by sorting and counting.
    fn expected(items: &[Item], query: &Query<'_, Item>) -> (usize, Vec<String>) {
        let mut found: Vec<_> = items.iter().filter(|item| query.passes(item)).collect();
        found.sort_by(|a, b| sort_key(*a).cmp(&sort_key(*b)));
        let page = found.iter().skip(query.skip).take(query.take).map(|item| item.id.clone());
        (found.len(), page.collect())
    }

    #[test]
    fn a_page_is_what_sorting_and_counting_would_give() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut library = ListingStore::default();
        let mut items = Vec::new();
        for number in 0..5_000 {
            // Many share a second, so that the id decides.
            let item = Item { id: format!("b-{number}"), second: rng.i64(0..900), class: rng.i64(0..3) };
            library.put(item.clone());
            items.push(item);
        }
        for number in (0..5_000).step_by(3) {
            assert!(library.remove(&format!("b-{number}")));
        }
        items.retain(|item| item.id[2..].parse::<usize>().unwrap() % 3 != 0);
        for _ in 0..300 {
            let (from, to) = (rng.i64(0..900), rng.i64(0..900));
            let classes = [rng.i64(0..3), rng.i64(0..3)];
            let ends_in_7 = |item: &Item| item.id.ends_with('7');
            let query = Query {
                from: rng.bool().then(|| second(from)),
                to: rng.bool().then(|| second(to)),
                classes: rng.bool().then_some(&classes[..]),
                test: rng.bool().then_some(&ends_in_7 as &dyn Fn(&Item) -> bool),
                skip: rng.usize(0..4_000),
                take: rng.usize(0..120),
            };
            let page = library.page(&scope(None), &query);
            let ids: Vec<_> = page.items.iter().map(|item| item.id.clone()).collect();
            assert_eq!((page.total, ids), expected(&items, &query));
        }
        let of_one = library.page(&scope(Some("one")), &Query::default());
        assert_eq!(of_one.total, items.iter().filter(|item| item.class == 1).count());
        assert_eq!(library.all().len(), items.len());
    }

    #[test]
    fn a_page_of_many_touches_few() {
        let mut library = ListingStore::default();
        for number in 0..100_000_i64 {
            let second = number * 7_919 % 100_003;
            library.put(Item { id: format!("b-{number}"), second, class: number % 2 });
        }
        for skip in (0..100_000).step_by(10_000) {
            let query = Query { skip, take: 100, ..Query::default() };
            let page = library.page(&scope(None), &query);
            assert_eq!((page.total, page.items.len()), (100_000, 100));
            assert!(page.touched <= 2 * BLOCK, "{}", page.touched);
            let query = Query {
                from: Some(second(100)),
                to: Some(second(99_900)),
                classes: Some(&[1]),
                ..Query { skip: skip / 2, take: 100, ..Query::default() }
            };
            let page = library.page(&scope(None), &query);
            assert_eq!(page.items.len(), 100);
            assert!(page.touched <= 4 * BLOCK, "{}", page.touched);
        }
    }

    #[test]
    fn what_is_gone_leaves_nothing_behind() {
        let mut library = ListingStore::default();
        let item = |class| Item { id: "b-1".into(), second: 5, class };
        library.put(item(1));
        library.put(item(2));
        assert_eq!(library.page(&scope(Some("one")), &Query::default()).total, 0);
        assert_eq!(library.page(&scope(None), &Query::default()).total, 1);
        assert!(library.remove("b-1") && !library.remove("b-1"));
        assert!(library.indexes.is_empty() && library.get("b-1").is_none());
    }
}
