//! Answers that their client does not read, or not to the end.

use std::{sync::Arc, time::Duration};

use socketioxide_core::Sid;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::support::{Poller, Server, eventually, options, within};
use crate::edge::{EdgeOptions, KillReason, Load};

/// More than the system keeps for a connection whose client does not read.
const MEGABYTES: usize = 24;

const STALL: Duration = Duration::from_secs(1);

/// As long as no test takes.
const LONG: Duration = Duration::from_secs(600);

fn killed(server: &Server, reason: KillReason) -> u64 {
    let counts = server.transports.counts();
    counts.killed.iter().find(|(kind, _)| *kind == reason).map_or(0, |(_, n)| *n)
}

/// A poll whose answer is that long and is not read, and what waits because of its client.
struct Unread {
    server: Server,
    poller: Poller,
    sid: Sid,
    stream: TcpStream,
    load: Arc<Load>,
}

fn patient(stall_timeout: Duration, min_read_rate: u64) -> EdgeOptions {
    let max_payload = (MEGABYTES + 1) as u64 * 1_000_000;
    EdgeOptions { stall_timeout, min_read_rate, max_payload, ..options() }
}

impl Unread {
    async fn with(stall_timeout: Duration, min_read_rate: u64) -> Self {
        Self::on(Server::with(patient(stall_timeout, min_read_rate), false).await).await
    }

    async fn mounted(stall_timeout: Duration, min_read_rate: u64) -> Self {
        Self::on(Server::mounted(patient(stall_timeout, min_read_rate)).await).await
    }

    async fn on(mut server: Server) -> Self {
        let (poller, sid) = server.polls().await;
        let text = "x".repeat(1_000_000);
        for _ in 0..MEGABYTES {
            server.io.of("/").expect("namespace").emit("text", &text).await.expect("sent");
        }
        let load = server.transports.load(sid).expect("a session");
        let stream = poller.poll_on_own_connection().await;
        eventually("the answer waits", || load.held() > MEGABYTES * 1_000_000).await;
        Self { server, poller, sid, stream, load }
    }

    /// Reads until the end of the connection; gives how much that was.
    async fn read_to_the_end(stream: &mut TcpStream) -> usize {
        let mut read = Vec::new();
        // It ends with a reset, perhaps, and what came before that counts.
        let _ = within("the end", stream.read_to_end(&mut read)).await;
        read.len()
    }

    async fn ends_by(mut self, reason: KillReason) {
        self.server.sees_disconnect(self.sid).await;
        eventually("nothing is held", || self.load.held() == 0).await;
        assert_eq!(killed(&self.server, reason), 1);
        let read = Self::read_to_the_end(&mut self.stream).await;
        assert!(read < MEGABYTES * 1_000_000, "{read} bytes came");
        assert_eq!(self.poller.poll().await.0, 400, "who does not know what it missed is told");
    }

    /// Its client breaks the answer off, which ends the session.
    async fn breaks_off(self) {
        let Self { mut server, poller, sid, stream, load } = self;
        drop(stream);
        server.sees_disconnect(sid).await;
        eventually("nothing is held", || load.held() == 0).await;
        assert_eq!(killed(&server, KillReason::PollAborted), 1);
        assert_eq!(poller.poll().await.0, 400);
    }

    /// The node may hold no more than this client makes it hold, and another one comes.
    async fn is_too_much(&mut self) {
        self.server.transports.budget().set_node(10_000_000);
        let (other, _) = self.server.polls().await;
        other.is_well().await;
    }
}

/// What a server of hyper has taken of an answer and cannot write: 16 pieces, and one on its way.
const LEFT_WITH_HYPER: usize = 17 * 16 * 1024;

impl Unread {
    /// The same where the server is a foreign one: it keeps a few pieces with the connection.
    async fn ends_mounted(mut self, reason: KillReason) {
        self.server.sees_disconnect(self.sid).await;
        assert_eq!(killed(&self.server, reason), 1);
        eventually("little is held", || self.load.held() <= LEFT_WITH_HYPER).await;
        let read = Self::read_to_the_end(&mut self.stream).await;
        assert!(read < MEGABYTES * 1_000_000, "{read} bytes came");
        eventually("nothing is held", || self.load.held() == 0).await;
        assert_eq!(self.poller.poll().await.0, 400, "who does not know what it missed is told");
    }
}

