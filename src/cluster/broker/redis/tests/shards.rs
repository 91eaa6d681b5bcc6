//! Sharded channels in a Redis Cluster: the effect of losing one master, or a slot, on the others.

use std::time::Duration;

use super::*;

/// A channel at each of the three masters of [`redis_cluster::start`], and one more at the last.
const CHANNELS: [&str; 4] = ["bar", "c", "foo", "a"];

/// Numbers from `first` on, on a channel of each master, until `over`; the next one.
async fn numbers(from: &Node, first: usize, over: impl AsyncFn(usize) -> bool) -> usize {
    let mut number = first;
    while !over(number).await {
        for channel in CHANNELS {
            from.say(channel, &number.to_string());
        }
        number += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    number
}

/// What was heard on each of the channels, in order.
async fn heard(node: &mut Node, wanted: usize) -> [Vec<usize>; 4] {
    let mut heard = [const { Vec::new() }; 4];
    while heard.iter().any(|heard| heard.last() != Some(&(wanted - 1))) {
        let (channel, frame) = node.next().await;
        let at = CHANNELS.iter().position(|known| *known == channel).unwrap();
        heard[at].push(std::str::from_utf8(&frame).unwrap().parse().unwrap());
    }
    heard
}

/// A node whose frames wait for a master for as long as a busy machine takes to start one.
async fn patient(url: &str) -> Node {
    let target = target(url);
    let rights = Arc::new(Rights::new(target.user(), target.address()));
    let pending = Pending { age: Duration::from_secs(60), ..Pending::default() };
    Node::start(Arc::new(RedisBroker::new(target, Kind::Sharded, rights, pending, None))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_a_master_touches_its_own_channels_alone() {
    for full_coverage in ["no", "yes"] {
        let mut nodes = redis_cluster::start().await;
        for node in &nodes {
            let set = ["CONFIG", "SET", "cluster-require-full-coverage", full_coverage];
            node.command(&set).await.unwrap();
        }
        let url = format!("{},{}", nodes[0].url(), nodes[1].url());
        let [ann, bob] = [patient(&url).await, patient(&url).await];
        bob.listen(&CHANNELS).await;
        nodes[2].kill();
        // longer than the cluster takes to find out
        let until_known = Instant::now() + Duration::from_secs(4);
        let sent = numbers(&ann, 0, async |_| Instant::now() > until_known).await;
        for channel in &CHANNELS[..2] {
            assert_eq!(ann.listeners(channel).await, 1);
        }
        assert!(ann.broker.listeners(vec!["foo".into()]).await.is_err());
        let reason = ann.broker.reason().unwrap();
        assert!(reason.contains(&format!("{} (5461 of 16384 slots)", nodes[2].port)), "{reason}");
        assert_eq!(reason.matches("of 16384").count(), 1, "{reason}");
        // a new channel at a living master is heard at once
        within("a living master is asked", bob.listen(&["new{bar}"])).await;
        let mark = ann.broker.mark();
        ann.say("new{bar}", "x");
        assert_eq!(ann.broker.taken(mark).await, Ok(()));
        let counts = ann.broker.counts();
        // Two of the channels are at the master that is gone.
        let unsent = counts.queued + usize::try_from(counts.publish_errors).unwrap();
        assert_eq!((unsent, counts.dropped_down), (2 * sent, 0), "{counts:?}");
        nodes[2].restart().await;
        for node in [&ann, &bob] {
            node.becomes(Link::Up).await;
        }
        let unsure = usize::try_from(ann.broker.counts().publish_errors).unwrap();
        assert!(unsure < 5, "{unsure}");
        let mut others = bob;
        let mut all = [const { Vec::new() }; 4];
        while all.iter().any(|heard| heard.last() != Some(&(sent - 1))) {
            let (channel, frame) = others.next().await;
            if let Some(at) = CHANNELS.iter().position(|known| *known == channel) {
                all[at].push(std::str::from_utf8(&frame).unwrap().parse::<usize>().unwrap());
            }
        }
        let whole: Vec<_> = (0..sent).collect();
        assert!(all[0] == whole && all[1] == whole, "{full_coverage}: others lost something");
        for heard in &all[2..] {
            assert!(heard.is_sorted() && heard.len() + unsure >= sent, "{} of {sent}", heard.len());
        }
    }
}

/// The slot of a channel that is listened to moves to another master, while numbers are sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_takes_its_channel_with_it_and_leaves_the_others_alone() {
    let nodes = redis_cluster::start().await;
    let url = format!("{},{}", nodes[0].url(), nodes[1].url());
    let [ann, mut bob] = [node(&url, Kind::Sharded).await, node(&url, Kind::Sharded).await];
    bob.listen(&CHANNELS).await;
    // `foo` is in slot 12182, at the last of the three
    let is_moved = std::cell::Cell::new(false);
    let moving = async {
        redis_cluster::move_slot(&nodes, "12182", Duration::from_millis(200)).await;
        is_moved.set(true);
    };
    // The first of the three counts bob, so from now on he has to hear everything.
    let is_taken_up =
        async |_| is_moved.get() && ann.broker.listeners(vec!["foo".into()]).await == Ok(vec![1]);
    let numbering = within("bob listens again", numbers(&ann, 0, is_taken_up));
    let (lossy, ()) = tokio::join!(numbering, moving);
    let sent = numbers(&ann, lossy, async |number| number == lossy + 20).await;
    let [bar, c, foo, a] = heard(&mut bob, sent).await;
    let whole: Vec<_> = (0..sent).collect();
    assert!(bar == whole && c == whole && a == whole, "others lost something");
    assert!(foo.is_sorted() && foo.ends_with(&whole[lossy..]), "from {lossy} on: {foo:?}");
    for node in [&ann, &bob] {
        node.becomes(Link::Up).await;
    }
    assert_eq!(ann.listeners("foo").await, 1);
    let counts = ann.broker.counts();
    assert_eq!((counts.publish_errors, counts.dropped_down), (0, 0), "{counts:?}");
    assert!(bob.broker.lapses().next().await.unheard.is_some());
}
