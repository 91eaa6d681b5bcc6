//! The handle to one client's transport, shared by everybody who may have to do with it: the
//! requests or the stream that carry it, the middlewares that want an error spliced into it, and
//! whoever cuts it.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::HeaderValue;
use parking_lot::Mutex;
use socketioxide_core::Sid;
use tokio::{sync::Notify, time::timeout};

use super::{
    admission::Permit,
    frames,
    inbound::{self, Packets, Reader},
    load::Load,
    splice::{self, Answer, Kind},
};
use crate::rate::Bucket;

/// How often a client may ask in a second to be let into a namespace, or show a new token; twice as
/// often in a burst. No client of good will comes near.
const ASKS_PER_SECOND: u32 = 100;

/// Why a transport was cut by us. The name is a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum KillReason {
    /// The node is being drained.
    Drain = 1,
    /// More packets waited for the client than may.
    SlowConsumer,
    /// Bytes waited for the client, and it did not take one of them in time.
    Stalled,
    /// The client broke off a request, so what was in it or in its answer may be lost.
    PollAborted,
    /// The client has not been heard of for longer than a heartbeat takes.
    Vanished,
    /// The client sent something that no client sends.
    BadRequest,
    /// The application asked for it.
    Requested,
    /// A message of another node may not have reached this one.
    Missed,
}

impl KillReason {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 8] = [
        Self::Drain,
        Self::SlowConsumer,
        Self::Stalled,
        Self::PollAborted,
        Self::Vanished,
        Self::BadRequest,
        Self::Requested,
        Self::Missed,
    ];

    /// The name in metrics and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::SlowConsumer => "slow_consumer",
            Self::Stalled => "stalled",
            Self::PollAborted => "poll_aborted",
            Self::Vanished => "vanished",
            Self::BadRequest => "bad_request",
            Self::Requested => "requested",
            Self::Missed => "missed",
        }
    }
}

/// How the client is connected right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// By HTTP requests.
    Polling,
    /// By HTTP requests, while a websocket that wants to take over has sent its probe.
    Probing,
    /// By a websocket.
    Websocket,
}

/// The reasons to look at what the engine sends, in one number: 0 is the steady state, in which
/// nothing is looked at. The low 16 bits count the answers that wait for their CONNECT or
/// CONNECT_ERROR.
mod interest {
    pub(super) const ANSWER: u32 = 1;
    /// OPEN has not been seen, from which we learn the session's id.
    pub(super) const OPEN: u32 = 1 << 16;
    /// The ping that the engine sends at once, and Node.js only after an interval.
    pub(super) const FIRST_PING: u32 = 1 << 17;
    /// The answer to the probe, which the client got from us long ago.
    pub(super) const PROBE_ANSWER: u32 = 1 << 18;
    /// The answer to the farewell, which the client knows nothing of.
    pub(super) const FAREWELL_ANSWER: u32 = 1 << 19;
}

/// Whether the engine has seen the client in a namespace: until then a timer of its holds the session.
mod joined {
    pub(super) const NOTHING: u8 = 0;
    pub(super) const A_NAMESPACE: u8 = 1;
    /// None that the client knows of.
    pub(super) const FAREWELL: u8 = 2;
}

/// What becomes of a frame that the engine sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Replace(Vec<u8>),
    /// It does not reach the client.
    Drop,
    /// It does not reach the client, in whose name we answer.
    Answer(&'static [u8]),
    /// The session's id is this, and the frame passes.
    Opened(Sid),
}

/// What only a session that began with polling has.
#[derive(Debug, Default)]
pub(super) struct Polling {
    /// Notified at each change of the phase, and at the session's end.
    pub(super) moved: Notify,
    over: AtomicBool,
    /// The client's poll, of which there is one at a time.
    pub(super) poll: Turns,
    /// What the client posts, one after the other.
    pub(super) post: Turns,
    /// When the client was last heard of, in milliseconds of the registry's clock.
    last_seen_ms: AtomicU64,
    /// The engine is being asked for packets.
    asking: AtomicU32,
    /// Reads what comes by requests.
    pub(super) reader: Mutex<Reader>,
    /// The connection that an answer is written to, while its client does not read it.
    pub(super) unread: AtomicWaker,
}

