use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::prelude::*;
use rmpv::Value as Tree;
use test_kit::{redis::RedisServer, redis_cluster, waiting::until};

use super::*;
use crate::{
    cluster::{log::EntryId, sessions::Ours},
    link::redis::{
        target::Target,
        testing::{Reached as _, target},
    },
};

const KEEP: Duration = Duration::from_secs(60);

fn session(pid: &str) -> Session {
    Session {
        sid: "IJfsWM4wZjXU_7kEAAAh".into(),
        pid: pid.into(),
        rooms: vec!["IJfsWM4wZjXU_7kEAAAh".into(), "room1".into(), "\u{0}101".into()],
        data: Tree::Map(vec![("counter".into(), 1.into())]),
        ours: Some(Ours {
            user: Some("ada".into()),
            token_end: Some(1_795_490_547_421),
            start: Some(EntryId { millis: 1_795_490_547_421, number: 3 }),
            more: Some(vec![1, 2, 255]),
        }),
    }
}

async fn sessions(target: Target) -> RedisSessions {
    let redis = Redis::new(target);
    redis.start(false).await.unwrap();
    RedisSessions::new(redis, "sio:session:", Duration::from_secs(5))
}

/// Looks at a session, and takes it. Returns it with the new turn.
async fn taken(sessions: &RedisSessions, pid: &str) -> Result<Option<(Session, u64)>, Unreachable> {
    let Some(seen) = sessions.look(pid).await? else { return Ok(None) };
    let turn = sessions.take(&seen, KEEP).await?;
    Ok(turn.map(|turn| (seen.session, turn)))
}

/// The record of Node.js as it is, byte for byte.
fn vector() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/csr-streams-session-set.json");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    BASE64_STANDARD.decode(json["payload_base64"].as_str().unwrap()).unwrap()
}

#[test]
fn a_record_of_node_is_read_and_written_as_it_is() {
    let record = vector();
    let session = Session::read(&record).unwrap();
    assert_eq!((&*session.sid, &*session.pid), ("IJfsWM4wZjXU_7kEAAAh", "E_5EwLgMhe_L7bPIAAAi"));
    assert_eq!(session.rooms, ["IJfsWM4wZjXU_7kEAAAh", "room1"]);
    assert_eq!(session.ours, None);
    assert_eq!(session.write().as_bytes(), record);
}

