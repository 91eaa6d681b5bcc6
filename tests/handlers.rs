//! What a handler may ask for, what it may return, and what stands around it.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use serde_json::{Value, json};
use support::{Client, Server, by_name, within};
use switchboard::{
    Binary, Code, Data, Event, Extension, Fault, FromContext, Gateway, Handshake, Payload, Replies,
    Reply, Socket, State, Switchboard, TryData,
    gateway::{
        extract::{Context, OfSocket},
        handler::DisconnectReason,
        interceptor::{Rest, from_fn},
    },
    handle,
    id::UserId,
    server::{BuildError, Builder, LocalCluster},
    users::Presence,
};
use tokio::sync::{Notify, mpsc};

#[derive(Clone, Default)]
struct Hits(Arc<AtomicU32>);

impl Hits {
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[derive(Clone)]
struct App {
    greeting: String,
    hits: Hits,
}

fn server(gateway: Gateway) -> Builder {
    Switchboard::builder().global_middleware(by_name).gateway(gateway)
}

async fn client(gateway: Gateway) -> (Server, Client) {
    let server = Server::start(server(gateway)).await;
    let client = server.client_of("ada").await;
    (server, client)
}

#[tokio::test]
async fn all_kinds_of_handlers_reach_the_state_and_its_parts() {
    let app = App { greeting: "hello".into(), hits: Hits::default() };
    let (told, mut tells) = mpsc::unbounded_channel();
    let gateway = Gateway::new("/")
        .middleware(async |State(hits): State<Hits>| {
            hits.next();
        })
        .intercept(from_fn(async |event: Event, rest: Rest| {
            event.extract::<State<Hits>>()?.0.next();
            rest.run(event).await
        }))
        .use_packet(async |State(hits): State<Hits>| {
            hits.next();
        })
        .on_connect(async |State(app): State<App>, State(hits): State<Hits>| {
            hits.next();
            Reply::event("welcome", &app.greeting)
        })
        .on("hits", async |State(hits): State<Hits>| hits.next())
        .on_disconnect(move |State(hits): State<Hits>, reason: DisconnectReason| {
            let told = told.clone();
            async move { told.send((hits.next(), reason)).map_err(|_| Fault::internal()) }
        });
    let hits = app.hits.clone();
    let builder = server(gateway).state(app).state_part(|app: &App| app.hits.clone());
    let server = Server::start(builder).await;
    let mut ada = server.client().await;
    assert_eq!(ada.hears("welcome").await, "hello");
    assert_eq!(hits.0.load(Ordering::Relaxed), 2, "the middleware and the connect handler");
    assert_eq!(ada.ask("hits", Value::Null).await, 5, "a packet, an interceptor, the handler");
    ada.send("41").await;
    let (hits, reason) = within("the end", tells.recv()).await.expect("the handler tells");
    assert_eq!((hits, reason), (6, DisconnectReason::ClientNSDisconnect));
}

/// The kinds of handlers that the test before leaves out, on two nodes.
#[tokio::test]
async fn handlers_between_servers_and_those_around_others_reach_the_state() {
    let local = LocalCluster::default();
    let hits = Hits::default();
    let gateway = || {
        Gateway::new("/")
            .on_any(async |State(hits): State<Hits>| {
                hits.next();
            })
            .on_pattern("fails:*", async |State(hits): State<Hits>| {
                hits.next();
                Err::<(), _>(Fault::plain("failed"))
            })
            .fallback(async |State(hits): State<Hits>| hits.next())
            .on_fault(async |State(hits): State<Hits>, fault: Fault| {
                (Reply::ack(&hits.next()), Reply::event("why", fault.message()))
            })
            .on_server_side(
                "hits",
                async |State(hits): State<Hits>,
                       server: Switchboard,
                       Data((a, b)): Data<(u32, u32)>| {
                    (hits.next(), server.node().to_string(), a + b)
                },
            )
    };
    let node = async || {
        let builder = server(gateway()).cluster(&local).state(hits.clone());
        let builder = builder.allow_request(async |State(hits): State<Hits>| {
            hits.next();
        });
        Server::start(builder).await
    };
    let (one, two) = (node().await, node().await);
    let mut ada = one.client().await;
    assert_eq!(ada.ask("any", Value::Null).await, 3, "the request, `on_any`, the fallback");
    assert_eq!(ada.ask("fails:now", Value::Null).await, 6, "`on_any`, the pattern, `on_fault`");
    assert_eq!(ada.hears("why").await, "failed");
    let answers = one.switchboard.of("/").server_side_emit_with_ack("hits", &(1, 2)).await;
    let answers = answers.expect("a link");
    let [answer] = &answers.values[..] else { panic!("{answers:?}") };
    // Between servers the first argument of an answer travels, and a tuple is several.
    assert_eq!(answer.decode::<u32>().expect("a number"), 7);
    two.stop().await.expect("an end");
}

#[tokio::test]
async fn a_state_that_was_not_given_is_named_when_the_server_is_built() {
    let gateway = Gateway::new("/shop").on("buy", async |_: (Socket, State<Hits>)| ());
    let built = Switchboard::builder().gateway(gateway).build();
    let Err(BuildError::Gateway { path, reason }) = built.map(|_| ()) else {
        panic!("there is no state")
    };
    assert_eq!(path, "/shop");
    for part in ["`buy`", "State<handlers::Hits>", ".state(…)"] {
        assert!(reason.contains(part), "{reason}");
    }
    let asked = Switchboard::builder().global_middleware(async |_: State<Hits>| ()).build();
    assert!(matches!(asked.map(|_| ()), Err(BuildError::Handler(_))));
    // Interceptors are asked as well, wherever they stand.
    let around = || from_fn(async |_: State<Hits>, event: Event, rest: Rest| rest.run(event).await);
    let builder = Switchboard::builder;
    for (without, what) in [
        (builder().gateway(Gateway::new("/").intercept(around())), "an interceptor"),
        (
            builder().gateway(Gateway::new("/").on("a", handle(async || ()).intercept(around()))),
            "the handler of `a`",
        ),
        (builder().global_interceptor(around()), ""),
    ] {
        match without.build().map(|_| ()) {
            Err(BuildError::Gateway { reason, .. } | BuildError::Handler(reason)) => {
                assert!(
                    reason.contains("State<handlers::Hits>") && reason.contains(what),
                    "{reason}"
                );
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_second_handler_and_a_reserved_name_are_errors_that_name_it() {
    let nothing = async || ();
    for (gateway, words) in [
        (Gateway::new("/").on("a", nothing).on("a", nothing), "two handlers for the event `a`"),
        (Gateway::new("/").on("disconnect", nothing), "`disconnect`: use `on_disconnect`"),
        (Gateway::new("/").on_connect(nothing).on_connect(nothing), "two `on_connect`"),
        (Gateway::new("/").on_pattern("a*b", nothing), "`a*b`"),
        (
            Gateway::new("/").on_server_side("s", nothing).on_server_side("s", nothing),
            "two handlers for `s`",
        ),
        (Gateway::new("/").on_server_side("connection", nothing), "`connection` between servers"),
        (Gateway::new("/").on_pattern("a:*", nothing).on_pattern("a:*", nothing), "`a:*`"),
        (Gateway::new("/").on_pattern("connect", nothing), "`connect`: use `on_connect`"),
        (Gateway::new("/").fallback(nothing).fallback(nothing), "two fallbacks"),
        (Gateway::new("/").on_disconnect(nothing).on_disconnect(nothing), "two `on_disconnect`"),
        (Gateway::new("/").on_fault(nothing).on_fault(nothing), "two `on_fault`"),
    ] {
        match Switchboard::builder().gateway(gateway).build().map(|_| ()) {
            Err(BuildError::Gateway { reason, .. }) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{words}: {other:?}"),
        }
    }
    let builder = Switchboard::builder;
    for (twice, words) in [
        (builder().allow_request(nothing).allow_request(nothing), "two `allow_request`"),
        (builder().on_presence(nothing).on_presence(nothing), "two `on_presence`"),
        (builder().global_fallback(nothing).global_fallback(nothing), "two `global_fallback`"),
        (builder().state(1_u8).state(2_u8), "two states of the type `u8`"),
        (builder().state("a".to_owned()).state_part(String::clone), "two states"),
    ] {
        match twice.build().map(|_| ()) {
            Err(BuildError::Handler(problem)) => assert!(problem.contains(words), "{problem}"),
            other => panic!("{words}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn whoever_is_told_of_presence_asks_for_what_it_needs() {
    let (told, mut tells) = mpsc::unbounded_channel();
    let builder = server(Gateway::new("/")).state(Hits::default()).on_presence(
        move |change: Presence,
              server: Switchboard,
              State(hits): State<Hits>,
              none: Option<State<App>>| {
            let told = told.clone();
            async move {
                let Presence::Online(user) = change else { return Err(Fault::plain("not told")) };
                let online = server.online(&[&user]).await?;
                told.send((user, online, hits.next(), none.is_none())).ok();
                Ok(())
            }
        },
    );
    let server = Server::start(builder).await;
    for (number, name) in [(1, "ada"), (2, "bob")] {
        let _client = server.client_of(name).await;
        let heard = within("presence", tells.recv()).await.expect("it is told");
        assert_eq!(heard, (name.into(), vec![true], number, true));
    }
    let unknown = Switchboard::builder().on_presence(async |_: State<Hits>| ()).build();
    assert!(matches!(unknown.map(|_| ()), Err(BuildError::Handler(_))));
}

#[tokio::test]
async fn a_handler_has_up_to_eight_parameters_of_one_trait() {
    struct Loud(String);

    impl<C: OfSocket> FromContext<C> for Loud {
        fn from_context(context: &C) -> Result<Self, Fault> {
            let user = context.socket().user().ok_or_else(|| Fault::plain("who?"))?;
            Ok(Self(user.to_uppercase()))
        }
    }

    #[expect(clippy::too_many_arguments, reason = "that is what is tried")]
    async fn eight(
        socket: Socket,
        event: Event,
        server: Switchboard,
        Loud(name): Loud,
        user: UserId,
        Data((a, b)): Data<(u32, Option<u32>)>,
        nothing: Option<Extension<Hits>>,
        (handshake, payload): (Handshake, Payload),
    ) -> Value {
        json!({
            "same": *event.socket() == socket && *handshake.socket() == socket,
            "node": server.node(),
            "name": name,
            "user": user,
            "sum": a + b.unwrap_or(0),
            "nothing": nothing.is_none(),
            "first": payload.decode::<u32>().ok(),
            "auth": handshake.auth::<Value>().ok(),
        })
    }

    let (server, mut ada) = client(Gateway::new("/").on("eight", eight)).await;
    ada.send(r#"427["eight",1,2]"#).await;
    let expected = json!({
        "same": true, "node": server.switchboard.node(), "name": "ADA", "user": "ada", "sum": 3,
        "nothing": true, "first": 1, "auth": { "user": "ada" },
    });
    assert_eq!(ada.acknowledged(7).await, expected);
    let mut guest = server.client().await;
    guest.send(r#"427["eight",1]"#).await;
    let refused = guest.acknowledged(7).await;
    assert_eq!(refused["error"]["message"], "who?");
}

#[tokio::test]
async fn arguments_may_be_absent_or_of_another_shape() {
    let gateway = Gateway::new("/")
        .on("optional", async |data: Option<Data<u8>>| data.map(|Data(n)| n))
        .on("try", async |TryData(n): TryData<u8>| n.map_err(|fault| fault.code().to_string()).ok())
        .on("bytes", async |Binary(bytes): Binary| Binary(bytes.to_ascii_uppercase().into()));
    let (_server, mut ada) = client(gateway).await;
    for (event, answer) in [
        (r#"["optional"]"#, Value::Null),
        (r#"["optional",7]"#, json!(7)),
        (r#"["try",7]"#, json!(7)),
        (r#"["try","seven"]"#, Value::Null),
    ] {
        ada.send(format!("423{event}")).await;
        assert_eq!(ada.acknowledged(3).await, answer, "{event}");
    }
    for event in [r#"["optional","seven"]"#, r#"["bytes","text"]"#, r#"["bytes"]"#] {
        ada.send(format!("423{event}")).await;
        assert_eq!(ada.acknowledged(3).await["error"]["code"], "bad_request", "{event}");
    }
}

#[tokio::test]
async fn a_plain_value_is_the_acknowledgement() {
    #[derive(Serialize)]
    struct Said {
        text: String,
    }

    struct Own(u16);

    impl From<Own> for Fault {
        fn from(Own(code): Own) -> Self {
            Fault::plain("no").with_code(format!("E{code}")).with_data(json!({ "at": code }))
        }
    }

    let gateway = Gateway::new("/")
        .on("struct", async |Data(text): Data<String>| Said { text })
        .on("map", async || BTreeMap::from([("a", 1)]))
        .on("pair", async || ("a", 1))
        .on("null", async || None::<u8>)
        .on("own", async |Data(fails): Data<bool>| if fails { Err(Own(7)) } else { Ok(1) })
        .on("replies", async || [Reply::event("one", &1), Reply::ack(&2)])
        .on("payload", async |payload: Payload| payload)
        .on("nothing", async || ())
        .on("end", async || "end");
    let (_server, mut ada) = client(gateway).await;
    for (event, acknowledged) in [
        (r#"["struct","hi"]"#, r#"[{"text":"hi"}]"#),
        (r#"["map"]"#, r#"[{"a":1}]"#),
        (r#"["pair"]"#, r#"["a",1]"#),
        (r#"["null"]"#, "[null]"),
        (r#"["own",false]"#, "[1]"),
        (
            r#"["own",true]"#,
            r#"[{"error":{"code":"E7","data":{"at":7},"message":"no","retry":false}}]"#,
        ),
        (r#"["payload",1,[2]]"#, "[1,[2]]"),
    ] {
        ada.send(format!("42{}{event}", 5)).await;
        let packet = within("an answer", ada.packet()).await.expect("an answer");
        assert_eq!(packet, format!("435{acknowledged}"), "{event}");
    }
    assert_eq!(ada.ask("replies", Value::Null).await, 2);
    assert_eq!(ada.hears("one").await, 1);
    ada.send(r#"420["nothing"]"#).await;
    ada.send(r#"421["end"]"#).await;
    assert_eq!(within("an answer", ada.packet()).await.as_deref(), Some(r#"431["end"]"#));
}

#[tokio::test]
async fn the_unit_is_no_argument_and_null_is_one() {
    let gateway = Gateway::new("/").on("go", async |socket: Socket| {
        socket.emit("unit", &())?;
        socket.emit("null", &Value::Null)?;
        Ok::<_, Fault>(Reply::ack(&()))
    });
    let (_server, mut ada) = client(gateway).await;
    ada.send(r#"421["go"]"#).await;
    for packet in [r#"42["unit"]"#, r#"42["null",null]"#, "431[]"] {
        assert_eq!(within("a packet", ada.packet()).await.as_deref(), Some(packet));
    }
}

#[tokio::test]
async fn an_exception_filter_decides_what_becomes_of_a_fault() {
    let gateway = Gateway::new("/")
        .on("fails", async || Err::<(), _>(Fault::forbidden("never")))
        .on("streams", async || {
            let items = [Ok(Reply::event("one", &1)), Err(Fault::plain("enough"))];
            Replies::stream(futures_util::stream::iter(items))
        })
        .on("number", async |Data(n): Data<u8>| n)
        .on("panics", async || assert!(std::hint::black_box(false)))
        .on_fault(async |fault: Fault, event: Option<Event>| {
            let name = event.as_ref().map_or("none", Event::name).to_owned();
            match fault.code() {
                Code::Internal => Err(fault),
                _ => Ok((Reply::event("exception", &name), Reply::ack(fault.message()))),
            }
        });
    let (_server, mut ada) = client(gateway).await;
    for (event, message) in [("fails", "never"), ("streams", "enough")] {
        assert_eq!(ada.ask(event, Value::Null).await, message);
        assert_eq!(ada.hears("exception").await, event);
    }
    ada.ask("number", json!("seven")).await;
    assert_eq!(ada.hears("exception").await, "number");
    assert_eq!(ada.ask("panics", Value::Null).await["error"]["code"], "internal");
}

#[tokio::test]
async fn a_socket_whose_connect_handler_fails_does_not_stay() {
    let gateway = Gateway::new("/")
        .on_connect(async |socket: Socket| match socket.user() {
            Some(_) => Ok(Reply::event("welcome", &1)),
            None => Err(Fault::plain("who?")),
        })
        .on("late", async || "handled")
        .on_fault(async |fault: Fault| Reply::event("exception", fault.message()));
    let server = Server::start(server(gateway)).await;
    let mut guest = server.client().await;
    assert_eq!(guest.hears("exception").await, "who?");
    guest.disconnected().await;
    let mut ada = server.client_of("ada").await;
    assert_eq!(ada.hears("welcome").await, 1);
    assert_eq!(ada.ask("late", Value::Null).await, "handled");
}

#[tokio::test]
async fn events_find_the_longest_pattern_then_the_fallback_of_the_gateway_or_of_all() {
    let gateway = Gateway::new("/")
        .on("orders:paid", async || "own")
        .on_pattern("orders:*", async || "orders")
        .on_pattern("orders:eu:*", async || "europe");
    let catching = Gateway::new("/catching").fallback(async || "its own");
    let builder = server(gateway).gateway(catching).global_fallback(async || "of all");
    let server = Server::start(builder).await;
    let mut ada = server.client().await;
    for (event, answer) in [
        ("orders:paid", "own"),
        ("orders:new", "orders"),
        ("orders:eu:new", "europe"),
        ("other", "of all"),
    ] {
        assert_eq!(ada.ask(event, Value::Null).await, answer, "{event}");
    }
    let mut bob = server.client_with("/catching", json!({})).await;
    assert_eq!(bob.ask("other", Value::Null).await, "its own");
}

#[tokio::test]
async fn packets_pass_their_middleware_and_then_whoever_sees_all() {
    let (told, mut seen) = mpsc::unbounded_channel();
    let gateway = Gateway::new("/")
        .use_packet(async |event: Event| match event.name() {
            "secret" => Err(Fault::forbidden("not this")),
            _ => Ok(()),
        })
        .on_any(move |event: Event| {
            let told = told.clone();
            async move {
                told.send(event.name().to_owned()).map_err(|_| Fault::internal())?;
                match event.name() {
                    "wrong" => Err(Fault::plain("wrong")),
                    _ => Ok(()),
                }
            }
        })
        .on("known", async || "known")
        .on("secret", async || "never")
        .on("wrong", async || "never");
    let (_server, mut ada) = client(gateway).await;
    ada.emit("unknown", Value::Null).await;
    assert_eq!(ada.ask("secret", Value::Null).await["error"]["message"], "not this");
    assert_eq!(ada.ask("wrong", Value::Null).await["error"]["message"], "wrong");
    assert_eq!(ada.ask("known", Value::Null).await, "known");
    for name in ["unknown", "wrong", "known"] {
        assert_eq!(within("an event", seen.recv()).await.as_deref(), Some(name));
    }
    assert!(seen.try_recv().is_err(), "what did not pass is not seen");
}

#[tokio::test]
async fn a_concurrent_handler_holds_nothing_back() {
    let gate = Arc::new(Notify::new());
    let waiting = gate.clone();
    let gateway = Gateway::new("/")
        .on(
            "waits",
            handle(move || {
                let gate = waiting.clone();
                async move {
                    gate.notified().await;
                    "waited"
                }
            })
            .concurrent(),
        )
        .on("next", async || "next");
    let (_server, mut ada) = client(gateway).await;
    let waits = ada.emit_asking("waits", Value::Null).await;
    assert_eq!(ada.ask("next", Value::Null).await, "next");
    gate.notify_one();
    assert_eq!(ada.acknowledged(waits).await, "waited");
}

#[tokio::test]
async fn a_handler_asks_its_client() {
    let gateway = Gateway::new("/").on("start", async |socket: Socket, Data(ms): Data<u64>| {
        let answer: (String, u8) = socket.ask("name?", &7, Duration::from_millis(ms)).await?;
        Ok::<_, Fault>(answer)
    });
    let (server, mut ada) = client(gateway).await;
    let question = async |ada: &mut Client, ms: u64| {
        ada.send(format!(r#"420["start",{ms}]"#)).await;
        let packet = within("a question", ada.packet()).await.expect("a question");
        let id = packet.strip_prefix("42").and_then(|rest| rest.strip_suffix(r#"["name?",7]"#));
        id.unwrap_or_else(|| panic!("{packet}")).to_owned()
    };
    let id = question(&mut ada, 60_000).await;
    ada.send(format!(r#"43{id}["Ada",3]"#)).await;
    assert_eq!(within("the end", ada.packet()).await.as_deref(), Some(r#"430["Ada",3]"#));
    let id = question(&mut ada, 60_000).await;
    ada.send(format!("43{id}[1]")).await;
    assert_eq!(ada.acknowledged(0).await["error"]["code"], "bad_request");
    question(&mut ada, 20).await;
    assert_eq!(ada.acknowledged(0).await["error"]["code"], "timeout");
    // A client that leaves is not waited for.
    question(&mut ada, 600_000).await;
    ada.vanish();
    within("the end of the handler", server.stop()).await.expect("nothing is left");
}

#[tokio::test]
async fn several_rooms_are_joined_at_once_or_none() {
    let gateway = Gateway::new("/")
        .on("join", async |socket: Socket, Data((rooms,)): Data<(Vec<String>,)>| {
            socket.join(rooms).await?;
            Ok::<_, Fault>(socket.rooms().len())
        })
        .on("leave", async |socket: Socket| {
            socket.leave(["a", "b", "authenticated"]);
            socket.rooms().len()
        });
    let mut config = switchboard::Config::default();
    config.limits.max_rooms_per_socket = 3;
    let server = Server::start(server(gateway).config(config)).await;
    let mut ada = server.client().await;
    assert_eq!(ada.ask("join", json!(["a", "b", "b"])).await, 3);
    assert_eq!(ada.ask("join", json!(["c", "d"])).await["error"]["code"], "forbidden");
    assert_eq!(ada.ask("join", json!(["a", "c"])).await, 4);
    assert_eq!(ada.ask("leave", Value::Null).await, 2);
}

#[tokio::test]
async fn an_interceptor_asks_for_what_it_needs() {
    let gateway = Gateway::new("/")
        .intercept(from_fn(
            async |State(hits): State<Hits>,
                   socket: Socket,
                   user: Option<UserId>,
                   event: Event,
                   rest: Rest| {
                assert_eq!(*event.socket() == socket, user == socket.user());
                hits.next();
                rest.run(event).await
            },
        ))
        .on(
            "double",
            handle(async |Data(n): Data<u32>| n).intercept(from_fn(
                // The rest has the event as it came, or none at all.
                async |Data(n): Data<u32>, event: Event, rest: Rest| match n {
                    0 => Reply::ack(&"nothing to double").into(),
                    _ => rest.run(event).await.unwrap_or_default(),
                },
            )),
        )
        .on(
            "mine",
            handle(async || "secret").intercept(from_fn(async |_: UserId, rest: Rest| {
                drop(rest);
                "it has not run"
            })),
        );
    let hits = Hits::default();
    let server = Server::start(server(gateway).state(hits.clone())).await;
    let mut guest = server.client().await;
    assert_eq!(guest.ask("double", json!(4)).await, 4);
    assert_eq!(guest.ask("double", json!(0)).await, "nothing to double");
    // Whoever is refused by a parameter comes no further.
    assert_eq!(guest.ask("double", json!("four")).await["error"]["code"], "bad_request");
    assert_eq!(guest.ask("mine", Value::Null).await["error"]["code"], "unauthorized");
    let mut ada = server.client_of("ada").await;
    assert_eq!(ada.ask("mine", Value::Null).await, "it has not run");
    assert_eq!(hits.0.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_function_is_an_interceptor_and_loses_no_reply() {
    let gateway = Gateway::new("/")
        .intercept(from_fn(async |event: Event, rest: Rest| {
            let outcome = rest.run(event.clone()).await;
            assert_ne!(event.name(), "panics", "after the handler");
            outcome
        }))
        .intercept(from_fn(async |event: Event, rest: Rest| match event.name() {
            "cached" => Reply::ack(&"from the cache").into(),
            _ => rest.run(event).await.unwrap_or_default(),
        }))
        .on("cached", async || "handled")
        .on("panics", async || "handled")
        .on("plain", async || "handled");
    let (_server, mut ada) = client(gateway).await;
    for (event, answer) in
        [("cached", "from the cache"), ("panics", "handled"), ("plain", "handled")]
    {
        assert_eq!(ada.ask(event, Value::Null).await, answer, "{event}");
    }
}