impl Polling {
    /// The engine is being asked for packets, or is no longer.
    pub(super) fn asking(&self, begins: bool) {
        match begins {
            true => self.asking.fetch_add(1, Ordering::AcqRel),
            false => self.asking.fetch_sub(1, Ordering::AcqRel),
        };
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asking.load(Ordering::Acquire) > 0
    }
}

/// One request after the other: who comes while another one is under way has no turn.
#[derive(Debug, Default)]
pub(super) struct Turns(AtomicBool);

/// One request's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a AtomicBool);

impl Turns {
    pub(super) fn take(&self) -> Option<Turn<'_>> {
        (!self.0.swap(true, Ordering::AcqRel)).then_some(Turn(&self.0))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How long a poll that comes during a probe and finds nothing waits for the end of the probe, before
/// it is sent away, so that the client can stop polling. As in Node.js.
const PROBE_PATIENCE: Duration = Duration::from_millis(100);

/// One client's transport.
pub(super) struct Wire {
    pub(super) sid: OnceLock<Sid>,
    /// Engine.IO 3.
    pub(super) v3: bool,
    pub(super) peer: IpAddr,
    /// `None` for a session that began with a websocket.
    pub(super) polling: Option<Box<Polling>>,
    phase: AtomicU8,
    interest: AtomicU32,
    /// The number of a [`KillReason`], or 0.
    killed: AtomicU8,
    pub(super) reader: AtomicWaker,
    pub(super) writer: AtomicWaker,
    /// What waits because of this client.
    pub(super) load: Arc<Load>,
    /// Of [`joined`].
    joined: AtomicU8,
    answers: Mutex<Vec<(Box<str>, Answer)>>,
    /// How often the client may ask to be let in.
    asks: Mutex<Bucket>,
    _permit: Permit,
}

impl Wire {
    pub(super) fn websocket(v3: bool, peer: IpAddr, permit: Permit) -> Self {
        // an Engine.IO 3 server never pings
        let first_ping = if v3 { 0 } else { interest::FIRST_PING };
        Self::new(v3, peer, permit, Phase::Websocket, None, interest::OPEN | first_ping)
    }

    pub(super) fn polling(v3: bool, peer: IpAddr, permit: Permit) -> Self {
        let polling = Polling { reader: Mutex::new(Reader::new(v3)), ..Polling::default() };
        let wire = Self::new(v3, peer, permit, Phase::Polling, Some(Box::new(polling)), 0);
        wire.load.set_away(true);
        wire
    }

