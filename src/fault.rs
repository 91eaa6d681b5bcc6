//! Errors for clients: a code to act on, a sentence for people, and whether trying again can help.
//! The cause stays in the log.

use std::{borrow::Cow, fmt};

use serde::Serialize;
use serde_json::Value as Json;

/// The codes that clients may rely on. Their names on the wire are in snake case (`rate_limited`).
///
/// ```
/// use switchboard::Code;
///
/// assert_eq!(Code::RateLimited.as_str(), "rate_limited");
/// assert!(Code::RateLimited.retry());
/// assert!(!Code::Forbidden.retry());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// No token, or one that is not valid.
    Unauthorized,
    /// The client is known, but not allowed to do this.
    Forbidden,
    /// There is no handler for this event.
    UnknownEvent,
    /// The arguments do not have the shape that the handler asks for.
    BadRequest,
    /// Larger than a limit allows.
    TooLarge,
    /// More than a limit allows in this time. It works again later.
    RateLimited,
    /// The user has as many sockets as it may have.
    TooManySockets,
    /// As many messages are kept for the user as may be.
    TooManyMessages,
    /// The cluster cannot be reached right now.
    Unavailable,
    /// Not answered in time.
    Timeout,
    /// A defect of the server. The log knows more.
    Internal,
}

impl Code {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 11] = [
        Self::Unauthorized,
        Self::Forbidden,
        Self::UnknownEvent,
        Self::BadRequest,
        Self::TooLarge,
        Self::RateLimited,
        Self::TooManySockets,
        Self::TooManyMessages,
        Self::Unavailable,
        Self::Timeout,
        Self::Internal,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::UnknownEvent => "unknown_event",
            Self::BadRequest => "bad_request",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::TooManySockets => "too_many_sockets",
            Self::TooManyMessages => "too_many_messages",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later without being changed.
    pub const fn retry(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::Timeout)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as the client sees it: in an acknowledgement `{"error": {code, message, retry}}`, in a
/// `connect_error` the message `code: sentence` with `{code, message, retry}` as its data.
///
/// The message goes to the client as it is, so it never holds a secret or an internal detail.
///
/// A program has words of its own: [`Fault::plain`] is shown as its sentence alone, as an `Error` of
/// Node.js is, and [`with_code`](Self::with_code) and [`with_data`](Self::with_data) say more.
///
/// ```
/// use switchboard::{Code, Data, Fault, Gateway, Reply};
///
/// let shop = Gateway::new("/shop").on("buy", async |Data(count): Data<u32>| {
///     match count {
///         1..=10 => Ok(Reply::ack(&count)),
///         _ => Err(Fault::bad_request("1 to 10 pieces")),
///     }
/// });
///
/// let fault = Fault::new(Code::Unavailable, "the shop is closed");
/// assert_eq!(fault.to_string(), "unavailable: the shop is closed");
/// assert_eq!((fault.code(), fault.message()), (Code::Unavailable, "the shop is closed"));
/// assert!(fault.retry() && fault.data().is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    code: Code,
    message: Cow<'static, str>,
    retry: bool,
    /// What the program says in its own words.
    own: Option<Box<Own>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Own {
    /// Shown as its sentence alone.
    is_plain: bool,
    code: Option<Cow<'static, str>>,
    data: Option<Json>,
}

impl Fault {
    /// A fault with the code's usual [`retry`](Code::retry).
    ///
    /// ```
    /// use switchboard::{Code, Fault};
    ///
    /// let fault = Fault::new(Code::TooLarge, "10 pieces at most");
    /// assert_eq!(fault.code(), Code::TooLarge);
    /// assert_eq!(fault.message(), "10 pieces at most");
    /// assert!(!fault.retry());
    /// ```
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry: code.retry(), own: None }
    }

    /// A fault in the program's own words. In a `connect_error` the message is this text and nothing
    /// else, as with `next(new Error("…"))` in Node.js. Metrics and the log call it `forbidden`.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Handshake};
    ///
    /// let gateway = Gateway::new("/").middleware(async |handshake: Handshake| {
    ///     match handshake.query().get("seat") {
    ///         Some(_) => Ok(()),
    ///         None => Err(Fault::plain("no seat is free")
    ///             .with_code("no_seat")
    ///             .with_data(serde_json::json!({ "waiting": 3 }))),
    ///     }
    /// });
    /// ```
    pub fn plain(message: impl Into<Cow<'static, str>>) -> Self {
        let own = Own { is_plain: true, ..Own::default() };
        Self { own: Some(Box::new(own)), ..Self::forbidden(message) }
    }

    /// Shows clients a code of the program in place of its own. [`code`](Self::code) stays, for
    /// metrics and the log.
    ///
    /// ```
    /// use switchboard::{Code, Fault};
    ///
    /// let fault = Fault::forbidden("no seat is free").with_code("no_seat");
    /// assert_eq!(fault.to_json()["code"], "no_seat");
    /// assert_eq!(fault.code(), Code::Forbidden);
    /// ```
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.own.get_or_insert_default().code = Some(code.into());
        self
    }

    /// Gives the client data: `err.data` of a `connect_error`, in the place of what stands there
    /// otherwise, and `data` in the error of an acknowledgement.
    ///
    /// ```
    /// use serde_json::json;
    /// use switchboard::Fault;
    ///
    /// let fault = Fault::plain("no seat is free").with_data(json!({ "waiting": 3 }));
    /// assert_eq!(fault.data(), Some(&json!({ "waiting": 3 })));
    /// ```
    #[must_use]
    pub fn with_data(mut self, data: impl Into<Json>) -> Self {
        self.own.get_or_insert_default().data = Some(data.into());
        self
    }

    /// Says whether the same request may succeed later.
    ///
    /// ```
    /// use switchboard::Fault;
    ///
    /// assert!(Fault::forbidden("not yet").with_retry(true).retry());
    /// ```
    #[must_use]
    pub fn with_retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// The fault as clients see it in an acknowledgement: `{code, message, retry}`, with `data` if
    /// it has some.
    ///
    /// ```
    /// use serde_json::json;
    /// use switchboard::Fault;
    ///
    /// let fault = Fault::forbidden("not here");
    /// assert_eq!(
    ///     fault.to_json(),
    ///     json!({ "code": "forbidden", "message": "not here", "retry": false })
    /// );
    /// ```
    pub fn to_json(&self) -> Json {
        let mut shown = serde_json::json!({
            "code": self.shown_code(),
            "message": self.message,
            "retry": self.retry,
        });
        if let Some(data) = self.data() {
            shown["data"] = data.clone();
        }
        shown
    }

    /// The data of a `connect_error`. `None`: it has none, as in Node.js.
    pub(crate) fn connect_data(&self) -> Option<Json> {
        let Some(own) = &self.own else { return Some(self.to_json()) };
        match &own.data {
            Some(data) => Some(data.clone()),
            None if own.is_plain && own.code.is_none() => None,
            None => Some(self.to_json()),
        }
    }

    fn shown_code(&self) -> &str {
        self.own.as_ref().and_then(|own| own.code.as_deref()).unwrap_or(self.code.as_str())
    }

    /// The data for the client, if the program has given some.
    pub fn data(&self) -> Option<&Json> {
        self.own.as_ref()?.data.as_ref()
    }

    /// A fault with [`Code::Forbidden`].
    ///
    /// ```
    /// use switchboard::Fault;
    ///
    /// assert_eq!(Fault::forbidden("not here").to_string(), "forbidden: not here");
    /// ```
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Forbidden, message)
    }

    /// A fault with [`Code::Unauthorized`].
    ///
    /// ```
    /// use switchboard::Fault;
    ///
    /// assert_eq!(Fault::unauthorized("log in first").to_string(), "unauthorized: log in first");
    /// ```
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unauthorized, message)
    }

    /// A fault with [`Code::BadRequest`].
    ///
    /// ```
    /// use switchboard::Fault;
    ///
    /// assert_eq!(Fault::bad_request("1 to 10").to_string(), "bad_request: 1 to 10");
    /// ```
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// A fault with [`Code::Internal`] and a fixed sentence. The cause belongs into the log.
    ///
    /// ```
    /// use switchboard::{Code, Fault};
    ///
    /// assert_eq!(Fault::internal().code(), Code::Internal);
    /// ```
    pub fn internal() -> Self {
        Self::new(Code::Internal, "something went wrong on the server")
    }

    /// The code, for programs.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The sentence if it is a fixed one. Others may quote the client, and clients' words do not go
    /// into the log.
    pub(crate) fn for_log(&self) -> Option<&'static str> {
        match self.message {
            Cow::Borrowed(fixed) => Some(fixed),
            Cow::Owned(_) => None,
        }
    }

    /// Whether the same request may succeed later.
    pub fn retry(&self) -> bool {
        self.retry
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.own {
            Some(own) if own.is_plain => f.write_str(&self.message),
            _ => write!(f, "{}: {}", self.shown_code(), self.message),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_about_the_gateway_has_every_code() {
        let page = include_str!("../docs/built-in-gateway.md");
        let rows = page.lines().filter(|line| line.contains("| no |") || line.contains("| yes |"));
        let rows: Vec<&str> = rows.collect();
        for code in Code::ALL {
            let row = format!("| `{code}` | {} | ", if code.retry() { "yes" } else { "no" });
            assert!(rows.iter().any(|known| known.starts_with(&row)), "{row}");
        }
        assert_eq!(rows.len(), Code::ALL.len());
    }

    #[test]
    fn a_program_has_words_of_its_own() {
        let plain = Fault::plain("no seat is free");
        assert_eq!((plain.to_string().as_str(), plain.connect_data()), ("no seat is free", None));
        assert_eq!(plain.to_json()["code"], "forbidden");
        let coded = plain.with_code("no_seat").with_retry(true);
        let shown = json!({ "code": "no_seat", "message": "no seat is free", "retry": true });
        assert_eq!(
            (coded.to_string().as_str(), coded.connect_data()),
            ("no seat is free", Some(shown))
        );
        let with_data = coded.with_data(json!([1]));
        assert_eq!(with_data.connect_data(), Some(json!([1])));
        assert_eq!(with_data.to_json()["data"], json!([1]));
        let ours = Fault::forbidden("no").with_code("closed");
        assert_eq!((ours.to_string().as_str(), ours.code()), ("closed: no", Code::Forbidden));
    }

    #[test]
    fn a_sentence_that_may_quote_a_client_is_not_for_the_log() {
        assert_eq!(Fault::forbidden("no").for_log(), Some("no"));
        assert_eq!(Fault::bad_request(format!("not {}", 1)).for_log(), None);
    }
}
