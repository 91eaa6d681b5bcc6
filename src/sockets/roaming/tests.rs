use std::{collections::HashSet, time::SystemTime};

use super::*;
use crate::{
    auth::Identity,
    cluster::sessions::Ours,
    future::BoxFuture,
    id::SocketId,
    recovery::{History, Position},
    sockets::record::SocketRecord,
};

/// Sessions in memory, in a Redis that can be away.
#[derive(Debug, Default)]
struct Kept {
    is_away: Mutex<bool>,
    /// The records with their turns, in the order of their writing.
    written: Mutex<Vec<(String, u64)>>,
    removed: Mutex<Vec<(String, u64)>>,
    /// Sessions that have a later owner.
    overtaken: Mutex<HashSet<String>>,
}

impl Kept {
    fn answer<T: Send + 'static>(&self, answer: T) -> BoxFuture<'_, Result<T, Unreachable>> {
        let is_away = *self.is_away.lock();
        Box::pin(async move { if is_away { Err(Unreachable) } else { Ok(answer) } })
    }
}

impl Sessions for Kept {
    fn put(
        &self,
        session: &Session,
        turn: u64,
        _: Duration,
    ) -> BoxFuture<'_, Result<Put, Unreachable>> {
        if *self.is_away.lock() {
            return self.answer(Put::Written);
        }
        let is_overtaken = self.overtaken.lock().contains(&session.pid);
        self.written.lock().push((session.pid.clone(), turn));
        self.answer(if is_overtaken { Put::Overtaken } else { Put::Written })
    }

    fn look(&self, _: &str) -> BoxFuture<'_, Result<Option<Seen>, Unreachable>> {
        self.answer(None)
    }

    fn take(&self, _: &Seen, _: Duration) -> BoxFuture<'_, Result<Option<u64>, Unreachable>> {
        self.answer(None)
    }

    fn remove(&self, pid: &str, turn: u64) -> BoxFuture<'_, Result<(), Unreachable>> {
        if !*self.is_away.lock() {
            self.removed.lock().push((pid.to_owned(), turn));
        }
        self.answer(())
    }
}

fn shared(pid: &Pid) -> Shared {
    let id = SocketId::numbered(7);
    let mut history = History::new(Position::numbered(1));
    history.join(&id.as_str().to_owned().into(), Position::numbered(1));
    let record = SocketRecord {
        id,
        namespace: "/".into(),
        identity: Identity::user("ada")
            .with_expiry(SystemTime::UNIX_EPOCH + Duration::from_secs(9)),
        rooms: Vec::new(),
        data: serde_json::Map::from_iter([("a".to_owned(), serde_json::json!([1, null, "b"]))]),
        connected_at: SystemTime::UNIX_EPOCH + Duration::from_millis(17),
        traceparent: None,
    };
    let (pid, upto, holder) = (pid.clone(), Position::numbered(3), "a".into());
    Shared { pid, record, history, upto, holder }
}

fn roaming(kept: &Arc<Kept>) -> Arc<Roaming> {
    Roaming::new(kept.clone(), None, NodeId::named("a"), Duration::from_secs(60))
}

fn nobody(_: &str, _: &Pid) {}

#[test]
fn a_session_is_for_redis_what_it_is_here() {
    let pid = Pid::random();
    let shared = shared(&pid);
    let session = shared.to_session("b").expect("it is small");
    assert_eq!((&*session.sid, &*session.pid), (shared.record.id.as_str(), pid.reveal()));
    assert_eq!(session.rooms, [shared.record.id.as_str()]);
    let ours = session.ours.clone().expect("ours");
    assert_eq!((ours.user.as_deref(), ours.token_end), (Some("ada"), Some(9_000)));
    let read = Session::read(session.write().as_bytes()).expect("it reads back");
    match Found::read(read.clone(), &pid) {
        Some(Found::Ours(found)) => assert_eq!(*found, Shared { holder: "b".into(), ..shared }),
        other => panic!("{other:?}"),
    }
    assert!(Found::read(read.clone(), &Pid::random()).is_none(), "of another secret");
    let other_id = Session { sid: "IJfsWM4wZjXU_7kEAAAh".into(), ..read.clone() };
    assert!(Found::read(other_id, &pid).is_none(), "the halves are of two hands");
    let torn = Ours { more: Some(vec![1, 2, 3]), ..ours };
    assert!(Found::read(Session { ours: Some(torn), ..read.clone() }, &pid).is_none());
    match Found::read(Session { ours: None, ..read }, &pid) {
        Some(Found::Foreign(foreign)) => {
            assert_eq!(foreign.data["a"], serde_json::json!([1, null, "b"]));
        }
        other => panic!("{other:?}"),
    }
    let mut large = self::shared(&pid);
    large.record.data.insert("x".into(), "x".repeat(1 << 20).into());
    assert_eq!(large.to_session("b"), None);
}

