//! What every inbox does. Each implementation runs all of it, by [`inbox_suite`].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use test_kit::waiting::until;

use super::{
    Attached, Holder, InboxRules, InboxStore, Kept, Listing, MAX_DEVICES, Message, NewMessage,
    StreamKey,
};

/// A test for each story. `$fresh` is an async function from rules to an empty inbox.
macro_rules! inbox_suite {
    ($fresh:ident) => {
        $crate::store::inbox::suite::inbox_suite!($fresh:
            messages_are_numbered_and_come_in_order
            a_known_id_is_kept_once
            a_full_inbox_refuses_and_keeps_the_id_free
            bytes_are_counted
            what_all_devices_have_counts_no_more
            a_newer_message_takes_the_place_of_an_older_one
            a_collapsed_message_fits_into_a_full_inbox
            the_first_device_gets_everything_and_the_next_what_comes
            namespaces_are_streams_of_their_own
            acknowledgements_never_go_back
            one_run_holds_a_stream
            who_waits_is_named_when_the_stream_is_free
            a_run_that_retires_frees_all_its_streams
            a_run_without_a_lease_holds_nothing
            holders_are_named_to_who_keeps
            messages_expire
            ids_and_devices_are_forgotten
            there_is_a_bound_for_devices
            pages_are_bounded
            messages_are_deleted
            any_text_is_a_name
            many_keep_for_one_user_at_once
        );
    };
    ($fresh:ident: $($story:ident)*) => {
        $(
            #[tokio::test]
            async fn $story() {
                let rules = $crate::store::inbox::suite::rules_of(stringify!($story));
                $crate::store::inbox::suite::$story(&$fresh(rules).await).await;
            }
        )*
    };
}
pub(crate) use inbox_suite;

const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(300);

/// The rules that a story is about.
pub(crate) fn rules_of(story: &str) -> InboxRules {
    let ttl = match story {
        "ids_and_devices_are_forgotten" => SHORT,
        _ => HOUR,
    };
    InboxRules { ttl, max_messages: 5, max_bytes: 2000 }
}

fn message(id: &str) -> NewMessage {
    NewMessage {
        user: "ada".into(),
        id: id.into(),
        namespace: "/".into(),
        event: "note".into(),
        args: b"\x91\x01".as_slice().into(),
        ttl: HOUR,
        collapse: None,
    }
}

fn run(name: &str) -> Holder {
    Holder { node: format!("node-{name}"), run: name.into() }
}

fn stream_in(namespace: &str, device: &str) -> StreamKey {
    StreamKey { user: "ada".into(), device: device.into(), namespace: namespace.into() }
}

fn stream(device: &str) -> StreamKey {
    stream_in("/", device)
}

async fn keep(store: &impl InboxStore, message: NewMessage) -> Kept {
    store.keep(vec![message]).await.expect("it keeps").remove(0)
}

/// Keeps a message, and returns its number.
async fn kept(store: &impl InboxStore, message: NewMessage) -> u64 {
    match keep(store, message).await {
        Kept::New { seq, .. } => seq,
        other => panic!("{other:?}"),
    }
}

async fn attach(store: &impl InboxStore, stream: &StreamKey, run: &Holder) -> Attached {
    store.renew(run).await.expect("it renews");
    store.attach(stream, run).await.expect("it attaches")
}

fn held(after: u64, last: u64) -> Attached {
    Attached::Held { after, last }
}

async fn ids(store: &impl InboxStore, stream: &StreamKey, after: u64) -> Vec<String> {
    let messages = store.pending(stream, after, 100, 1 << 20).await.expect("it reads");
    messages.into_iter().map(|message| message.id).collect()
}

async fn list(store: &impl InboxStore) -> Listing {
    store.list("ada", 0, 100).await.expect("it lists")
}

fn ids_of(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| &*message.id).collect()
}

async fn acknowledge(store: &impl InboxStore, stream: StreamKey, seq: u64) {
    store.acknowledge(vec![(stream, seq)]).await.expect("it acknowledges");
}

