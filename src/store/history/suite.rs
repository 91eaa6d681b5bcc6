//! What every history does. Each implementation runs all of it, by [`history_suite`].

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use test_kit::waiting::until;

use super::{HistoryStore, NewEvent, Page};

/// A test for each story. `$fresh` is an async function that makes an empty history.
macro_rules! history_suite {
    ($fresh:ident) => {
        $crate::store::history::suite::history_suite!($fresh:
            the_newest_comes_first
            an_event_is_there_once
            rooms_are_apart
            a_room_forgets_what_is_above_its_count
            events_grow_too_old
            pages_are_bounded
            any_text_is_a_name
            many_write_at_once
        );
    };
    ($fresh:ident: $($story:ident)*) => {
        $(
            #[tokio::test]
            async fn $story() {
                $crate::store::history::suite::$story(&$fresh().await).await;
            }
        )*
    };
}
pub(crate) use history_suite;

const HOUR: Duration = Duration::from_secs(3600);
const MUCH: usize = 1 << 20;

fn event(room: &str, id: &str) -> NewEvent {
    NewEvent {
        namespace: "/".into(),
        room: room.into(),
        id: id.into(),
        event: "said".into(),
        args: Bytes::from_static(b"\x91\x01"),
        from: None,
        count: 100,
        ttl: HOUR,
    }
}

async fn append(history: &impl HistoryStore, events: impl IntoIterator<Item = NewEvent>) {
    history.append(events.into_iter().collect()).await.expect("it is kept");
}

async fn page(history: &impl HistoryStore, room: &str, before: Option<&str>, limit: usize) -> Page {
    history.list("/", room, before, limit, MUCH).await.expect("a page")
}

async fn ids(history: &impl HistoryStore, room: &str) -> Vec<String> {
    page(history, room, None, 1000).await.events.into_iter().map(|event| event.id).collect()
}

pub(crate) async fn the_newest_comes_first(history: &impl HistoryStore) {
    let before = SystemTime::now() - Duration::from_secs(5);
    let args = Bytes::from_static(b"\x92\xc4\x02\x00\xff\xa1x");
    let full = NewEvent { args: args.clone(), from: Some("ada".into()), ..event("r", "1") };
    append(history, [full, event("r", "2")]).await;
    append(history, [event("r", "3")]).await;
    assert_eq!(ids(history, "r").await, ["3", "2", "1"]);
    let all = page(history, "r", None, 3).await;
    assert!(!all.more);
    let oldest = &all.events[2];
    assert_eq!((&*oldest.event, &oldest.args), ("said", &args));
    assert_eq!((oldest.from.as_deref(), all.events[0].from.as_deref()), (Some("ada"), None));
    assert!(oldest.at > before && oldest.at < before + Duration::from_secs(60));
    let first = page(history, "r", None, 2).await;
    assert_eq!((first.events.len(), first.more), (2, true));
    let second = page(history, "r", Some("2"), 2).await;
    assert_eq!((second.events[0].id.as_str(), second.events.len(), second.more), ("1", 1, false));
    assert_eq!(page(history, "r", Some("1"), 2).await, Page::default());
    assert_eq!(page(history, "r", Some("unknown"), 2).await, Page::default());
    assert_eq!(page(history, "empty", None, 2).await, Page::default());
}

pub(crate) async fn an_event_is_there_once(history: &impl HistoryStore) {
    append(history, [event("r", "1"), event("r", "2"), event("r", "1")]).await;
    let other = NewEvent { event: "other".into(), ..event("r", "1") };
    append(history, [other, event("r", "2"), event("s", "1")]).await;
    assert_eq!(ids(history, "r").await, ["2", "1"]);
    assert_eq!(page(history, "r", None, 9).await.events[1].event, "said", "as it was");
    assert_eq!(ids(history, "s").await, ["1"], "another room");
}

