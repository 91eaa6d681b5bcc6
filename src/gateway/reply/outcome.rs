//! What a handler returns, and what becomes of it.

use std::any::TypeId;

use serde::Serialize;

use super::{Outcome, Replies, Reply};
use crate::{fault::Fault, payload::Payload};

/// A result of a handler.
///
/// | It returns | Then |
/// |---|---|
/// | `()` | nothing |
/// | a value that is [`Serialize`](serde::Serialize) | it is the acknowledgement; of a tuple each part is an argument |
/// | [`Reply`], `Option<Reply>`, `Vec<Reply>`, an array or a tuple of up to eight | they are sent |
/// | [`Replies`] | they are sent, one by one if it is a stream |
/// | [`Payload`] | encoded arguments are the acknowledgement |
/// | `Result` of these with an `E` that becomes a [`Fault`] by `From` | an error is the error acknowledgement |
///
/// A value is an acknowledgement only if the client asked for one. Which of these a type is must be
/// clear by itself, so an `E` is not `Serialize`, as [`Fault`] is not.
///
/// ```
/// use serde::Serialize;
/// use switchboard::{Code, Data, Fault, Gateway, Reply};
///
/// #[derive(Serialize)]
/// struct Sum {
///     sum: i64,
/// }
///
/// struct Overflow;
///
/// impl From<Overflow> for Fault {
///     fn from(_: Overflow) -> Self {
///         Fault::bad_request("too large")
///     }
/// }
///
/// let gateway = Gateway::new("/")
///     .on("nothing", async || ())
///     .on("value", async |Data(n): Data<i64>| Sum { sum: n })
///     .on("both", async || (Reply::ack(&true), Reply::event("said", "hello").to_all()))
///     .on("perhaps", async |Data(n): Data<i64>| (n > 0).then(|| Reply::ack(&n)))
///     .on("add", async |Data((a, b)): Data<(i64, i64)>| {
///         a.checked_add(b).map(|sum| Sum { sum }).ok_or(Overflow)
///     })
///     .on("fails", async || Err::<(), _>(Fault::new(Code::Forbidden, "never")));
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "`{Self}` is neither a value for the acknowledgement nor replies",
    note = "a value is the acknowledgement if its type is `serde::Serialize`",
    note = "`Reply`, several of them, `Replies` and `()` can be returned, and a `Result` of any of these with an error for which `Fault: From<E>`",
    note = "if the type of an error is not known, name it: `Ok::<_, Fault>(…)`"
)]
pub trait IntoOutcome<How> {
    /// The outcome of the event.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Reply, gateway::reply::{IntoOutcome, Outcome}};
    ///
    /// /// What many handlers of this program return.
    /// enum Saved {
    ///     New(u64),
    ///     Known,
    /// }
    ///
    /// impl IntoOutcome<Self> for Saved {
    ///     fn into_outcome(self) -> Outcome {
    ///         match self {
    ///             Self::New(number) => (Reply::ack(&number), Reply::event("saved", &number).to_all()).into_outcome(),
    ///             Self::Known => Err(Fault::bad_request("it is there already")),
    ///         }
    ///     }
    /// }
    ///
    /// let gateway = Gateway::new("/").on("save", async || Saved::New(7));
    /// ```
    fn into_outcome(self) -> Outcome;
}

/// Marks results that are replies.
///
/// ```
/// use switchboard::{Reply, gateway::reply::{AsReplies, IntoOutcome}};
///
/// /// How many replies a handler's result is.
/// fn count(result: impl IntoOutcome<AsReplies>) -> usize {
///     result.into_outcome().map_or(0, |replies| replies.list().len())
/// }
///
/// assert_eq!(count([Reply::event("one", &1), Reply::event("two", &2)]), 2);
/// assert_eq!(count(None::<Reply>), 0);
/// ```
#[derive(Debug)]
pub struct AsReplies;

