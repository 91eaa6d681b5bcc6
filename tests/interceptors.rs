//! Interceptors in-process: what they see, what they may change, and what they cannot break.

mod support;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};
use support::by_name;
use switchboard::{
    Code, Data, Event, Fault, Gateway, Replies, Reply, Switchboard, handle,
    interceptor::{
        BoxFuture, Counting, Failure, Interceptor, Logging, Next, Outcome, Propagate, Timeout,
    },
    testing::{Client, Server},
};

/// Calls a function with the event and what the rest answered, and answers what it gives.
struct After<F>(F);

impl<F> Interceptor for After<F>
where
    F: Fn(&Event, Outcome) -> Result<Outcome, Failure> + Send + Sync + 'static,
{
    fn intercept<'a>(
        &'a self,
        event: &'a Event,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move { (self.0)(event, next.run(event.clone()).await) })
    }
}

/// Never asks the rest.
struct Instead(fn() -> Result<Outcome, Failure>);

impl Interceptor for Instead {
    fn intercept<'a>(
        &'a self,
        _: &'a Event,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async { (self.0)() })
    }
}

fn echo() -> Gateway {
    Gateway::new("/")
        .on("echo", async |Data(value): Data<Value>| Reply::ack(&value))
        .on("news", async |Data(value): Data<Value>| {
            (Reply::event("news", &value), Reply::ack(&()))
        })
        .on("fail", async || Err::<Reply, _>(Fault::forbidden("never")))
        .on("stream", async |Data(n): Data<u32>| {
            Replies::stream(futures_util::stream::iter(
                (0..n).map(|n| Ok(Reply::event("news", &n))).chain([Ok(Reply::ack(&"end"))]),
            ))
        })
        .on("marker", async || Reply::ack(&()))
}

fn server() -> switchboard::server::Builder {
    Switchboard::builder().global_middleware(by_name)
}

async fn client(server: &Server) -> Client {
    server.connect().await.expect("everybody may enter")
}

async fn client_of(server: &Server, user: &str) -> Client {
    server.connect().auth(&json!({ "user": user })).await.expect("everybody may enter")
}

/// The events that a client has heard up to now: the acknowledgement comes after them.
async fn heard(client: &Client) -> Vec<(String, Vec<Value>)> {
    client.ask::<Value>("marker", &()).await;
    client.heard().into_iter().map(|heard| (heard.event.clone(), vec![heard.data()])).collect()
}

#[tokio::test]
async fn they_run_from_the_outside_in_and_back_at_all_three_levels() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let level = |name: &'static str| {
        let seen = seen.clone();
        After(move |event: &Event, outcome: Outcome| {
            seen.lock().push(format!("{name} {} {}", event.name(), outcome.is_ok()));
            Ok(outcome)
        })
    };
    let handler = handle(async || Reply::ack(&1)).intercept(level("event"));
    let gateway = echo().on("both", handler).intercept(level("gateway"));
    let server =
        server().global_interceptor(level("server 1")).global_interceptor(level("server 2"));
    let server = Server::start(server.gateway(gateway)).await;
    let ada = client(&server).await;
    ada.ask::<Value>("both", &Value::Null).await;
    ada.ask::<Value>("fail", &Value::Null).await;
    let expected = [
        "event both true",
        "gateway both true",
        "server 2 both true",
        "server 1 both true",
        "gateway fail false",
        "server 2 fail false",
        "server 1 fail false",
    ];
    assert_eq!(*seen.lock(), expected);
}

#[tokio::test]
async fn they_may_change_a_reply_and_an_error() {
    let changing = After(|_: &Event, outcome: Outcome| {
        Ok(match outcome {
            Ok(replies) => Ok(replies.map(|_| Reply::ack(&"changed"))),
            Err(fault) => Err(Fault::new(Code::Unavailable, format!("was {}", fault.code()))),
        })
    });
    let server = Server::start(server().gateway(echo().intercept(changing))).await;
    let ada = client(&server).await;
    assert_eq!(ada.ask::<Value>("echo", &json!("as it was")).await, json!("changed"));
    let fault = &ada.ask::<Value>("fail", &Value::Null).await["error"];
    assert_eq!(
        (&fault["code"], &fault["message"]),
        (&json!("unavailable"), &json!("was forbidden"))
    );
}

#[tokio::test]
async fn a_panic_or_an_error_of_one_never_loses_the_reply() {
    let panicking = After(|_: &Event, _| panic!("after the handler"));
    let failing = After(|_: &Event, _| Err("a failure of its own".into()));
    let panicking_over_replies = After(|_: &Event, outcome: Outcome| {
        Ok(outcome.map(|replies| replies.inspect(|_| panic!("over a reply"))))
    });
    let gateway = echo().intercept(panicking).intercept(failing).intercept(panicking_over_replies);
    let server = Server::start(server().gateway(gateway)).await;
    let ada = client(&server).await;
    assert_eq!(ada.ask::<Value>("echo", &json!("kept")).await, json!("kept"));
    assert_eq!(ada.ask::<Value>("fail", &Value::Null).await["error"]["code"], "forbidden");
    assert_eq!(ada.ask::<Value>("stream", &json!(3)).await, json!("end"));
    for n in 0..3 {
        assert_eq!(ada.hears::<Value>("news").await, json!(n));
    }
}

