//! Frames above the size that Redis keeps for a listening connection.

use super::*;

/// Redis passes on nothing above 1 MB.
async fn narrow() -> RedisServer {
    RedisServer::with(&["--client-output-buffer-limit", "pubsub 1mb 1mb 0"]).await
}

fn big() -> Bytes {
    vec![7; 2 << 20].into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_above_the_limit_is_refused_and_costs_nobody_a_link() {
    let server = narrow().await;
    let [ann, mut bob] =
        [node(&server.url(), Kind::Classic).await, node(&server.url(), Kind::Classic).await];
    bob.listen(&["a"]).await;
    ann.listen(&["a"]).await;
    ann.say("a", "before");
    let mark = ann.broker.mark();
    ann.broker.publish("a", big());
    let until = ann.broker.mark();
    ann.say("a", "after");
    bob.hears("a", "before").await;
    bob.hears("a", "after").await;
    assert_eq!(ann.broker.taken(mark.clone()).await, Err(Disconnected));
    assert!(ann.broker.is_too_big(&mark, &until), "it is known which one it was");
    assert!(!ann.broker.is_too_big(&until, &ann.broker.mark()), "and that the next one was not");
    assert_eq!(ann.broker.counts().publish_errors, 1);
    assert!(ann.broker.lapses().next().await.unsaid.is_some());
    for node in [&ann, &bob] {
        assert_eq!(node.broker.counts().reconnects, 0);
    }
    // the limit is as it is now
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"];
    server.command(&limit).await.unwrap();
    ann.broker.publish("a", big());
    assert_eq!(bob.next().await.1, big());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_redis_does_not_tell_the_limit_only_the_big_frame_is_lost() {
    let server = narrow().await;
    let rule = ["ACL", "SETUSER", "app", "on", ">pw", "&*", "+@all", "-config"];
    server.command(&rule).await.unwrap();
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port);
    let [ann, mut bob] = [node(&url, Kind::Classic).await, node(&url, Kind::Classic).await];
    bob.listen(&["a"]).await;
    ann.listen(&["a"]).await;
    let mut heard = 0;
    for round in 0..5 {
        ann.broker.publish("a", big());
        for _ in 0..10 {
            ann.say("a", "small");
        }
        for node in [&ann, &bob] {
            until("it is mended", async || node.broker.counts().reconnects == round + 1).await;
        }
        ann.say("a", "the end");
        while bob.next().await.1 != "the end" {
            heard += 1;
        }
    }
    // All of them where a connection takes less than 25 ms, which a busy machine does not promise.
    assert!(heard > 0, "none of 50");
    // Others may hear a frame before Redis's answer to it is read here.
    until("Redis has answered all", async || ann.broker.counts().published == 60).await;
    let counts = ann.broker.counts();
    assert_eq!((counts.publish_errors, counts.dropped_down), (0, 0), "publishing lives on");
}