pub(crate) async fn messages_are_numbered_and_come_in_order(store: &impl InboxStore) {
    let kept = store.keep(["a", "b", "c"].map(message).to_vec()).await.expect("it keeps");
    assert!(kept.iter().all(|kept| matches!(kept, Kept::New { .. })));
    let of_bob = NewMessage { user: "bob".into(), ..message("a") };
    assert_eq!(keep(store, of_bob).await, Kept::New { seq: 1, holders: vec![] });
    assert_eq!(attach(store, &stream("phone"), &run("r1")).await, held(0, 3));
    assert_eq!(ids(store, &stream("phone"), 0).await, ["a", "b", "c"]);
    assert_eq!(ids(store, &stream("phone"), 2).await, ["c"]);
    let all = store.pending(&stream("phone"), 0, 1, 1 << 20).await.expect("it reads");
    let Message { seq, id, namespace, event, args, created, expires } = &all[0];
    let said = (*seq, &**id, &**namespace, &**event, &**args);
    assert_eq!(said, (1, "a", "/", "note", &b"\x91\x01"[..]));
    assert_eq!(expires.duration_since(*created).expect("it is later").as_secs(), 3600);
    let last = store.last(vec!["bob".into(), "nobody".into(), "ada".into()]).await;
    assert_eq!(last.expect("it knows"), [1, 0, 3]);
}

pub(crate) async fn a_known_id_is_kept_once(store: &impl InboxStore) {
    let twice = store.keep(vec![message("a"), message("a")]).await.expect("it keeps");
    assert_eq!(twice, [Kept::New { seq: 1, holders: vec![] }, Kept::Known { seq: 1 }]);
    attach(store, &stream(""), &run("r1")).await;
    acknowledge(store, stream(""), 1).await;
    assert_eq!(keep(store, message("a")).await, Kept::Known { seq: 1 }, "acknowledged or not");
    assert_eq!(kept(store, message("b")).await, 2);
}

pub(crate) async fn a_full_inbox_refuses_and_keeps_the_id_free(store: &impl InboxStore) {
    let six = ["1", "2", "3", "4", "5", "6"].map(message).to_vec();
    let kept = store.keep(six).await.expect("it keeps");
    assert_eq!(kept[5], Kept::Full);
    assert_eq!(store.delete("ada", Some("2")).await, Ok(1));
    let again = keep(store, message("6")).await;
    assert_eq!(again, Kept::New { seq: 6, holders: vec![] }, "it had taken no number");
    assert_eq!(ids_of(&list(store).await.messages), ["1", "3", "4", "5", "6"]);
}

pub(crate) async fn bytes_are_counted(store: &impl InboxStore) {
    let large = |id: &str| NewMessage { args: vec![0x90; 990].into(), ..message(id) };
    assert_eq!(kept(store, large("a")).await, 1);
    assert_eq!(kept(store, large("b")).await, 2);
    let third = NewMessage { args: vec![0x90; 9].into(), ..message("c") };
    assert_eq!(keep(store, third).await, Kept::Full);
    assert_eq!(store.depth().await.expect("it counts").bytes, 2 * (990 + 1 + 1 + 4));
}

pub(crate) async fn what_all_devices_have_counts_no_more(store: &impl InboxStore) {
    attach(store, &stream("phone"), &run("r1")).await;
    attach(store, &stream("desk"), &run("r1")).await;
    for id in ["1", "2", "3", "4", "5"] {
        kept(store, message(id)).await;
    }
    acknowledge(store, stream("phone"), 5).await;
    assert_eq!(keep(store, message("6")).await, Kept::Full, "the other device has none");
    acknowledge(store, stream("desk"), 3).await;
    let left = list(store).await;
    assert_eq!(ids_of(&left.messages), ["4", "5"]);
    assert_eq!(left.devices, [("desk".into(), 3), ("phone".into(), 5)].into());
    assert_eq!(kept(store, message("6")).await, 6);
}

pub(crate) async fn a_newer_message_takes_the_place_of_an_older_one(store: &impl InboxStore) {
    let badge = |id: &str, namespace: &str| NewMessage {
        collapse: Some("badge".into()),
        namespace: namespace.into(),
        ..message(id)
    };
    kept(store, badge("1", "/")).await;
    kept(store, message("2")).await;
    kept(store, badge("3", "/other")).await;
    assert_eq!(kept(store, badge("4", "/")).await, 4, "a new number");
    assert_eq!(ids_of(&list(store).await.messages), ["2", "3", "4"]);
    assert_eq!(keep(store, badge("1", "/")).await, Kept::Known { seq: 1 });
}