#[tokio::test]
async fn one_that_breaks_before_the_handler_lets_nothing_through() {
    for broken in [|| Err("the database is away".into()), || panic!("before the handler")] {
        let server = Server::start(server().gateway(echo().intercept(Instead(broken)))).await;
        let answer = client(&server).await.ask::<Value>("echo", &json!(1)).await;
        assert_eq!(answer["error"]["code"], "internal");
    }
}

#[tokio::test]
async fn one_may_answer_instead_of_the_handler() {
    let instead = Instead(|| Ok(Ok(Reply::ack(&"from the cache").into())));
    let server = Server::start(server().gateway(echo().intercept(instead))).await;
    assert_eq!(
        client(&server).await.ask::<Value>("echo", &json!(1)).await,
        json!("from the cache")
    );
}

#[tokio::test]
async fn each_item_of_a_stream_is_seen_and_changed_while_it_streams() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = seen.clone();
    let gateway = echo()
        .intercept(After(move |_: &Event, outcome: Outcome| {
            let seen = noting.clone();
            Ok(outcome.map(|replies| {
                assert!(replies.is_stream());
                replies.inspect(move |reply| seen.lock().push(reply.event_name()))
            }))
        }))
        .intercept(After(|_: &Event, outcome: Outcome| {
            Ok(outcome.map(|replies| {
                replies.map(|reply| match reply.payload().map(|p| p.decode::<u32>()) {
                    Some(Ok(n)) => Reply::event("news", &(n * 10)),
                    _ => reply,
                })
            }))
        }));
    let server = Server::start(server().gateway(gateway)).await;
    let ada = client(&server).await;
    assert_eq!(ada.ask::<Value>("stream", &json!(3)).await, json!("end"));
    for n in [0, 10, 20] {
        assert_eq!(ada.hears::<Value>("news").await, json!(n));
    }
    let news = Some("news".to_owned());
    assert_eq!(*seen.lock(), [news.clone(), news.clone(), news, None]);
}

#[tokio::test]
async fn propagate_takes_a_reply_to_the_users_other_sockets_and_nowhere_else() {
    let server = Server::start(server().global_interceptor(Propagate).gateway(echo())).await;
    let tab1 = client_of(&server, "ada").await;
    let tab2 = client_of(&server, "ada").await;
    let bob = client_of(&server, "bob").await;
    let guest = client(&server).await;
    tab1.ask::<Value>("news", &json!("hi")).await;
    tab1.ask::<Value>("stream", &json!(2)).await;
    tab1.ask::<Value>("fail", &Value::Null).await;
    tab1.ask::<Value>("echo", &json!("an acknowledgement stays here")).await;
    guest.ask::<Value>("news", &json!("mine alone")).await;
    let news = |data: Value| ("news".to_owned(), vec![data]);
    let all = [news(json!("hi")), news(json!(0)), news(json!(1))];
    assert_eq!(heard(&tab1).await, all, "the sender, each once");
    assert_eq!(heard(&tab2).await, all, "the other tab, each once");
    assert_eq!(heard(&bob).await, []);
    assert_eq!(heard(&guest).await, [news(json!("mine alone"))]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_a_timeout_and_the_next_event_is_handled() {
    let gateway = echo()
        .on("hang", async || std::future::pending::<()>().await)
        .intercept(Timeout::after(Duration::from_secs(5)));
    let server = Server::start(server().gateway(gateway)).await;
    let ada = client(&server).await;
    let fault = &ada.ask::<Value>("hang", &Value::Null).await["error"];
    assert_eq!((&fault["code"], &fault["retry"]), (&json!("timeout"), &json!(true)));
    assert_eq!(ada.ask::<Value>("echo", &json!(1)).await, json!(1));
}

#[tokio::test]
async fn counting_counts_events_replies_and_faults() {
    let counting = Counting::new();
    let gateway = echo().intercept(counting.clone()).intercept(Logging);
    let server = Server::start(server().gateway(gateway)).await;
    let ada = client(&server).await;
    ada.ask::<Value>("echo", &json!(1)).await;
    ada.ask::<Value>("fail", &Value::Null).await;
    ada.ask::<Value>("stream", &json!(2)).await;
    let counts = counting.counts();
    assert_eq!((counts.events, counts.replies, counts.faults), (3, 4, 1));
}
