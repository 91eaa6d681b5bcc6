//! A page of users in order, though they are spread over the buckets by a hash.
//!
//! [`Page`] decides which buckets to ask for how many users, and does nothing else: no I/O.

use std::collections::BTreeMap;

use super::entry::{BUCKETS, after_user, encode_user};
use crate::{id::UserId, users::UserPage};

/// A page under construction.
pub(super) struct Page {
    limit: usize,
    found: BTreeMap<UserId, usize>,
    /// The last user read from each bucket. `None`: nothing was read, or all.
    read: Vec<Read>,
}

#[derive(Clone)]
enum Read {
    From(Vec<u8>),
    UpTo(UserId),
    ToTheEnd,
}

impl Page {
    /// A page from `cursor` on, of at most `limit` users.
    pub(super) fn new(cursor: Option<&str>, limit: usize) -> Self {
        let from = cursor.map(encode_user).unwrap_or_default();
        Self { limit, found: BTreeMap::new(), read: vec![Read::From(from); BUCKETS] }
    }

    /// How many users to ask of a bucket: its share of the page, and some more, so that two rounds
    /// are the exception.
    pub(super) fn share(&self) -> usize {
        let share = (self.limit + 1).div_ceil(BUCKETS);
        share + 2 * share.isqrt() + 2
    }

    /// The buckets to ask next, and the start in each as it stands in Redis. Empty: the page is
    /// complete.
    pub(super) fn questions(&self) -> Vec<(usize, Vec<u8>)> {
        // Users after this one are on the next page.
        let last = self.found.keys().nth(self.limit);
        let question = |(bucket, read): (usize, &Read)| match read {
            Read::From(from) => Some((bucket, from.clone())),
            Read::UpTo(user) if last.is_none_or(|last| user < last) => {
                // Without the bracket: the script writes it.
                Some((bucket, after_user(&encode_user(user))))
            }
            Read::UpTo(_) | Read::ToTheEnd => None,
        };
        self.read.iter().enumerate().filter_map(question).collect()
    }

    /// Takes the answer of a bucket: `complete` if it has no more.
    pub(super) fn answered(&mut self, bucket: usize, users: Vec<(UserId, usize)>, complete: bool) {
        let last = users.last().map(|(user, _)| user.clone());
        self.read[bucket] = match last {
            Some(last) if !complete => Read::UpTo(last),
            _ => Read::ToTheEnd,
        };
        self.found.extend(users);
        // Users further back cannot be on this page.
        while self.found.len() > self.limit + 1 {
            self.found.pop_last();
        }
    }

    pub(super) fn finish(self) -> UserPage {
        let mut users = self.found.into_iter();
        let page = users.by_ref().take(self.limit).collect();
        UserPage { users: page, next: users.next().map(|(user, _)| user) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::entry::bucket_of, *};

    proptest! {
        /// However the users are spread, the page equals that of a sorted list, and few users are
        /// asked for.
        #[test]
        fn a_page_is_that_of_a_sorted_list(
            users in proptest::collection::btree_set("[a-d]{1,4}", 0..300),
            cursor in proptest::option::of("[a-d]{1,3}"),
            limit in 1_usize..100,
        ) {
            let from = cursor.clone().unwrap_or_default();
            let sorted: Vec<&String> = users.iter().filter(|user| **user >= from).collect();
            let mut page = Page::new(cursor.as_deref(), limit);
            let (mut rounds, mut asked) = (0, 0);
            loop {
                let questions = page.questions();
                if questions.is_empty() { break }
                rounds += 1;
                for (bucket, from) in questions {
                    let share = page.share();
                    let listed: Vec<(UserId, usize)> = users
                        .iter()
                        .filter(|user| bucket_of(user) == bucket && encode_user(user) >= from)
                        .take(share)
                        .map(|user| (user.as_str().into(), 1))
                        .collect();
                    asked += listed.len();
                    let complete = listed.len() < share;
                    page.answered(bucket, listed, complete);
                }
            }
            let page = page.finish();
            let expected: Vec<_> = sorted.iter().take(limit).map(|user| user.as_str()).collect();
            prop_assert_eq!(page.users.iter().map(|(user, _)| &**user).collect::<Vec<_>>(), expected);
            prop_assert_eq!(page.next.as_deref(), sorted.get(limit).map(|user| user.as_str()));
            prop_assert!(rounds <= 300 && asked <= 2 * 300);
        }
    }
}