    fn new(
        v3: bool,
        peer: IpAddr,
        permit: Permit,
        phase: Phase,
        polling: Option<Box<Polling>>,
        interest: u32,
    ) -> Self {
        Self {
            sid: OnceLock::new(),
            v3,
            peer,
            polling,
            phase: (phase as u8).into(),
            interest: interest.into(),
            killed: 0.into(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            load: Arc::default(),
            joined: joined::NOTHING.into(),
            answers: Mutex::default(),
            asks: Mutex::new(Bucket::full(ASKS_PER_SECOND, Instant::now())),
            _permit: permit,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Polling,
            1 => Phase::Probing,
            _ => Phase::Websocket,
        }
    }

    /// `false` if the phase is not (or no longer) `from`. Whoever waits for that hears of it with
    /// [`announce`](Self::announce).
    pub(super) fn shift(&self, from: Phase, to: Phase) -> bool {
        let shifted = self
            .phase
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if shifted && to == Phase::Websocket {
            self.load.set_away(false);
        }
        shifted
    }

    /// The phase has changed, or the session has ended.
    pub(super) fn announce(&self) {
        if let Some(polling) = &self.polling {
            polling.moved.notify_waiters();
        }
    }

    /// The session is over: no request and no websocket that would take over waits any longer.
    pub(super) fn end(&self) {
        if let Some(polling) = &self.polling {
            polling.over.store(true, Ordering::Release);
            self.announce();
        }
    }

    /// Whether the session, which began with polling, has ended.
    pub(super) fn is_over(&self) -> bool {
        self.polling.as_ref().is_none_or(|polling| polling.over.load(Ordering::Acquire))
    }

    /// Waits for the end of the session, if it began with polling.
    pub(super) async fn over(&self) {
        let Some(polling) = &self.polling else { return };
        loop {
            let moved = polling.moved.notified();
            if self.is_over() {
                return;
            }
            moved.await;
        }
    }

    /// Waits until a poll that has nothing to bring yet must not wait any longer: at the probe that
    /// comes while it waits, a little after it came while one was on, and when the session goes over
    /// to the websocket or ends.
    pub(super) async fn sends_polls_away(&self) {
        let Some(polling) = &self.polling else { return };
        let mut was_here_before = false;
        loop {
            // before looking: a change right after that look is not missed
            let moved = polling.moved.notified();
            if self.is_over() {
                return;
            }
            match self.phase() {
                Phase::Polling => {
                    moved.await;
                    was_here_before = true;
                }
                Phase::Probing if was_here_before => return,
                Phase::Probing if timeout(PROBE_PATIENCE, moved).await.is_err() => return,
                Phase::Probing => {}
                Phase::Websocket => return,
            }
        }
    }

    #[inline]
    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire) != 0
    }

    /// `false` if somebody else was first.
    pub(super) fn mark_killed(&self, reason: KillReason) -> bool {
        let first = self
            .killed
            .compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        self.reader.wake();
        self.writer.wake();
        if let Some(polling) = &self.polling {
            polling.unread.wake();
        }
        self.load.abandon();
        first
    }

    /// What the engine is to read in the place of a request's body of this type.
    pub(super) fn read_body(&self, body: Bytes, kind: Option<&HeaderValue>) -> Packets {
        let Some(polling) = &self.polling else { return Packets { bytes: body, closes: true } };
        let binary = kind.is_some_and(|kind| kind == "application/octet-stream");
        inbound::body(&mut polling.reader.lock(), body, binary)
    }

    /// What reads the client's packets from a websocket on: it goes on where polling has ended.
    pub(super) fn take_reader(&self) -> Reader {
        match &self.polling {
            Some(polling) => std::mem::take(&mut *polling.reader.lock()),
            None => Reader::new(self.v3),
        }
    }

    /// The client is in a namespace.
    pub(super) fn joined(&self) {
        self.joined.store(joined::A_NAMESPACE, Ordering::Release);
    }

    /// The engine is about to answer the farewell.
    pub(super) fn expect_farewell_answer(&self) {
        self.interest.fetch_or(interest::FAREWELL_ANSWER, Ordering::AcqRel);
    }

    /// Whether this packet is that answer: `is_it` is asked only if one is expected.
    pub(super) fn takes_farewell_answer(&self, is_it: impl FnOnce() -> bool) -> bool {
        self.interest.load(Ordering::Acquire) & interest::FAREWELL_ANSWER != 0
            && is_it()
            && self.takes(interest::FAREWELL_ANSWER)
    }

    pub(super) fn has_joined(&self) -> bool {
        self.joined.load(Ordering::Acquire) == joined::A_NAMESPACE
    }

    /// The engine's timer for a session that has joined nothing is over.
    pub(super) fn farewell_heard(&self) {
        self.joined.store(joined::FAREWELL, Ordering::Release);
        self.reader.wake();
        if let Some(polling) = &self.polling {
            polling.moved.notify_waiters();
        }
    }

    /// Whether the engine still has a timer for this session.
    pub(super) fn needs_farewell(&self) -> bool {
        self.joined.load(Ordering::Acquire) == joined::NOTHING
            && !self.v3
            && self.sid.get().is_some()
    }

    /// Whether what the engine sends has to be looked at.
    #[inline]
    pub(super) fn has_interest(&self) -> bool {
        self.interest.load(Ordering::Acquire) != 0
    }

