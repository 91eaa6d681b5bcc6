//! The results of jobs: the answers of Redis, each with the question.

use redis::{RedisResult, Value};
use tokio::time::Instant;

use super::{Answer, repair::Repaired};
use crate::{id::UserId, users::UserLimit};

/// The result of a job.
pub(super) enum Done {
    Told {
        bucket: usize,
        asked: Vec<Asked>,
        answers: Vec<RedisResult<Value>>,
    },
    Repaired {
        bucket: usize,
        repaired: Repaired,
    },
    Beaten(Beaten),
    Looked(Vec<Look>),
    /// The policy by which Redis evicts keys of the directory, if it does.
    Policy(Option<String>),
}

/// A call, and the receiver of its answer.
pub(super) enum Asked {
    Enter {
        user: UserId,
        number: u64,
        limit: UserLimit,
        answer: Answer,
    },
    /// A socket that is already in, for nobody waited for an answer.
    Register {
        user: UserId,
        number: u64,
        answer: Answer,
    },
    Leave,
    Retell,
}

/// The end of a beat.
pub(super) struct Beaten {
    pub(super) sent: Instant,
    pub(super) answer: RedisResult<Value>,
}

/// A look at a bucket.
pub(super) struct Look {
    pub(super) bucket: usize,
    /// How many things the bucket was told before.
    pub(super) told: u64,
    /// The number of this node's sockets in it, if Redis was told of all of them.
    pub(super) count: Option<usize>,
    pub(super) answer: RedisResult<Value>,
}
