//! Questions of one node to another, by name, and the answerers.
//!
//! A question is a POST to `<path>/.hop/<name>`. It is sealed together with its body, and so is the
//! answer.

use std::{collections::HashMap, future::Future, io, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use parking_lot::RwLock;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Hop, HopError, SIGN_OF_LIFE,
    counts::{Counted, Kind, Outcome},
    seal::{self, Proof},
    send::{Answer, Errand},
};
use crate::future::BoxFuture;

/// Longest question, in bytes.
const LONGEST_QUESTION: usize = 1024 * 1024;

/// Longest answer, in bytes.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Questions that are answered at one time, and that are asked at one time.
const AT_ONCE: usize = 64;

/// Bytes of the answers that are read at one time.
const ANSWERS_AT_ONCE: usize = 64 * 1024 * 1024;

/// The time for the body of a question.
const TO_READ: Duration = Duration::from_secs(5);

/// The time for an answerer.
const TO_ANSWER: Duration = Duration::from_secs(30);

/// What stands before the name of a question.
const BELOW: &str = "/.hop/";

/// There is no answer to this question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered;

type Answerer = Arc<dyn Fn(Bytes) -> BoxFuture<'static, Result<Bytes, Unanswered>> + Send + Sync>;

pub(super) struct Answerers {
    by_name: RwLock<HashMap<&'static str, Answerer>>,
    answering: Semaphore,
    asking: Semaphore,
    /// Bytes of answers.
    reading: Semaphore,
}

impl Default for Answerers {
    fn default() -> Self {
        Self {
            by_name: RwLock::default(),
            answering: Semaphore::new(AT_ONCE),
            asking: Semaphore::new(AT_ONCE),
            reading: Semaphore::new(ANSWERS_AT_ONCE),
        }
    }
}

impl Hop {
    /// Asks another node. The question has at most 1 MiB and the answer 16 MiB; more than 64 at
    /// one time wait. `patience` is for all of it.
    pub(crate) async fn ask(
        &self,
        node: &str,
        name: &str,
        question: Bytes,
        patience: Duration,
    ) -> Result<Bytes, HopError> {
        if question.len() > LONGEST_QUESTION {
            return Err(HopError::TooLarge);
        }
        let counted = Counted::new(&self.0.counters, Kind::Question);
        let answer = timeout(patience, self.ask_in_time(node, name, question, patience)).await;
        let (answer, outcome) = match answer {
            Ok(Ok(answer)) => (Ok(answer), Outcome::Answered),
            Ok(Err((error, outcome))) => (Err(error), outcome),
            Err(_) => (Err(HopError::Silent), Outcome::TimedOut),
        };
        counted.is(outcome);
        answer
    }

    async fn ask_in_time(
        &self,
        node: &str,
        name: &str,
        question: Bytes,
        patience: Duration,
    ) -> Result<Bytes, (HopError, Outcome)> {
        let busy = |_| (HopError::Busy, Outcome::Busy);
        let _turn = self.0.answerers.asking.acquire().await.map_err(busy)?;
        let target = self.question_target(name);
        let errand = Errand::question(node, &target, question.clone());
        let sent = self.send(errand, Some(&question), patience).await;
        let Answer { response, proof, place, peer } =
            sent.map_err(|outcome| (outcome.into(), outcome))?;
        let _place = place;
        match self.read_answer(response, &proof).await {
            Ok(answer) => {
                peer.heard();
                Ok(answer)
            }
            Err(NoAnswer::Said(error)) => Err((error, Outcome::Answered)),
            Err(NoAnswer::Broken) => Err((HopError::Broken, Outcome::Broken)),
            Err(NoAnswer::Foreign) => {
                self.is_foreign(&peer);
                Err((HopError::Broken, Outcome::Foreign))
            }
        }
    }