#[test]
fn what_is_written_is_read_and_nonsense_is_no_session() {
    let session = session("p");
    assert_eq!(Session::read(session.write().as_bytes()), Some(session));
    let record = |tree: Tree| {
        let mut bytes = Vec::new();
        crate::msgpack::write(&mut bytes, &tree);
        BASE64_STANDARD.encode(bytes)
    };
    let map = |members: &[(&str, Tree)]| {
        let members = members.iter().map(|(name, value)| (Tree::from(*name), value.clone()));
        Tree::Map(members.collect())
    };
    let ids = [("sid", Tree::from("s")), ("pid", Tree::from("p"))];
    let bare = Session::read(record(map(&ids)).as_bytes()).unwrap();
    assert_eq!((bare.rooms.len(), bare.data), (0, Tree::Map(vec![])));
    // A member of ours that is not understood is none of ours: the user is not known then.
    let strange = [("switchboard", map(&[("user", Tree::from(7))]))];
    let read = Session::read(record(map(&[&ids[..], &strange].concat())).as_bytes()).unwrap();
    assert_eq!(read.ours, None);
    for wrong in [
        Tree::Nil,
        map(&[("sid", Tree::from("s"))]),
        map(&[("sid", Tree::from("s")), ("pid", Tree::from(7))]),
        map(&[("sid", Tree::from("")), ("pid", Tree::from("p"))]),
        map(&[&ids[..], &[("rooms", Tree::from("a"))]].concat()),
    ] {
        assert_eq!(Session::read(record(wrong.clone()).as_bytes()), None, "{wrong}");
    }
    assert_eq!(Session::read(b""), None);
    assert_eq!(Session::read(b"!!!"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_a_session_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        Session::read(&bytes);
        crate::cluster::fuzzing::session(&bytes);
    }
}

#[tokio::test]
async fn a_session_is_taken_once_and_expires() {
    let server = RedisServer::start().await;
    let sessions = sessions(server.target()).await;
    let own = session("p1");
    assert_eq!(sessions.put(&own, 1, KEEP).await, Ok(Put::Written));
    let kept: u64 = server.ask(&["PTTL", "sio:session:p1"]).await;
    assert!(kept <= 60_000 && kept > 50_000, "{kept}");
    let seen = sessions.look("p1").await.unwrap().unwrap();
    assert_eq!(seen.session, own);
    assert_eq!(sessions.take(&seen, KEEP).await, Ok(Some(2)));
    assert_eq!(sessions.take(&seen, KEEP).await, Ok(None), "another one was first");
    assert_eq!(sessions.put(&own, 1, KEEP).await, Ok(Put::Overtaken), "it is the other's turn");
    assert_eq!(taken(&sessions, "p1").await, Ok(Some((own.clone(), 3))), "that one has ended");
    assert_eq!(sessions.put(&own, 2, KEEP).await, Ok(Put::Overtaken));
    assert_eq!(sessions.put(&own, 3, KEEP).await, Ok(Put::Written));
    let seen = sessions.look("p1").await.unwrap().unwrap();
    let other = Session { rooms: vec!["room2".into()], ..own.clone() };
    assert_eq!(sessions.put(&other, 3, KEEP).await, Ok(Put::Written));
    assert_eq!(sessions.take(&seen, KEEP).await, Ok(None), "it was written since");
    assert_eq!(sessions.remove("p1", 1).await, Ok(()));
    assert_eq!(taken(&sessions, "p1").await, Ok(Some((other, 4))), "former owners end nothing");
    assert_eq!(sessions.remove("p1", 4).await, Ok(()));
    assert_eq!(sessions.look("p1").await, Ok(None));
    assert_eq!(sessions.put(&own, 4, Duration::from_millis(1)).await, Ok(Put::Written));
    until("it is gone", async || server.ask::<u64>(&["DBSIZE"]).await == 0).await;
    for wrong in ["", "p 1", "p{1}", "ü", &"x".repeat(65)] {
        assert_eq!(sessions.look(wrong).await, Ok(None), "{wrong}");
    }
}

/// Node.js takes a record by `GET` and `DEL`, writes by `SET`, and knows of no turns.
#[tokio::test]
async fn a_node_that_stood_still_overwrites_nothing_of_a_node_server() {
    let server = RedisServer::start().await;
    let sessions = sessions(server.target()).await;
    let (own, key) = (session("p1"), "sio:session:p1");
    sessions.put(&own, 1, KEEP).await.unwrap();
    server.command(&["DEL", key]).await.unwrap();
    assert_eq!(sessions.put(&own, 1, KEEP).await, Ok(Put::Overtaken), "it has taken it");
    let theirs = Session { ours: None, ..own.clone() }.write();
    server.command(&["SET", key, &theirs, "PX", "60000"]).await.unwrap();
    assert_eq!(sessions.put(&own, 1, KEEP).await, Ok(Put::Overtaken), "it has written it");
    assert_eq!(sessions.remove("p1", 1).await, Ok(()));
    let (session, turn) = taken(&sessions, "p1").await.unwrap().unwrap();
    assert_eq!((session.ours, turn), (None, 2), "and the client comes back to us");
    server.command(&["DEL", key]).await.unwrap();
    assert_eq!(
        sessions.put(&own, 2, KEEP).await,
        Ok(Put::Overtaken),
        "it has taken it at the time"
    );
    server.command(&["SET", key, &theirs, "PX", "60000"]).await.unwrap();
    let (_, turn) = taken(&sessions, "p1").await.unwrap().unwrap();
    assert_eq!(sessions.put(&own, turn, KEEP).await, Ok(Put::Written));
    // and one that it has written first
    server.command(&["SET", "sio:session:p2", &theirs.replace("p1", "p2")]).await.unwrap();
    assert_eq!(sessions.look("p2").await, Ok(None), "the record is of another session");
}

#[tokio::test]
async fn a_record_that_is_too_large_is_none() {
    let server = RedisServer::start().await;
    let sessions = sessions(server.target()).await;
    let large = Session { data: Tree::from("x".repeat(1 << 20)), ..session("p1") };
    assert_eq!(sessions.put(&large, 1, KEEP).await, Ok(Put::Written));
    assert_eq!(sessions.look("p1").await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_kept_in_a_redis_cluster_and_a_redis_that_is_away_is_told_from_an_empty_one() {
    let nodes = redis_cluster::start().await;
    let cluster = sessions(target(&format!("{},{}", nodes[0].url(), nodes[1].url()))).await;
    until("the cluster keeps sessions", async || {
        cluster.put(&session("first"), 1, KEEP).await == Ok(Put::Written)
    })
    .await;
    for number in 0..50 {
        let pid = format!("p{number}");
        assert_eq!(cluster.put(&session(&pid), 1, KEEP).await, Ok(Put::Written));
        assert_eq!(taken(&cluster, &pid).await.unwrap().unwrap().0.pid, pid);
        assert_eq!(cluster.put(&session(&pid), 1, KEEP).await, Ok(Put::Overtaken));
    }
    let mut server = RedisServer::start().await;
    let alone = sessions(server.target()).await;
    server.kill();
    assert_eq!(alone.look("p1").await, Err(Unreachable));
    assert_eq!(alone.put(&session("p1"), 1, KEEP).await, Err(Unreachable));
}