proptest::proptest! {
    /// Bytes that were a session, and then changed in one place.
    #[test]
    fn torn_sessions_are_read_or_not(at in 0..400usize, byte in proptest::num::u8::ANY) {
        let session = shared(&Pid::random()).to_session("b").expect("it is small");
        let mut beside = session.ours.and_then(|ours| ours.more).expect("ours");
        let at = at % beside.len();
        beside[at] = byte;
        check_beside(&beside);
        check_beside(&beside[..at]);
    }
}

#[tokio::test]
async fn many_changes_are_written_once_and_an_end_last() {
    let (kept, one, two) = (Arc::new(Kept::default()), Pid::random(), Pid::random());
    let roaming = roaming(&kept);
    let current = |_: &str, pid: &Pid| Some((shared(pid), 5));
    for _ in 0..3 {
        roaming.touch("/", &one);
        roaming.touch("/", &two);
    }
    roaming.ended(two.clone(), 5);
    roaming.touch("/", &two);
    roaming.write_some(&current, &nobody).await.expect("Redis is there");
    assert_eq!(*kept.written.lock(), [(one.reveal().to_owned(), 5)]);
    assert_eq!(*kept.removed.lock(), [(two.reveal().to_owned(), 5)]);
    roaming.is_idle().await;
    // One that has gone meanwhile is not written.
    roaming.touch("/", &one);
    roaming.write_some(&|_: &str, _: &Pid| None, &nobody).await.expect("Redis is there");
    assert_eq!(kept.written.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_redis_does_not_take_is_written_later() {
    let (kept, pid) = (Arc::new(Kept::default()), Pid::random());
    let roaming = roaming(&kept);
    *kept.is_away.lock() = true;
    roaming.touch("/", &pid);
    let current = |_: &str, pid: &Pid| Some((shared(pid), 1));
    assert!(roaming.write_some(&current, &nobody).await.is_err());
    let patience = Duration::from_secs(5);
    assert!(tokio::time::timeout(patience, roaming.is_idle()).await.is_err(), "it still waits");
    *kept.is_away.lock() = false;
    let writing = roaming.write_all(current, nobody);
    let idle = tokio::time::timeout(patience, roaming.is_idle());
    tokio::select! {
        () = writing => unreachable!("it writes for ever"),
        idle = idle => idle.expect("it is written"),
    }
    assert_eq!(kept.written.lock().len(), 1);
}

#[tokio::test]
async fn a_session_that_somebody_waits_for_is_written_at_once_or_later() {
    let (kept, pid) = (Arc::new(Kept::default()), Pid::random());
    let roaming = roaming(&kept);
    let current = || Some((shared(&pid), 1));
    roaming.touch("/", &pid);
    assert_eq!(roaming.write_now(&pid, current).await, Ok(Some(Owned::Here)));
    assert_eq!(kept.written.lock().len(), 1);
    roaming.is_idle().await;
    *kept.is_away.lock() = true;
    roaming.touch("/", &pid);
    assert_eq!(roaming.write_now(&pid, current).await, Err(Unreachable));
    *kept.is_away.lock() = false;
    let current = |_: &str, pid: &Pid| Some((shared(pid), 1));
    roaming.write_some(&current, &nobody).await.expect("Redis is there");
    assert_eq!(kept.written.lock().len(), 2);
    assert_eq!(roaming.write_now(&pid, || None).await, Ok(None));
}

#[tokio::test]
async fn who_is_overtaken_is_told() {
    let (kept, pid) = (Arc::new(Kept::default()), Pid::random());
    let roaming = roaming(&kept);
    kept.overtaken.lock().insert(pid.reveal().to_owned());
    roaming.touch("/", &pid);
    let lost = Mutex::new(Vec::new());
    let current = |_: &str, pid: &Pid| Some((shared(pid), 1));
    let told = |namespace: &str, pid: &Pid| lost.lock().push((namespace.to_owned(), pid.clone()));
    roaming.write_some(&current, &told).await.expect("Redis is there");
    assert_eq!(*lost.lock(), [("/".to_owned(), pid)]);
}

#[test]
fn the_question_for_a_session_reads_back() {
    let pid = Pid::random();
    let asked = |question: &[u8]| rmp_serde::from_slice(question).ok().and_then(Release::session);
    let question = Release { namespace: "/chat".into(), pid: pid.reveal().into() };
    let question = rmp_serde::to_vec_named(&question).expect("written");
    assert_eq!(asked(&question), Some(("/chat".to_owned(), pid)));
    for wrong in [&b""[..], b"nonsense", &rmp_serde::to_vec(&("/", "a b")).expect("written")] {
        assert_eq!(asked(wrong), None);
    }
    for released in [Released::Done, Released::Nothing, Released::Busy] {
        let answer = rmp_serde::to_vec_named(&released).expect("written");
        assert_eq!(rmp_serde::from_slice::<Released>(&answer).expect("read"), released);
    }
}