    /// Answers the questions of this name from now on.
    pub(crate) fn answer<F, Fut>(&self, name: &'static str, answerer: F)
    where
        F: Fn(Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Bytes, Unanswered>> + Send + 'static,
    {
        let answerer: Answerer = Arc::new(move |question| Box::pin(answerer(question)));
        self.0.answerers.by_name.write().insert(name, answerer);
    }

    /// Asks another node as [`ask`](Self::ask) does, in MessagePack.
    pub(crate) async fn ask_for<A: DeserializeOwned>(
        &self,
        node: &str,
        name: &str,
        question: &impl Serialize,
        patience: Duration,
    ) -> Result<A, HopError> {
        let question = rmp_serde::to_vec_named(question).map_err(|_| HopError::Broken)?;
        let answer = self.ask(node, name, question.into(), patience).await?;
        rmp_serde::from_slice(&answer).map_err(|_| HopError::Broken)
    }

    /// Answers the questions of this name from now on, in MessagePack. `None`: there is no answer.
    pub(crate) fn answer_with<Q, A, Fut>(
        &self,
        name: &'static str,
        answerer: impl Fn(Q) -> Fut + Clone + Send + Sync + 'static,
    ) where
        Q: DeserializeOwned + Send,
        A: Serialize,
        Fut: Future<Output = Option<A>> + Send,
    {
        self.answer(name, move |question| {
            let answerer = answerer.clone();
            async move {
                let question = rmp_serde::from_slice(&question).map_err(|_| Unanswered)?;
                let answer = answerer(question).await.ok_or(Unanswered)?;
                rmp_serde::to_vec_named(&answer).map(Bytes::from).map_err(|_| Unanswered)
            }
        });
    }

    pub(super) fn question_target(&self, name: &str) -> String {
        format!("{}{BELOW}{name}", self.0.path)
    }

    /// Reads the answer to a question, and makes sure that the asked node has given it.
    pub(super) async fn read_answer(
        &self,
        response: Response<Incoming>,
        proof: &Proof,
    ) -> Result<Bytes, NoAnswer> {
        let (head, body) = response.into_parts();
        let length = head.headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok());
        let length: usize = length.and_then(|l| l.parse().ok()).ok_or(NoAnswer::Foreign)?;
        if length > LONGEST_ANSWER {
            return Err(NoAnswer::Said(HopError::TooLarge));
        }
        let room = u32::try_from(length).unwrap_or(u32::MAX);
        let room = self.0.answerers.reading.acquire_many(room).await;
        let _room = room.map_err(|_| NoAnswer::Broken)?;
        let read = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = read.map_err(|_| NoAnswer::Broken)?.to_bytes();
        let seal = head.headers.get(seal::HEADER);
        if !self.is_genuine(proof, head.status, Some(&body), seal) {
            return Err(NoAnswer::Foreign);
        }
        match head.status {
            StatusCode::OK => Ok(body),
            StatusCode::PAYLOAD_TOO_LARGE => Err(NoAnswer::Said(HopError::TooLarge)),
            StatusCode::SERVICE_UNAVAILABLE => Err(NoAnswer::Said(HopError::Busy)),
            StatusCode::GATEWAY_TIMEOUT => Err(NoAnswer::Said(HopError::Silent)),
            _ => Err(NoAnswer::Said(HopError::Refused)),
        }
    }

    /// The name of the question, if the path is one of a question.
    pub(in crate::edge) fn question_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&*self.0.path)?.strip_prefix(BELOW)
    }

    /// Answers a question of another node. Whoever cannot prove to be one learns nothing.
    pub(in crate::edge) async fn answer_question<B>(
        &self,
        name: &str,
        request: Request<B>,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let proof = self.proof(request.method(), request.uri(), request.headers(), "");
        let Ok(proof) = proof else { return closing(StatusCode::FORBIDDEN) };
        let body = request.into_body().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
        let body = Limited::new(body, LONGEST_QUESTION).collect();
        let question = match timeout(TO_READ, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return closing(StatusCode::PAYLOAD_TOO_LARGE);
            }
            Ok(Err(_)) | Err(_) => return closing(StatusCode::BAD_REQUEST),
        };
        if !proof.covers(&question) {
            return closing(StatusCode::FORBIDDEN);
        }
        let (status, body) = self.answer_to(name, question).await;
        let mut response = Response::new(Body::from(body.clone()));
        *response.status_mut() = status;
        let length = HeaderValue::from(body.len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        self.seal_with(&proof, &mut response, Some(&body));
        response
    }

    async fn answer_to(&self, name: &str, question: Bytes) -> (StatusCode, Bytes) {
        let nothing = |status| (status, Bytes::new());
        let answerer = self.0.answerers.by_name.read().get(name).cloned();
        let Some(answerer) = answerer else { return nothing(StatusCode::NOT_FOUND) };
        // A sign of life is given however much there is to do.
        let turn = self.0.answerers.answering.try_acquire();
        if turn.is_err() && name != SIGN_OF_LIFE {
            return nothing(StatusCode::SERVICE_UNAVAILABLE);
        }
        match timeout(TO_ANSWER, answerer(question)).await {
            Ok(Ok(answer)) if answer.len() > LONGEST_ANSWER => {
                nothing(StatusCode::PAYLOAD_TOO_LARGE)
            }
            Ok(Ok(answer)) => (StatusCode::OK, answer),
            Ok(Err(Unanswered)) => nothing(StatusCode::UNPROCESSABLE_ENTITY),
            Err(_) => nothing(StatusCode::GATEWAY_TIMEOUT),
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The node has said so.
    Said(HopError),
    Broken,
    /// The asked node has not said this.
    Foreign,
}

/// A bare status, on a connection that ends: the rest of the request is not read.
fn closing(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