#[tokio::test]
async fn a_foreign_server_is_left_with_little_of_what_nobody_reads() {
    Unread::mounted(STALL, 1).await.ends_mounted(KillReason::Stalled).await;
}

#[tokio::test]
async fn a_session_that_is_cut_leaves_little_with_a_foreign_server() {
    let unread = Unread::mounted(LONG, 1).await;
    assert!(unread.server.transports.kill(unread.sid, KillReason::Requested));
    unread.ends_mounted(KillReason::Requested).await;
}

#[tokio::test]
async fn answers_count_for_what_may_wait_behind_a_foreign_server() {
    let mut unread = Unread::mounted(LONG, 1).await;
    unread.is_too_much().await;
    unread.ends_mounted(KillReason::SlowConsumer).await;
}

#[tokio::test]
async fn a_large_answer_of_a_foreign_server_comes_whole() {
    let mut unread = Unread::mounted(LONG, 1).await;
    let mut read = Vec::new();
    while read.len() < MEGABYTES * 1_000_000 {
        let n = within("a piece", unread.stream.read_buf(&mut read)).await.expect("the answer");
        assert_ne!(n, 0, "it ends early");
    }
    assert!(read.starts_with(b"HTTP/1.1 200 OK"));
    eventually("nothing is held", || unread.load.held() == 0).await;
    unread.poller.is_well().await;
}

#[tokio::test]
async fn a_foreign_server_whose_client_breaks_off_ends_the_session() {
    Unread::mounted(LONG, 1).await.breaks_off().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_its_session_and_its_connection() {
    Unread::with(STALL, 1).await.ends_by(KillReason::Stalled).await;
}

#[tokio::test]
async fn an_answer_that_is_read_too_slowly_does_so_too() {
    // At this rate all of it would have to be read in the time of the test.
    let mut unread = Unread::with(STALL, 1_000_000_000).await;
    let (mut reads, _writes) = unread.stream.into_split();
    let reading = tokio::spawn(async move {
        let mut piece = vec![0; 100_000];
        while reads.read(&mut piece).await.is_ok_and(|n| n > 0) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    unread.server.sees_disconnect(unread.sid).await;
    assert_eq!(killed(&unread.server, KillReason::SlowConsumer), 1);
    eventually("nothing is held", || unread.load.held() == 0).await;
    within("the end", reading).await.expect("joined");
}

#[tokio::test]
async fn an_answer_that_is_read_at_last_comes_whole() {
    let mut unread = Unread::with(STALL, 1).await;
    let mut read = Vec::new();
    let mut piece = vec![0; 1_000_000];
    while read.len() < MEGABYTES * 1_000_000 {
        sleep(Duration::from_millis(50)).await; // longer than STALL in all
        let n = within("a piece", unread.stream.read(&mut piece)).await.expect("the answer");
        assert_ne!(n, 0, "it ends early");
        read.extend_from_slice(&piece[..n]);
    }
    assert!(read.starts_with(b"HTTP/1.1 200 OK"));
    eventually("nothing is held", || unread.load.held() == 0).await;
    unread.poller.is_well().await;
}

#[tokio::test]
async fn a_session_whose_answer_is_broken_off_is_over() {
    Unread::with(LONG, 1).await.breaks_off().await;
}

#[tokio::test]
async fn a_session_that_is_cut_gives_back_its_answer() {
    let unread = Unread::with(LONG, 1).await;
    assert!(unread.server.transports.kill(unread.sid, KillReason::Requested));
    unread.ends_by(KillReason::Requested).await;
}

#[tokio::test]
async fn answers_count_for_what_may_wait_on_the_node() {
    let mut unread = Unread::with(LONG, 1).await;
    unread.is_too_much().await;
    unread.ends_by(KillReason::SlowConsumer).await;
}

#[tokio::test]
async fn answers_of_all_kinds_are_waited_for_as_long() {
    let options = EdgeOptions { stall_timeout: STALL, ..options() };
    let server = Server::with(options, false).await;
    for path in ["/healthz", "/socket.io/socket.io.js", "/socket.io/?EIO=9&transport=polling"] {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        let requests = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(1000);
        // Once nobody takes the answers, nobody reads the requests.
        let end = within("the end", async {
            loop {
                if let Err(error) = stream.write_all(requests.as_bytes()).await {
                    return error;
                }
            }
        })
        .await;
        let kinds = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
        assert!(kinds.contains(&end.kind()), "{path}: {end}");
    }
}
