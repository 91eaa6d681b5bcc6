//! Volatile events beside others: they never come out of order, and are dropped where something
//! waits for the client. What is expected here is what socket.io 4.8 for Node.js delivers.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Server, within};
use switchboard::{Data, Gateway, Reply, Switchboard};

/// `r` is a regular event, `v` a volatile one; each has its number.
const CASES: [(&str, &[u64]); 6] = [
    ("rvr", &[0, 2]),
    ("vr", &[0, 1]),
    ("vv", &[0]),
    ("rrv", &[0, 1]),
    ("v", &[0]),
    ("vrv", &[0, 1]),
];

async fn server() -> Server {
    let go = async |Data(pattern): Data<String>| {
        let event = |(number, kind): (usize, char)| {
            let event = Reply::event("n", &number);
            if kind == 'v' { event.volatile() } else { event }
        };
        pattern.chars().enumerate().map(event).collect::<Vec<_>>()
    };
    let echo = async |Data(data): Data<Option<u64>>| Reply::ack(&data);
    let gateway = Gateway::new("/").on("go", go).on("echo", echo);
    Server::start(Switchboard::builder().gateway(gateway)).await
}

#[tokio::test]
async fn by_websocket_they_are_dropped_where_something_waits_and_never_overtake() {
    let server = server().await;
    for (pattern, expected) in CASES {
        let mut ada = server.client().await;
        // an answer has come, so nothing of the handshake waits any more
        assert_eq!(ada.ask("echo", json!(1)).await, json!(1));
        ada.emit("go", json!(pattern)).await;
        for number in expected {
            assert_eq!(ada.hears("n").await, json!(number), "{pattern}");
        }
        assert_eq!(ada.heard_before("echo").await, [], "{pattern}");
    }
}

/// A socket by polling.
struct Poller {
    http: reqwest::Client,
    url: String,
}

impl Poller {
    async fn connected(server: &Server) -> Self {
        let http = reqwest::Client::new();
        let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.address);
        let open = http.get(&url).send().await.expect("a handshake").text().await.expect("text");
        let open: serde_json::Value = serde_json::from_str(&open[1..]).expect("JSON");
        let url = format!("{url}&sid={}", open["sid"].as_str().expect("an id"));
        let poller = Self { http, url };
        poller.post("40".into()).await;
        assert!(poller.poll().await.starts_with("40{"));
        poller
    }

    async fn post(&self, body: String) {
        let sent = self.http.post(&self.url).body(body).send().await.expect("an answer");
        assert_eq!(sent.status(), 200);
    }

    async fn poll(&self) -> String {
        let request = self.http.get(&self.url).send();
        within("a poll", request).await.expect("an answer").text().await.expect("text")
    }
}

/// What a client that polls hears of a pattern, if a poll of its waits for `ahead` before.
async fn heard_by_polling(server: &Server, pattern: &str, ahead: Duration) -> Vec<u64> {
    let poller = Poller::connected(server).await;
    let waiting = async {
        let mut heard = String::new();
        // the acknowledgement is the last that comes
        while !heard.contains("439") {
            heard.push_str(&poller.poll().await);
            heard.push('\x1e');
        }
        heard
    };
    let sending = async {
        tokio::time::sleep(ahead).await;
        poller.post(format!(r#"42["go","{pattern}"]"#)).await;
        poller.post(r#"429["echo",1]"#.into()).await;
    };
    let (heard, ()) = tokio::join!(waiting, sending);
    let number = |packet: &str| packet.strip_prefix(r#"42["n","#)?.strip_suffix("]")?.parse().ok();
    heard.split('\x1e').filter_map(number).collect()
}

#[tokio::test]
async fn by_polling_they_are_dropped_where_no_poll_waits_and_never_overtake() {
    let server = server().await;
    for (pattern, expected) in CASES {
        // Nobody tells when the server has the poll: the longer ahead it left, the surer.
        let mut ahead = Duration::from_millis(10);
        loop {
            let heard = heard_by_polling(&server, pattern, ahead).await;
            assert!(heard.is_sorted(), "{pattern}: {heard:?}");
            if heard == expected {
                break;
            }
            assert!(ahead < Duration::from_secs(2), "{pattern}: {heard:?}");
            ahead *= 2;
        }
    }
}

#[tokio::test]
async fn a_broadcast_reaches_only_those_who_are_ready() {
    let server = server().await;
    let mut ready = server.client().await;
    assert_eq!(ready.ask("echo", json!(1)).await, json!(1));
    // by polling, between two polls
    let away = Poller::connected(&server).await;
    server.switchboard.of("/").volatile().emit("n", &0).expect("emitted");
    server.switchboard.of("/").emit("n", &1).expect("emitted");
    assert_eq!(ready.hears("n").await, json!(0));
    assert_eq!(ready.hears("n").await, json!(1));
    assert_eq!(away.poll().await, r#"42["n",1]"#);
}
