//! The rules of the store, and of what needs one.

use super::Check;
use crate::config::{Config, RoomHistory, SecretUrl};

impl Config {
    pub(super) fn check_store(&self, check: &mut Check) {
        let url = self.store.url.as_ref().map(SecretUrl::expose);
        let is_sqlite = url.is_some_and(|url| url.starts_with("sqlite:"));
        let is_postgres = url.is_some_and(is_postgres);
        let is_known = url.is_none() || is_sqlite || is_postgres;
        check.rule(&["store.url"], is_known, "must be sqlite:FILE or a postgres:// URL");
        check.rule(
            &["store.url"],
            !is_sqlite || cfg!(feature = "sqlite"),
            "needs the cargo feature `sqlite`, which this build does not have",
        );
        check.rule(
            &["store.url"],
            !is_postgres || cfg!(feature = "postgres"),
            "needs the cargo feature `postgres`, which this build does not have",
        );
        check.rule(&["store.url"], url != Some("sqlite:"), "names no file");
        check.rule(
            &["store.url", "redis.url"],
            !is_sqlite || self.redis.url.is_none(),
            "a file of SQLite is for one node, and redis.url makes a cluster; several nodes share a Postgres",
        );
        let outbox = &self.outbox;
        check.rule(
            &["outbox.enabled", "store.url"],
            !outbox.enabled || is_postgres,
            "needs a store.url of Postgres",
        );
        check.rule(
            &["outbox.partitions"],
            (1..=256).contains(&outbox.partitions),
            "must be 1 to 256",
        );
        check.rule(&["outbox.poll"], !outbox.poll.is_zero(), "must be more than 0");
        check.rule(&["outbox.key_ttl"], !outbox.key_ttl.is_zero(), "must be more than 0");
        let listens = outbox.listen_url.as_ref().map(SecretUrl::expose);
        check.rule(
            &["outbox.listen_url"],
            listens.is_none_or(self::is_postgres),
            "must be a postgres:// URL",
        );
        let inbox = &self.inbox;
        check.rule(
            &["inbox.enabled", "store.url"],
            !inbox.enabled || url.is_some(),
            "needs store.url",
        );
        let rules = &self.rooms.history;
        check.rule(
            &["rooms.history", "store.url"],
            rules.is_empty() || url.is_some(),
            "needs store.url",
        );
        for RoomHistory { rooms, count, ttl, on_join } in rules {
            let mut rule = |holds, what: &str| {
                check.rule(&["rooms.history"], holds, format!("`{rooms}`: {what}"));
            };
            rule(
                !rooms.is_futile(&self.users.room_prefix),
                "the server keeps these rooms for itself",
            );
            rule((1..=100_000).contains(count), "count must be 1 to 100000");
            rule(!ttl.is_zero(), "ttl must be more than 0");
            let most = usize::try_from(*count).unwrap_or(usize::MAX).min(1000);
            rule(*on_join <= most, "on_join must be at most count, and 1000");
        }
        check.rule(&["inbox.ttl"], !inbox.ttl.is_zero(), "must be more than 0");
        check.rule(&["inbox.window"], (1..=1024).contains(&inbox.window), "must be 1 to 1024");
    }
}

/// Whether a URL is one of Postgres.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, RoomHistory, SecretUrl};

    fn broken(change: impl FnOnce(&mut Config)) -> Vec<String> {
        Config::with(change).check().errors.iter().map(ToString::to_string).collect()
    }

    fn with_url(url: &str) -> Vec<String> {
        broken(|config| config.store.url = Some(SecretUrl::new(url)))
    }

    #[test]
    fn a_store_is_a_file_or_a_postgres() {
        assert_eq!(with_url("sqlite:a.db"), [""; 0]);
        assert_eq!(with_url("sqlite:"), ["store.url: names no file"]);
        assert_eq!(with_url("mysql://a"), ["store.url: must be sqlite:FILE or a postgres:// URL"]);
    }

    #[test]
    fn nodes_of_a_cluster_share_no_file() {
        let errors = broken(|config| {
            config.store.url = Some(SecretUrl::new("sqlite:a.db"));
            config.redis.url = Some(SecretUrl::new("redis://127.0.0.1"));
        });
        assert!(errors[0].starts_with("store.url: a file of SQLite is for one node"), "{errors:?}");
    }

    #[test]
    fn an_inbox_needs_a_store_and_a_window() {
        assert_eq!(broken(|c| c.inbox.enabled = true), ["inbox.enabled: needs store.url"]);
        for window in [0, 1025] {
            assert_eq!(broken(|c| c.inbox.window = window), ["inbox.window: must be 1 to 1024"]);
        }
    }

    #[test]
    fn history_needs_a_store_and_numbers_that_make_sense() {
        let with = |change: fn(&mut RoomHistory)| {
            let mut rule = RoomHistory::of("public:*".parse().unwrap());
            change(&mut rule);
            broken(move |config| {
                config.store.url = Some(SecretUrl::new("sqlite:a.db"));
                config.rooms.history = vec![rule];
            })
        };
        assert_eq!(with(|_| ()), [""; 0]);
        let none = broken(|c| c.rooms.history = vec![RoomHistory::of("a".parse().unwrap())]);
        assert_eq!(none, ["rooms.history: needs store.url"]);
        for (change, about) in [
            ((|rule| rule.count = 0) as fn(&mut RoomHistory), "count must be 1 to 100000"),
            (|rule| rule.count = 100_001, "count must be 1 to 100000"),
            (|rule| rule.ttl = std::time::Duration::ZERO, "ttl must be more than 0"),
            (|rule| rule.on_join = 101, "on_join must be at most count, and 1000"),
        ] {
            assert_eq!(with(change), [format!("rooms.history: `public:*`: {about}")]);
        }
        let own = with(|rule| rule.rooms = "user:*".parse().unwrap());
        assert!(own[0].starts_with("rooms.history: `user:*`"), "{own:?}");
    }
}