    fn takes(&self, bit: u32) -> bool {
        self.interest.load(Ordering::Acquire) & bit != 0
            && self.interest.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// The engine is about to answer a probe that was answered by us.
    pub(super) fn expect_probe_answer(&self) {
        self.interest.fetch_or(interest::PROBE_ANSWER, Ordering::AcqRel);
    }

    /// The next CONNECT or CONNECT_ERROR of `namespace` gets what this answer says.
    pub(super) fn expect_answer(&self, namespace: &str, answer: Answer) {
        self.answers.lock().push((bare(namespace).into(), answer));
        self.interest.fetch_add(interest::ANSWER, Ordering::AcqRel);
    }

    /// The first answer of this kind that waits for `namespace`.
    pub(super) fn take_answer(&self, kind: Kind, namespace: &str) -> Option<Answer> {
        let mut answers = self.answers.lock();
        let at = answers
            .iter()
            .position(|(waiting, answer)| answer.kind() == kind && **waiting == *bare(namespace))?;
        self.interest.fetch_sub(interest::ANSWER, Ordering::AcqRel);
        let (_, answer) = answers.remove(at);
        if answers.is_empty() {
            *answers = Vec::new();
        }
        Some(answer)
    }

    /// Counts that the client asks to be let in, which may cost a signature and more. `false`: it has
    /// asked too often.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        self.asks.lock().take(ASKS_PER_SECOND, now)
    }

    /// Judges one whole frame on its way to the client.
    pub(super) fn judge(&self, opcode: u8, payload: &[u8]) -> Verdict {
        let spliced = match (opcode, payload) {
            (frames::TEXT, [b'0', ..]) if self.takes(interest::OPEN) => {
                let Some(sid) = splice::sid_of_open(payload) else {
                    tracing::error!("an OPEN packet without an id: this session can't be reached");
                    return Verdict::Pass;
                };
                return Verdict::Opened(sid);
            }
            (frames::TEXT, b"2") if self.takes(interest::FIRST_PING) => {
                return Verdict::Answer(b"3");
            }
            (frames::TEXT, b"3probe") if self.takes(interest::PROBE_ANSWER) => {
                return Verdict::Drop;
            }
            (frames::TEXT, _) => {
                splice::text_packet(payload, self.v3, &mut |kind: Kind, namespace: &str| {
                    self.take_answer(kind, namespace)
                })
            }
            (frames::BINARY, _) => {
                splice::msgpack_packet(payload, &mut |kind: Kind, namespace: &str| {
                    self.take_answer(kind, namespace)
                })
            }
            _ => None,
        };
        spliced.map_or(Verdict::Pass, Verdict::Replace)
    }

    /// The client was heard of.
    pub(super) fn seen(&self, now: Duration) {
        if let Some(polling) = &self.polling {
            polling.last_seen_ms.store(now.as_millis() as u64, Ordering::Relaxed);
        }
    }

    /// Connected by polling, and silent for longer than `limit`.
    pub(super) fn is_silent(&self, now: Duration, limit: Duration) -> bool {
        self.phase() == Phase::Polling
            && self.polling.as_ref().is_some_and(|polling| {
                let seen = Duration::from_millis(polling.last_seen_ms.load(Ordering::Relaxed));
                now.saturating_sub(seen) > limit
            })
    }
}

