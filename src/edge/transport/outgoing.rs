//! Frames to the client that are looked at, and their fates.

use std::sync::atomic::Ordering;

use socketioxide_core::Sid;

use super::Transport;
use crate::edge::{
    frames,
    outgoing::Fence,
    rewrite::{self, Answer, Kind},
};

/// The reasons to look at the engine's frames, in one number. 0 is the ordinary case, in which none
/// is looked at. The low 16 bits count the answers that wait for their CONNECT or CONNECT_ERROR.
pub(super) mod expected {
    pub(in crate::edge) const ANSWER: u32 = 1;
    /// OPEN has not come yet. It tells us the session's id.
    pub(in crate::edge) const OPEN: u32 = 1 << 16;
    /// The engine's first ping, which it sends at once and Node.js only after an interval.
    pub(in crate::edge) const FIRST_PING: u32 = 1 << 17;
    /// The engine's answer to the probe. The client already has ours.
    pub(in crate::edge) const PROBE_ANSWER: u32 = 1 << 18;
    /// The answer to the farewell, of which the client knows nothing.
    pub(in crate::edge) const FAREWELL_ANSWER: u32 = 1 << 19;
}

/// An answer that waits for its CONNECT or CONNECT_ERROR.
pub(super) struct Awaited {
    namespace: Box<str>,
    answer: Answer,
    fence: Option<Fence>,
}

/// The fate of a frame from the engine.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::edge) enum Verdict {
    Pass,
    Replace(Vec<u8>),
    /// It does not reach the client.
    Drop,
    /// It does not reach the client, and we answer in the client's name.
    Answer(&'static [u8]),
    /// It tells the session's id, and passes.
    Opened(Sid),
}

impl Transport {
    /// The engine is about to answer the farewell.
    pub(in crate::edge) fn expect_farewell_answer(&self) {
        self.expected.fetch_or(expected::FAREWELL_ANSWER, Ordering::AcqRel);
    }

    /// Whether this packet is that answer: `is_it` is asked only if one is expected.
    pub(in crate::edge) fn takes_farewell_answer(&self, is_it: impl FnOnce() -> bool) -> bool {
        self.expected.load(Ordering::Acquire) & expected::FAREWELL_ANSWER != 0
            && is_it()
            && self.takes(expected::FAREWELL_ANSWER)
    }

    /// Whether the engine's frames have to be looked at.
    #[inline]
    pub(in crate::edge) fn expects_anything(&self) -> bool {
        self.expected.load(Ordering::Acquire) != 0
    }

    fn takes(&self, bit: u32) -> bool {
        self.expected.load(Ordering::Acquire) & bit != 0
            && self.expected.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// The engine is about to answer a probe that we have answered.
    pub(in crate::edge) fn expect_probe_answer(&self) {
        self.expected.fetch_or(expected::PROBE_ANSWER, Ordering::AcqRel);
    }

    /// The next CONNECT or CONNECT_ERROR of `namespace` is changed by this answer.
    pub(in crate::edge) fn expect_answer(&self, namespace: &str, answer: Answer) {
        // Frames that are appended from now on come after the CONNECT.
        let fence = match answer.kind() {
            Kind::Connect => self.load.fence(),
            Kind::ConnectError => None,
        };
        self.answers.lock().push(Awaited { namespace: bare(namespace).into(), answer, fence });
        self.expected.fetch_add(expected::ANSWER, Ordering::AcqRel);
    }

    /// The first answer of this kind that waits for `namespace`.
    pub(in crate::edge) fn take_answer(&self, kind: Kind, namespace: &str) -> Option<Answer> {
        let mut answers = self.answers.lock();
        let at = answers
            .iter()
            .position(|it| it.answer.kind() == kind && *it.namespace == *bare(namespace))?;
        self.expected.fetch_sub(expected::ANSWER, Ordering::AcqRel);
        let Awaited { answer, fence, .. } = answers.remove(at);
        if answers.is_empty() {
            *answers = Vec::new();
        }
        drop(answers);
        if let Some(fence) = fence {
            self.load.passed(fence);
        }
        Some(answer)
    }

    /// Judges one whole frame on its way to the client.
    pub(in crate::edge) fn judge(&self, opcode: u8, payload: &[u8]) -> Verdict {
        let spliced = match (opcode, payload) {
            (frames::TEXT, [b'0', ..]) if self.takes(expected::OPEN) => {
                let Some(sid) = rewrite::sid_of_open(payload) else {
                    tracing::error!("an OPEN packet without an id: this session can't be reached");
                    return Verdict::Pass;
                };
                return Verdict::Opened(sid);
            }
            (frames::TEXT, b"2") if self.takes(expected::FIRST_PING) => {
                return Verdict::Answer(b"3");
            }
            (frames::TEXT, b"3probe") if self.takes(expected::PROBE_ANSWER) => {
                return Verdict::Drop;
            }
            (frames::TEXT, _) => {
                rewrite::text_packet(payload, self.v3, &mut |kind: Kind, namespace: &str| {
                    self.take_answer(kind, namespace)
                })
            }
            (frames::BINARY, _) => {
                rewrite::msgpack_packet(payload, &mut |kind: Kind, namespace: &str| {
                    self.take_answer(kind, namespace)
                })
            }
            _ => None,
        };
        spliced.map_or(Verdict::Pass, Verdict::Replace)
    }
}

/// The bare name. The engine writes a namespace with a slash even if the application does not.
fn bare(namespace: &str) -> &str {
    namespace.strip_prefix('/').unwrap_or(namespace)
}