pub(crate) async fn a_collapsed_message_fits_into_a_full_inbox(store: &impl InboxStore) {
    let badge = |id: &str| NewMessage { collapse: Some("badge".into()), ..message(id) };
    kept(store, badge("1")).await;
    for id in ["2", "3", "4", "5"] {
        kept(store, message(id)).await;
    }
    assert_eq!(keep(store, message("6")).await, Kept::Full);
    assert_eq!(kept(store, badge("7")).await, 6);
    let larger = NewMessage { args: vec![0x90; 3000].into(), ..badge("8") };
    assert_eq!(keep(store, larger).await, Kept::Full, "too many bytes");
    assert_eq!(ids_of(&list(store).await.messages), ["2", "3", "4", "5", "7"]);
}

pub(crate) async fn the_first_device_gets_everything_and_the_next_what_comes(
    store: &impl InboxStore,
) {
    kept(store, message("1")).await;
    kept(store, message("2")).await;
    assert_eq!(attach(store, &stream("phone"), &run("r1")).await, held(0, 2));
    assert_eq!(attach(store, &stream("desk"), &run("r1")).await, held(2, 2));
    kept(store, message("3")).await;
    assert_eq!(ids(store, &stream("desk"), 2).await, ["3"]);
    assert_eq!(list(store).await.devices, [("desk".into(), 2), ("phone".into(), 0)].into());
    acknowledge(store, stream("phone"), 1).await;
    assert_eq!(attach(store, &stream("phone"), &run("r1")).await, held(1, 3), "once more");
}

pub(crate) async fn namespaces_are_streams_of_their_own(store: &impl InboxStore) {
    let chat = |id: &str| NewMessage { namespace: "/chat".into(), ..message(id) };
    kept(store, message("1")).await;
    kept(store, chat("2")).await;
    kept(store, message("3")).await;
    assert_eq!(attach(store, &stream("phone"), &run("r1")).await, held(0, 3));
    assert_eq!(ids(store, &stream("phone"), 0).await, ["1", "3"]);
    acknowledge(store, stream("phone"), 3).await;
    let left = list(store).await;
    assert_eq!(ids_of(&left.messages), ["2"]);
    assert_eq!(left.devices, [("phone".into(), 1)].into(), "up to which it has everything");
    let in_chat = stream_in("/chat", "phone");
    assert_eq!(attach(store, &in_chat, &run("r1")).await, held(0, 3));
    assert_eq!(ids(store, &in_chat, 0).await, ["2"]);
    acknowledge(store, in_chat, 2).await;
    assert_eq!(list(store).await.devices, [("phone".into(), 3)].into());
}

pub(crate) async fn acknowledgements_never_go_back(store: &impl InboxStore) {
    attach(store, &stream("phone"), &run("r1")).await;
    attach(store, &stream("desk"), &run("r1")).await;
    for id in ["1", "2", "3"] {
        kept(store, message(id)).await;
    }
    acknowledge(store, stream("phone"), 2).await;
    acknowledge(store, stream("phone"), 1).await;
    assert_eq!(list(store).await.devices["phone"], 2);
    acknowledge(store, stream("phone"), 99).await;
    kept(store, message("4")).await;
    assert_eq!(list(store).await.devices["phone"], 3, "what is to come is not acknowledged");
    acknowledge(store, stream("unknown"), 4).await;
    assert_eq!(list(store).await.devices.len(), 2);
}

pub(crate) async fn one_run_holds_a_stream(store: &impl InboxStore) {
    assert_eq!(attach(store, &stream(""), &run("r1")).await, held(0, 0));
    assert_eq!(attach(store, &stream(""), &run("r2")).await, Attached::Waits);
    assert_eq!(attach(store, &stream(""), &run("r1")).await, held(0, 0), "it has it already");
    let told = store.detach(vec![stream("")], &run("r2")).await.expect("it detaches");
    assert_eq!(told, [], "it did not hold it");
    assert_eq!(attach(store, &stream(""), &run("r2")).await, Attached::Waits);
}