/// The engine writes a namespace with a slash in front even where the application does not.
fn bare(namespace: &str) -> &str {
    namespace.strip_prefix('/').unwrap_or(namespace)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::{super::admission::Admission, *};
    use crate::id::SocketId;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn permit() -> Permit {
        Admission::default().admit(PEER, Instant::now()).expect("no limits")
    }

    #[test]
    fn a_new_websocket_is_looked_at_until_open_and_first_ping_are_through() {
        let wire = Wire::websocket(false, PEER, permit());
        let sid = Sid::new();
        let open = format!(r#"0{{"sid":"{sid}","upgrades":[]}}"#);
        assert_eq!(wire.judge(frames::TEXT, open.as_bytes()), Verdict::Opened(sid));
        assert_eq!(wire.judge(frames::TEXT, b"40{}"), Verdict::Pass);
        assert!(wire.has_interest());
        assert_eq!(wire.judge(frames::TEXT, b"2"), Verdict::Answer(b"3"));
        assert!(!wire.has_interest());
        assert_eq!(wire.judge(frames::TEXT, b"2"), Verdict::Pass, "only the first one is hidden");
    }

    #[test]
    fn engine_io_3_has_no_first_ping() {
        let wire = Wire::websocket(true, PEER, permit());
        let open = format!(r#"0{{"sid":"{}"}}"#, Sid::ZERO.as_str().replace('\0', "A"));
        assert!(matches!(wire.judge(frames::TEXT, open.as_bytes()), Verdict::Opened(_)));
        assert!(!wire.has_interest());
    }

    #[test]
    fn a_refusal_is_spliced_once_into_the_error_of_its_namespace() {
        let wire = Wire::polling(false, PEER, permit());
        wire.expect_answer("chat", Answer::Refused(json!({ "code": "forbidden" })));
        assert!(wire.has_interest());
        assert_eq!(wire.judge(frames::TEXT, br#"44{"message":"no"}"#), Verdict::Pass);
        assert_eq!(
            wire.judge(frames::TEXT, br#"44/chat,{"message":"no"}"#),
            Verdict::Replace(br#"44/chat,{"message":"no","data":{"code":"forbidden"}}"#.to_vec()),
        );
        assert!(!wire.has_interest());
        assert_eq!(wire.judge(frames::TEXT, br#"44/chat,{"message":"no"}"#), Verdict::Pass);
    }

    #[test]
    fn a_socket_hears_its_own_id_in_the_connect_of_its_namespace() {
        let wire = Wire::polling(false, PEER, permit());
        let (first, second) = (SocketId::random(), SocketId::random());
        wire.expect_answer("/chat", Answer::Admitted(first));
        wire.expect_answer("/chat", Answer::Admitted(second));
        let connect = br#"40/chat,{"sid":"AAAAAAAAAAAAAAAA"}"#;
        assert_eq!(wire.judge(frames::TEXT, br#"40{"sid":"AAAAAAAAAAAAAAAA"}"#), Verdict::Pass);
        assert_eq!(wire.judge(frames::TEXT, br#"44/chat,{"message":"no"}"#), Verdict::Pass);
        for id in [first, second] {
            let told = format!(r#"40/chat,{{"sid":"{id}"}}"#).into_bytes();
            assert_eq!(wire.judge(frames::TEXT, connect), Verdict::Replace(told));
        }
        assert!(!wire.has_interest());
    }

    #[test]
    fn only_the_first_kill_counts() {
        let wire = Wire::polling(false, PEER, permit());
        assert!(wire.mark_killed(KillReason::Drain));
        assert!(!wire.mark_killed(KillReason::Stalled));
        assert!(wire.is_killed());
    }

    #[test]
    fn only_one_websocket_takes_over() {
        let wire = Wire::polling(false, PEER, permit());
        assert!(wire.shift(Phase::Polling, Phase::Probing));
        assert!(!wire.shift(Phase::Polling, Phase::Probing));
        assert!(wire.shift(Phase::Probing, Phase::Websocket));
        assert_eq!(wire.phase(), Phase::Websocket);
    }

    #[test]
    fn silence_is_measured_from_the_last_sign() {
        let (wire, ms) = (Wire::polling(false, PEER, permit()), Duration::from_millis);
        wire.seen(ms(100));
        assert!(!wire.is_silent(ms(150), ms(50)));
        assert!(wire.is_silent(ms(151), ms(50)));
        assert!(wire.shift(Phase::Polling, Phase::Probing));
        assert!(!wire.is_silent(ms(151), ms(50)), "a probe has a time limit of its own");
    }

    #[test]
    fn the_numbers_of_the_reasons_are_their_places() {
        for (place, reason) in KillReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place + 1, "{}", reason.as_str());
        }
    }
}