pub(crate) async fn rooms_are_apart(history: &impl HistoryStore) {
    let elsewhere = NewEvent { namespace: "/chat".into(), ..event("r", "1") };
    append(history, [event("r", "1"), event("R", "2"), event("r ", "3"), elsewhere]).await;
    assert_eq!(ids(history, "r").await, ["1"]);
    assert_eq!(ids(history, "R").await, ["2"]);
    let chat = history.list("/chat", "r", None, 9, MUCH).await.expect("a page");
    assert_eq!(chat.events.len(), 1);
    assert_eq!(page(history, "r", Some("2"), 9).await, Page::default(), "of another room");
}

pub(crate) async fn a_room_forgets_what_is_above_its_count(history: &impl HistoryStore) {
    let of = |id: u32| NewEvent { count: 3, ..event("r", &id.to_string()) };
    append(history, (0..10).map(of)).await;
    assert_eq!(ids(history, "r").await, ["9", "8", "7"]);
    append(history, [event("s", "1"), of(10)]).await;
    assert_eq!(ids(history, "r").await, ["10", "9", "8"]);
    append(history, [NewEvent { count: 1, ..event("r", "11") }]).await;
    assert_eq!(ids(history, "r").await, ["11"]);
    assert_eq!(ids(history, "s").await, ["1"]);
}

pub(crate) async fn events_grow_too_old(history: &impl HistoryStore) {
    let short = |id: &str| NewEvent { ttl: Duration::from_millis(300), ..event("r", id) };
    append(history, [short("1"), short("2"), event("r", "3")]).await;
    until("they are too old", async || ids(history, "r").await == ["3"]).await;
    assert!(!page(history, "r", None, 1).await.more, "none that would be shown");
    assert_eq!(history.sweep(1).await, Ok(1));
    assert_eq!(history.sweep(9).await, Ok(1));
    assert_eq!(history.sweep(9).await, Ok(0));
    assert_eq!(ids(history, "r").await, ["3"]);
}

pub(crate) async fn pages_are_bounded(history: &impl HistoryStore) {
    let large =
        |id: u32| NewEvent { args: Bytes::from(vec![0; 1000]), ..event("r", &id.to_string()) };
    append(history, (0..5).map(large)).await;
    for (bytes, expected) in [(0, 1), (1500, 1), (2500, 2), (MUCH, 5)] {
        let page = history.list("/", "r", None, 9, bytes).await.expect("a page");
        assert_eq!((page.events.len(), page.more), (expected, expected < 5), "{bytes}");
    }
}

pub(crate) async fn any_text_is_a_name(history: &impl HistoryStore) {
    let crab = "\u{1f980}".repeat(1024);
    let names = ["'", "\"", "'; DROP TABLE history; --", "%", "_", "\\", "$1", "?", " ", &crab];
    for name in names {
        let odd = NewEvent {
            namespace: format!("/{name}"),
            event: name.into(),
            from: Some(name.into()),
            ..event(name, name)
        };
        append(history, [odd]).await;
    }
    for name in names {
        let namespace = format!("/{name}");
        let found = history.list(&namespace, name, None, 9, MUCH).await.expect("a page").events;
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!((&*found[0].event, found[0].from.as_deref()), (name, Some(name)));
        assert_eq!(history.list(&namespace, name, Some(name), 9, MUCH).await, Ok(Page::default()));
    }
}

pub(crate) async fn many_write_at_once(history: &impl HistoryStore) {
    let writers = (0..10).map(|writer| {
        let of = move |n: u32| {
            let id = format!("{writer}-{n:02}");
            NewEvent { count: 1000, ..event("r", &id) }
        };
        // Each is told again by another one, as after a failure.
        let events: Vec<_> = (0..20).map(of).collect();
        async move {
            for some in events.chunks(3) {
                append(history, some.to_vec()).await;
                append(history, some.to_vec()).await;
            }
        }
    });
    futures_util::future::join_all(writers).await;
    let mut all = ids(history, "r").await;
    assert_eq!(all.len(), 200);
    all.reverse();
    for writer in 0..10 {
        let own: Vec<_> =
            all.iter().filter(|id| id.starts_with(&format!("{writer}-"))).cloned().collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}