pub(crate) async fn who_waits_is_named_when_the_stream_is_free(store: &impl InboxStore) {
    let both = vec![stream("phone"), stream("desk")];
    for stream in &both {
        attach(store, stream, &run("r1")).await;
    }
    attach(store, &stream("phone"), &run("r2")).await;
    attach(store, &stream("phone"), &run("r3")).await;
    store.detach(vec![stream("phone")], &run("r3")).await.expect("it detaches");
    let told = store.detach(both, &run("r1")).await.expect("it detaches");
    assert_eq!(told, [("node-r2".to_owned(), stream("phone"))]);
    assert_eq!(attach(store, &stream("phone"), &run("r2")).await, held(0, 0));
    let told = store.detach(vec![stream("phone")], &run("r2")).await.expect("it detaches");
    assert_eq!(told, [], "who holds it does not wait");
}

pub(crate) async fn a_run_that_retires_frees_all_its_streams(store: &impl InboxStore) {
    attach(store, &stream("phone"), &run("r1")).await;
    attach(store, &stream("desk"), &run("r1")).await;
    attach(store, &stream("desk"), &run("r2")).await;
    let told = store.retire(&run("r1")).await.expect("it retires");
    assert_eq!(told, [("node-r2".to_owned(), stream("desk"))]);
    assert_eq!(attach(store, &stream("phone"), &run("r2")).await, held(0, 0));
    assert_eq!(attach(store, &stream("desk"), &run("r2")).await, held(0, 0));
}

pub(crate) async fn a_run_without_a_lease_holds_nothing(store: &impl InboxStore) {
    assert_eq!(store.attach(&stream(""), &run("never renewed")).await, Ok(held(0, 0)));
    assert_eq!(keep(store, message("1")).await, Kept::New { seq: 1, holders: vec![] });
    assert_eq!(attach(store, &stream(""), &run("r2")).await, held(0, 1));
}

pub(crate) async fn holders_are_named_to_who_keeps(store: &impl InboxStore) {
    attach(store, &stream("phone"), &run("r1")).await;
    attach(store, &stream("desk"), &run("r2")).await;
    attach(store, &stream_in("/chat", "desk"), &run("r2")).await;
    let Kept::New { seq: 1, holders } = keep(store, message("1")).await else { panic!("not new") };
    let holders: BTreeSet<_> = holders.into_iter().collect();
    assert_eq!(holders, ["node-r1".to_owned(), "node-r2".to_owned()].into());
    store.detach(vec![stream("phone")], &run("r1")).await.expect("it detaches");
    let holders = vec!["node-r2".to_owned()];
    assert_eq!(keep(store, message("2")).await, Kept::New { seq: 2, holders });
}

pub(crate) async fn messages_expire(store: &impl InboxStore) {
    attach(store, &stream(""), &run("r1")).await;
    let short = |id: &str| NewMessage { ttl: SHORT, collapse: Some("c".into()), ..message(id) };
    kept(store, short("1")).await;
    kept(store, message("2")).await;
    until("it has expired", async || ids(store, &stream(""), 0).await == ["2"]).await;
    let left = list(store).await;
    assert_eq!((ids_of(&left.messages), left.devices[""]), (vec!["2"], 1));
    assert_eq!(store.delete("ada", Some("1")).await, Ok(0));
    kept(store, short("3")).await;
    assert_eq!(store.depth().await.expect("it counts").messages, 2);
    until("it has expired", async || ids(store, &stream(""), 0).await == ["2"]).await;
    let swept = store.sweep(100).await.expect("it sweeps");
    assert_eq!((swept.expired, swept.more), (1, false));
    assert_eq!(keep(store, message("1")).await, Kept::Known { seq: 1 }, "ids live for the ttl");
}

pub(crate) async fn ids_and_devices_are_forgotten(store: &impl InboxStore) {
    kept(store, message("1")).await;
    attach(store, &stream("held"), &run("r1")).await;
    attach(store, &stream("away"), &run("r1")).await;
    store.detach(vec![stream("away")], &run("r1")).await.expect("it detaches");
    kept(store, message("2")).await;
    acknowledge(store, stream("held"), 2).await;
    assert_eq!(ids_of(&list(store).await.messages), ["2"], "the other device has it not");
    until("nobody knows the one that is away", async || {
        store.renew(&run("r1")).await.expect("it renews");
        store.sweep(100).await.expect("it sweeps");
        list(store).await.devices.len() == 1
    })
    .await;
    let devices = [("held".into(), 2)].into();
    assert_eq!(list(store).await, Listing { devices, ..Listing::default() });
    assert_eq!(kept(store, message("1")).await, 3, "the id is free, and the counter goes on");
}