/// Marks results that are the value of the acknowledgement.
///
/// ```
/// use switchboard::gateway::reply::{Addressee, AsAck, IntoOutcome};
///
/// fn is_ack(result: impl IntoOutcome<AsAck>) -> bool {
///     result.into_outcome().is_ok_and(|replies| replies.list()[0].addressee() == &Addressee::Ack)
/// }
///
/// assert!(is_ack("saved") && is_ack(vec![1, 2]));
/// ```
#[derive(Debug)]
pub struct AsAck;

/// Marks results that are the encoded acknowledgement.
///
/// ```
/// use switchboard::{Payload, gateway::reply::{AsPayload, IntoOutcome}};
///
/// fn is_ack(result: impl IntoOutcome<AsPayload>) -> bool {
///     result.into_outcome().is_ok_and(|replies| replies.list().len() == 1)
/// }
///
/// assert!(is_ack(Payload::ack(&("saved", 7))?));
/// # Ok::<(), switchboard::payload::PayloadError>(())
/// ```
#[derive(Debug)]
pub struct AsPayload;

/// Marks results that may be an error.
///
/// ```
/// use switchboard::{Code, Fault, gateway::reply::{AsAck, Fallible, IntoOutcome}};
///
/// fn code(result: impl IntoOutcome<Fallible<AsAck>>) -> Option<Code> {
///     result.into_outcome().err().map(|fault| fault.code())
/// }
///
/// assert_eq!(code(Ok::<_, Fault>("saved")), None);
/// assert_eq!(code(Err::<(), _>(Fault::forbidden("never"))), Some(Code::Forbidden));
/// ```
#[derive(Debug)]
pub struct Fallible<How>(std::marker::PhantomData<How>);

impl<T: Serialize + 'static> IntoOutcome<AsAck> for T {
    fn into_outcome(self) -> Outcome {
        // The compiler knows the answer.
        if TypeId::of::<T>() == TypeId::of::<()>() {
            return Ok(Replies::default());
        }
        Ok(Reply::ack(&self).into())
    }
}

impl<How, T: IntoOutcome<How>, E: Into<Fault>> IntoOutcome<Fallible<How>> for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        self.map_err(Into::into)?.into_outcome()
    }
}

impl IntoOutcome<AsPayload> for Payload {
    fn into_outcome(self) -> Outcome {
        Ok(Reply::ack_payload(self.into_ack()?).into())
    }
}

impl IntoOutcome<AsPayload> for Option<Payload> {
    fn into_outcome(self) -> Outcome {
        self.map_or_else(|| Ok(Replies::default()), Payload::into_outcome)
    }
}

impl IntoOutcome<AsReplies> for Replies {
    fn into_outcome(self) -> Outcome {
        Ok(self)
    }
}

impl IntoOutcome<AsReplies> for Reply {
    fn into_outcome(self) -> Outcome {
        Ok(self.into())
    }
}

impl IntoOutcome<AsReplies> for Option<Reply> {
    fn into_outcome(self) -> Outcome {
        Ok(self.into_iter().collect())
    }
}

impl IntoOutcome<AsReplies> for Vec<Reply> {
    fn into_outcome(self) -> Outcome {
        Ok(self.into_iter().collect())
    }
}

impl<const N: usize> IntoOutcome<AsReplies> for [Reply; N] {
    fn into_outcome(self) -> Outcome {
        Ok(self.into_iter().collect())
    }
}

macro_rules! tuples {
    ($(($($reply:ident: $type:ident),+))*) => {$(
        impl IntoOutcome<AsReplies> for ($($type,)+) {
            fn into_outcome(self) -> Outcome {
                let ($($reply,)+) = self;
                Ok([$($reply),+].into_iter().collect())
            }
        }
    )*};
}
tuples! {
    (a: Reply, b: Reply)
    (a: Reply, b: Reply, c: Reply)
    (a: Reply, b: Reply, c: Reply, d: Reply)
    (a: Reply, b: Reply, c: Reply, d: Reply, e: Reply)
    (a: Reply, b: Reply, c: Reply, d: Reply, e: Reply, f: Reply)
    (a: Reply, b: Reply, c: Reply, d: Reply, e: Reply, f: Reply, g: Reply)
    (a: Reply, b: Reply, c: Reply, d: Reply, e: Reply, f: Reply, g: Reply, h: Reply)
}