pub(crate) async fn there_is_a_bound_for_devices(store: &impl InboxStore) {
    let device = |n: usize| stream(&format!("device {n}"));
    for n in 0..MAX_DEVICES {
        attach(store, &device(n), &run("r1")).await;
    }
    assert_eq!(attach(store, &device(MAX_DEVICES), &run("r1")).await, Attached::TooMany);
    store.detach(vec![device(7)], &run("r1")).await.expect("it detaches");
    assert_eq!(attach(store, &device(MAX_DEVICES), &run("r1")).await, held(0, 0));
    let devices = list(store).await.devices;
    assert_eq!(devices.len(), MAX_DEVICES);
    assert!(!devices.contains_key("device 7"), "the one that was away is forgotten");
}

pub(crate) async fn pages_are_bounded(store: &impl InboxStore) {
    for id in ["1", "2", "3", "4"] {
        kept(store, NewMessage { args: vec![0x90; 100].into(), ..message(id) }).await;
    }
    let page = store.list("ada", 1, 2).await.expect("it lists");
    assert_eq!((ids_of(&page.messages), page.next), (vec!["2", "3"], Some(3)));
    let page = store.list("ada", 3, 2).await.expect("it lists");
    assert_eq!((ids_of(&page.messages), page.next), (vec!["4"], None));
    let of = stream("");
    let read =
        async |count, bytes| store.pending(&of, 0, count, bytes).await.expect("it reads").len();
    assert_eq!(read(3, 1000).await, 3);
    assert_eq!(read(9, 250).await, 2);
    assert_eq!(read(9, 1).await, 1, "one is always read");
}

pub(crate) async fn messages_are_deleted(store: &impl InboxStore) {
    attach(store, &stream(""), &run("r1")).await;
    for id in ["1", "2", "3"] {
        kept(store, message(id)).await;
    }
    kept(store, NewMessage { user: "bob".into(), ..message("1") }).await;
    assert_eq!(store.delete("ada", Some("2")).await, Ok(1));
    assert_eq!(store.delete("ada", Some("2")).await, Ok(0));
    assert_eq!(ids(store, &stream(""), 0).await, ["1", "3"]);
    assert_eq!(store.delete("ada", None).await, Ok(2));
    assert_eq!(list(store).await.devices[""], 3);
    assert_eq!(keep(store, message("2")).await, Kept::Known { seq: 2 });
    assert_eq!(store.list("bob", 0, 9).await.expect("it lists").messages.len(), 1);
}

pub(crate) async fn any_text_is_a_name(store: &impl InboxStore) {
    for text in ["'; DROP TABLE inbox_user; --", "\"%_\\", "ä\u{1f600}".repeat(200).as_str()] {
        let message = NewMessage {
            user: text.into(),
            id: text.into(),
            namespace: format!("/{text}"),
            event: text.into(),
            collapse: Some(text.into()),
            ..message("")
        };
        let fits = message.size() <= 2000;
        let key = StreamKey {
            user: text.into(),
            device: text.into(),
            namespace: Arc::from(&*message.namespace),
        };
        match fits {
            true => assert_eq!(kept(store, message).await, 1),
            false => assert_eq!(keep(store, message).await, Kept::Full),
        }
        attach(store, &key, &run(text)).await;
        let expected = usize::from(fits);
        assert_eq!(ids(store, &key, 0).await.len(), expected);
        assert_eq!(store.list(text, 0, 9).await.expect("it lists").messages.len(), expected);
        assert_eq!(store.delete(text, Some(text)).await, Ok(expected as u64));
    }
}

pub(crate) async fn many_keep_for_one_user_at_once(store: &impl InboxStore) {
    attach(store, &stream(""), &run("r1")).await;
    let one = async |n: u64| kept(store, message(&n.to_string())).await;
    // In fives, so that the inbox is never full.
    for n in 0..10 {
        let seqs = futures_util::future::join_all((n * 5..n * 5 + 5).map(one)).await;
        let seqs: BTreeSet<_> = seqs.into_iter().collect();
        assert_eq!(seqs, (n * 5 + 1..n * 5 + 6).collect());
        acknowledge(store, stream(""), n * 5 + 5).await;
    }
    assert_eq!(list(store).await.messages, []);
}
