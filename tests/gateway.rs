//! Gateways in-process: handlers, their order, their failures, and what they reply.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value, json};
use support::{Server, admin::Admin, by_name, until, within};
use switchboard::{
    Code, Data, Event, Fault, Gateway, Handshake, Identity, Payload, Replies, Reply, Socket,
    Switchboard, sockets::SocketRecord,
};
use tokio::sync::{Notify, Semaphore, mpsc};

fn server(gateway: Gateway) -> switchboard::server::Builder {
    let marker = async || Reply::ack(&());
    Switchboard::builder().global_middleware(by_name).gateway(gateway.on("marker", marker))
}

#[tokio::test]
async fn a_handler_gets_typed_arguments_and_acknowledges() {
    let gateway = Gateway::new("/")
        .on("add", async |Data((a, b)): Data<(i64, i64)>| Reply::ack(&(a + b)))
        .on("greet", async |socket: Socket, Data(name): Data<Option<String>>| {
            Reply::ack(&format!("{} {:?}", socket.namespace(), name))
        });
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client().await;
    ada.send("420[\"add\",20,22]").await;
    assert_eq!(ada.acknowledged(0).await, json!(42));
    ada.send("427[\"greet\"]").await;
    assert_eq!(ada.acknowledged(7).await, json!("/ None"));
}

#[tokio::test]
async fn a_payload_of_the_wrong_shape_is_answered_and_the_handler_not_called() {
    let gateway = Gateway::new("/").on("number", async |Data(n): Data<u8>| Reply::ack(&n));
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client().await;
    let answer = ada.ask("number", json!("seven")).await;
    assert_eq!(answer["error"]["code"], "bad_request");
    assert_eq!(answer["error"]["retry"], false);
    assert_eq!(ada.ask("number", json!(7)).await, json!(7));
}

#[tokio::test]
async fn an_unknown_event_is_answered_if_the_gateway_says_so_or_has_a_catch_all() {
    let refusing = Gateway::new("/").refuse_unknown_events();
    let refusing = Server::start(server(refusing)).await;
    let answer = refusing.client().await.ask("nope", Value::Null).await;
    assert_eq!(answer["error"]["code"], "unknown_event");

    let plain = Gateway::new("/").on("known", async || Reply::ack(&"known"));
    let plain = Server::start(server(plain)).await;
    let mut ada = plain.client().await;
    ada.send(r#"420["nope"]"#).await;
    ada.send(r#"421["known"]"#).await;
    // Answers come in order, so there is none for the first.
    assert_eq!(within("an answer", ada.packet()).await.as_deref(), Some(r#"431["known"]"#));

    let gateway = Gateway::new("/")
        .fallback(async |event: Event| Reply::ack(&format!("caught {}", event.name())));
    let catching = Server::start(server(gateway)).await;
    assert_eq!(catching.client().await.ask("nope", Value::Null).await, json!("caught nope"));
}

#[tokio::test]
async fn a_panicking_handler_answers_internal_and_the_server_lives() {
    let gateway = Gateway::new("/")
        .on("early", |_: Event| -> std::future::Ready<()> { panic!("before there is a future") })
        .on("late", async |_: Event| {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "inside the future");
        });
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client().await;
    for event in ["early", "late"] {
        assert_eq!(ada.ask(event, Value::Null).await["error"]["code"], "internal", "{event}");
    }
    assert_eq!(ada.ask("marker", Value::Null).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_socket_are_handled_in_order_even_if_some_wait() {
    let (seen, mut handled) = mpsc::unbounded_channel();
    let gateway = Gateway::new("/").on("n", move |Data(n): Data<u64>| {
        let seen = seen.clone();
        async move {
            for _ in 0..n % 4 {
                tokio::task::yield_now().await;
            }
            seen.send(n).expect("the test listens");
        }
    });
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client().await;
    for n in 0..1_000 {
        ada.emit("n", json!(n)).await;
    }
    for n in 0..1_000 {
        assert_eq!(support::within("an event", handled.recv()).await, Some(n));
    }
}

/// As in Node.js, where the packets behind such a one are dropped with it.
#[tokio::test]
async fn nothing_is_handled_that_was_sent_after_what_no_server_reads() {
    let gate = Arc::new(Notify::new());
    let waiting = gate.clone();
    let (seen, mut handled) = mpsc::unbounded_channel();
    let disconnected = seen.clone();
    let gateway = Gateway::new("/")
        .on("n", move |Data(n): Data<u64>| {
            let (seen, gate) = (seen.clone(), waiting.clone());
            async move {
                if n == 1 {
                    gate.notified().await;
                }
                seen.send(n).expect("the test listens");
            }
        })
        .on_disconnect(move || {
            let disconnected = disconnected.clone();
            async move { disconnected.send(0).expect("the test listens") }
        });
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client().await;
    ada.emit("n", json!(1)).await;
    ada.send(r#"42["n",2],["n"]"#).await;
    ada.emit("n", json!(3)).await;
    // All of it is there, and waits for the first.
    let admin = Admin::of(&server.switchboard).await;
    until("the packets are queued", async || {
        admin.scrape().await.value("switchboard_events_received_total", &[]) == 3.0
    })
    .await;
    gate.notify_one();
    ada.closed().await;
    assert_eq!(within("the first", handled.recv()).await, Some(1));
    assert_eq!(within("the end", handled.recv()).await, Some(0));
    assert!(handled.try_recv().is_err());
}

#[tokio::test]
async fn sockets_do_not_wait_for_one_another() {
    let gate = Arc::new(Notify::new());
    let waiting = gate.clone();
    let gateway = Gateway::new("/").on("wait", move || {
        let gate = waiting.clone();
        async move {
            gate.notified().await;
            Reply::ack(&"opened")
        }
    });
    let server = Server::start(server(gateway)).await;
    let (mut ada, mut bob) = (server.client().await, server.client().await);
    let pending = ada.emit_asking("wait", Value::Null).await;
    assert_eq!(bob.ask("marker", Value::Null).await, Value::Null);
    gate.notify_one();
    assert_eq!(ada.acknowledged(pending).await, json!("opened"));
}

#[tokio::test]
async fn the_first_event_waits_for_the_connect_handler() {
    let gateway = Gateway::new("/")
        .on_connect(async |socket: Socket| {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            socket.set("ready", &true).expect("serializable");
        })
        .on("ready", async |socket: Socket| {
            Ok::<_, Fault>(Reply::ack(&socket.get::<bool>("ready")?.unwrap_or(false)))
        });
    let server = Server::start(server(gateway)).await;
    for _ in 0..100 {
        let mut ada = server.client().await;
        assert_eq!(ada.ask("ready", Value::Null).await, json!(true));
    }
}

#[tokio::test]
async fn replies_reach_whom_they_are_for() {
    let gateway = Gateway::new("/")
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&()))
        })
        .on("go", async |Data((target, other)): Data<(String, bool)>| {
            let reply = Reply::event("got", &target);
            let reply = match target.as_str() {
                "sender" => reply,
                "room" => reply.to("r"),
                "ada" => reply.to_user("ada"),
                "others" => reply.to_user_others(),
                "authenticated" => reply.to_authenticated(),
                "nobody" => reply.to(Vec::<String>::new()),
                _ => reply.to_all(),
            };
            let reply = if other { reply.except_sender() } else { reply };
            (reply, Reply::ack(&()))
        });
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client_of("ada").await;
    let mut ada2 = server.client_of("ada").await;
    let mut bob = server.client_of("bob").await;
    let mut guest = server.client().await;
    for member in [&mut ada, &mut guest] {
        member.ask("join", json!("r")).await;
    }
    // who hears: ada's first socket (the sender), her second, bob, the guest
    let expected = [
        ("sender", false, [1, 0, 0, 0]),
        ("sender", true, [0, 0, 0, 0]),
        ("room", false, [1, 0, 0, 1]),
        ("room", true, [0, 0, 0, 1]),
        ("ada", false, [1, 1, 0, 0]),
        ("ada", true, [0, 1, 0, 0]),
        ("others", false, [0, 1, 0, 0]),
        ("authenticated", false, [1, 1, 1, 0]),
        ("authenticated", true, [0, 1, 1, 0]),
        ("all", false, [1, 1, 1, 1]),
        ("all", true, [0, 1, 1, 1]),
        ("nobody", false, [0, 0, 0, 0]),
        ("nobody", true, [0, 0, 0, 0]),
    ];
    for (target, except, hearers) in expected {
        ada.send(format!("4299[\"go\",\"{target}\",{except}]")).await;
        ada.acknowledged(99).await;
        let mut heard = Vec::new();
        for client in [&mut ada, &mut ada2, &mut bob, &mut guest] {
            heard.push(client.heard_before("marker").await.len());
        }
        assert_eq!(heard, hearers, "{target}, except the sender: {except}");
    }
}

#[tokio::test]
async fn a_stream_of_replies_arrives_as_it_is_made_and_ends_with_its_error() {
    let go = Arc::new(Semaphore::new(0));
    let gate = go.clone();
    let gateway = Gateway::new("/").on("count", move |Data(to): Data<u32>| {
        let gate = gate.clone();
        async move {
            let items = futures_util::stream::unfold(0, move |n| {
                let gate = gate.clone();
                async move {
                    gate.acquire().await.expect("never closed").forget();
                    let item = if n == to {
                        Err(Fault::new(Code::Unavailable, "that is all"))
                    } else {
                        Ok(Reply::event("n", &n))
                    };
                    (n <= to).then_some((item, n + 1))
                }
            });
            Replies::stream(items)
        }
    });
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client().await;
    let pending = ada.emit_asking("count", json!(3)).await;
    for n in 0..3 {
        go.add_permits(1);
        assert_eq!(ada.hears("n").await, json!(n));
    }
    go.add_permits(1);
    let answer = ada.acknowledged(pending).await;
    assert_eq!(answer["error"]["code"], "unavailable");
    assert_eq!(answer["error"]["retry"], true);
}

#[tokio::test]
async fn a_stream_is_dropped_when_its_socket_leaves() {
    let alive = Arc::new(());
    let held = alive.clone();
    let gateway = Gateway::new("/").on("forever", move || {
        let held = held.clone();
        async move {
            Replies::stream(futures_util::stream::unfold(held, async |held| {
                tokio::task::yield_now().await;
                Some((Ok(Reply::event("tick", &()).volatile()), held))
            }))
        }
    });
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client().await;
    ada.emit("forever", Value::Null).await;
    ada.hears("tick").await;
    assert_eq!(Arc::strong_count(&alive), 3, "the test, the gateway, the stream");
    ada.vanish();
    until("the stream is dropped", async || Arc::strong_count(&alive) == 2).await;
}

#[tokio::test]
async fn connect_and_disconnect_handlers_run_once_for_each_socket() {
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let (on, off) = (counts.clone(), counts.clone());
    let gateway = Gateway::new("/")
        .on_connect(move || {
            on.0.fetch_add(1, Ordering::SeqCst);
            std::future::ready(())
        })
        .on_disconnect(move |socket: Socket| {
            assert!(socket.rooms().contains(&socket.id().to_string().into()));
            off.1.fetch_add(1, Ordering::SeqCst);
            std::future::ready(())
        });
    let server = Server::start(server(gateway)).await;
    for n in 0..30 {
        let client = server.client_of("ada").await;
        if n % 2 == 0 { client.close().await } else { client.vanish() }
    }
    until("all have left", async || counts.1.load(Ordering::SeqCst) == 30).await;
    assert_eq!(counts.0.load(Ordering::SeqCst), 30);
    assert_eq!(server.switchboard.socket_count(), 0);
    assert_eq!(server.switchboard.sockets_of("ada").await.unwrap(), []);
}

#[tokio::test]
async fn a_refusal_carries_its_data_and_leaves_nothing_behind() {
    let gateway = Gateway::new("/")
        .middleware(async |handshake: Handshake| {
            match handshake.auth::<Value>()?["refuse"].as_bool() {
                Some(true) => Err(Fault::forbidden("not you")),
                _ => Ok(()),
            }
        })
        .middleware(async |handshake: Handshake| {
            if handshake.auth::<Value>()?["panic"].is_null() {
                Ok::<_, Fault>(())
            } else {
                panic!("here")
            }
        });
    let server = Server::start(server(gateway)).await;
    let (_client, answer) = server.ask("/", json!({ "user": "ada", "refuse": true })).await;
    let refusal = answer.expect_err("refused");
    assert_eq!(refusal["message"], "forbidden: not you");
    assert_eq!(
        refusal["data"],
        json!({ "code": "forbidden", "message": "not you", "retry": false })
    );
    let (_client, answer) = server.ask("/", json!({ "user": "ada", "panic": 1 })).await;
    assert_eq!(answer.expect_err("refused")["data"]["code"], "internal");
    assert_eq!(server.switchboard.sockets_of("ada").await.unwrap(), []);
    assert_eq!(server.switchboard.socket_count(), 0);
}

#[tokio::test]
async fn namespaces_with_parameters_know_them_and_are_apart() {
    let gateway = Gateway::new("/chat/{room}")
        .on("where", async |socket: Socket| {
            Reply::ack(&(socket.namespace().to_owned() + "|" + socket.param("room").unwrap_or("")))
        })
        .on("shout", async |Data(text): Data<String>| {
            (Reply::event("heard", &text).to_all().except_sender(), Reply::ack(&()))
        })
        .on("marker", async || Reply::ack(&()));
    let server = Server::start(server(Gateway::new("/")).gateway(gateway)).await;
    let mut red = server.client_with("/chat/red", json!({})).await;
    let mut red2 = server.client_with("/chat/red", json!({})).await;
    let mut blue = server.client_with("/chat/blue", json!({})).await;
    assert_eq!(red.ask("where", Value::Null).await, json!("/chat/red|red"));
    red.ask("shout", json!("hi")).await;
    assert_eq!(red2.hears("heard").await, json!("hi"));
    assert_eq!(blue.heard_before("marker").await, []);
    let (_client, answer) = server.ask("/elsewhere", json!({})).await;
    assert_eq!(answer.expect_err("refused")["message"], "Invalid namespace");
}

#[tokio::test]
async fn emits_from_outside_reach_their_audience_once() {
    let server = Server::start(server(Gateway::new("/"))).await;
    let mut ada = server.client_of("ada").await;
    let mut bob = server.client_of("bob").await;
    let everybody = server.switchboard.of("/");
    everybody.clone().to_user("ada").to_authenticated().emit("x", &1).expect("emitted");
    everybody.clone().except_user("ada").emit("x", &2).expect("emitted");
    everybody.clone().to(ada.id.clone()).emit("x", &(3, "three")).expect("emitted");
    everybody.clone().emit("disconnect", &4).expect_err("a reserved name");
    everybody.clone().server_side_emit("connection", &4).expect_err("a reserved name");
    server.switchboard.of("/nobody").emit("x", &5).expect("nobody is no error");
    let numbers = |events: Vec<(String, Vec<Value>)>| -> Vec<Value> {
        events.into_iter().map(|(_, mut arguments)| arguments.swap_remove(0)).collect()
    };
    assert_eq!(numbers(ada.heard_before("marker").await), [json!(1), json!(3)]);
    assert_eq!(numbers(bob.heard_before("marker").await), [json!(1), json!(2)]);
    assert_eq!(server.switchboard.disconnect_user("ada").await.unwrap(), 1);
    ada.disconnected().await;
    assert_eq!(server.switchboard.sockets_of("ada").await.unwrap(), []);
}

#[tokio::test]
async fn a_payload_is_passed_on_as_it_came() {
    let gateway = Gateway::new("/").on("pass", async |payload: Payload| {
        let renamed = Reply::event_payload("passed", &payload).to("nobody");
        Ok::<_, Fault>((renamed, Reply::ack_payload(payload.into_ack()?)))
    });
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client().await;
    // numbers that a decoder would change, and keys in an order that it might
    let odd = r#"{"b":1.0,"a":12345678901234567890123,"é":"\u2028"}"#;
    ada.send(format!("423[\"pass\",{odd},[]]")).await;
    assert_eq!(ada.acknowledged(3).await, serde_json::from_str::<Value>(odd).expect("JSON"));
}

#[tokio::test]
async fn rooms_are_counted_as_they_are_joined_and_left() {
    let mut config = switchboard::Config::default();
    config.limits.max_rooms_per_socket = 2;
    let gateway = Gateway::new("/")
        .middleware(async |handshake: Handshake| {
            handshake.set_identity(switchboard::Identity::user("ada").with_rooms(["given"]));
            Ok::<_, Fault>(())
        })
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&socket.rooms().len()))
        })
        .on("leave", async |socket: Socket, Data(room): Data<String>| {
            socket.leave(&room);
            Reply::ack(&socket.rooms().len())
        });
    let server = Server::start(server(gateway).config(config)).await;
    let mut ada = server.client().await;
    // three rooms are the server's own: the id's, the user's, and that of the authenticated
    assert_eq!(ada.ask("join", json!("a")).await, json!(5));
    assert_eq!(ada.ask("join", json!("a")).await, json!(5), "joined already");
    assert_eq!(ada.ask("join", json!("b")).await["error"]["code"], "forbidden");
    assert_eq!(ada.ask("leave", json!("given")).await, json!(4));
    assert_eq!(ada.ask("leave", json!("given")).await, json!(4), "left already");
    assert_eq!(ada.ask("join", json!("b")).await, json!(5));
    for own in ["user:ada", "authenticated"] {
        assert_eq!(ada.ask("leave", json!(own)).await, json!(5), "{own} is not left");
    }
}

#[tokio::test]
async fn middlewares_run_in_the_order_written_and_the_first_refusal_ends_it() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let step = |name: &'static str| {
        let tell = tell.clone();
        move |handshake: Handshake| {
            tell.send(name).expect("the test listens");
            let refuse = handshake.auth::<Value>().is_ok_and(|auth| auth["refuse"] == name);
            std::future::ready(if refuse { Err(Fault::forbidden(name)) } else { Ok(()) })
        }
    };
    let gateway = Gateway::new("/").middleware(step("second")).middleware(step("third"));
    let server = Switchboard::builder().global_middleware(step("first")).gateway(gateway);
    let server = Server::start(server).await;
    let _ada = server.client().await;
    let (_bob, refused) = server.ask("/", json!({ "refuse": "second" })).await;
    assert_eq!(refused.expect_err("refused")["message"], "forbidden: second");
    let mut order = Vec::new();
    while let Ok(name) = told.try_recv() {
        order.push(name);
    }
    assert_eq!(order, ["first", "second", "third", "first", "second"]);
}

#[tokio::test]
async fn the_escape_hatch_leads_to_the_socket_itself() {
    let gateway = Gateway::new("/").on("raw", async |socket: Socket| {
        let raw = socket.raw().expect("connected");
        raw.emit("from below", &raw.ns()).expect("sent");
        raw.join("past the api");
        Reply::ack(&socket.is_in("past the api"))
    });
    let server = Server::start(server(gateway)).await;
    let mut ada = server.client().await;
    assert_eq!(ada.ask("raw", Value::Null).await, json!(true));
    assert_eq!(ada.hears("from below").await, json!("/"));
    assert_eq!(server.switchboard.raw().of("/").map(|of| of.sockets().len()), Some(1));
}

/// What socketioxide's own types do to rooms counts like everything else.
#[tokio::test]
async fn rooms_joined_and_left_past_the_api_are_known() {
    let gateway = Gateway::new("/")
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&true))
        })
        .on("raw", async |socket: Socket, Data(rooms): Data<Vec<String>>| {
            let socket = socket.raw().expect("connected");
            socket.join(rooms[0].clone());
            socket.leave(rooms[1].clone());
            Reply::ack(&true)
        })
        .on("is_in", async |socket: Socket, Data(room): Data<String>| {
            let listed = socket.rooms().iter().any(|one| *one == room);
            Reply::ack(&(socket.is_in(&room) && listed))
        });
    let server = Server::start(server(gateway)).await;
    let (mut ada, bob) = (server.client().await, server.client().await);
    ada.ask("join", json!("a")).await;
    assert_eq!(ada.ask("is_in", json!("a")).await, json!(true));
    assert_eq!(ada.ask("is_in", json!("b")).await, json!(false));
    bob.close().await;
    ada.ask("raw", json!(["b", "a"])).await;
    assert_eq!(ada.ask("is_in", json!("a")).await, json!(false));
    assert_eq!(ada.ask("is_in", json!("b")).await, json!(true));
    ada.ask("join", json!("a")).await;
    assert_eq!(ada.ask("is_in", json!("a")).await, json!(true));
}

#[tokio::test]
async fn a_socket_can_be_written_down_and_read() {
    let expires = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let identity = Identity::user("ada").with_rooms(["team"]).with_expiry(expires);
    let gateway = Gateway::new("/chat/{room}")
        .middleware(move |handshake: Handshake| {
            handshake.set_identity(identity.clone());
            std::future::ready(())
        })
        .on("record", async |socket: Socket| {
            socket.set("seen", &[1, 2])?;
            socket.join("lobby").await?;
            Ok::<_, Fault>(Reply::ack(&socket.record()))
        });
    let server = Server::start(server(gateway)).await;
    let (mut ada, id) = server.ask("/chat/1", json!({ "user": "ada" })).await;
    let written = ada.ask("record", Value::Null).await;
    let record: SocketRecord = serde_json::from_value(written.clone()).expect("it can be read");
    assert_eq!(Ok(record.id.to_string()), id);
    assert_eq!(record.namespace, "/chat/1");
    assert_eq!(record.identity.user_id().map(|user| &**user), Some("ada"));
    assert_eq!(record.identity.expires_at(), Some(expires));
    let has = |room: &str| record.rooms.iter().any(|it| it == room);
    assert!(has("team") && has("lobby") && has("user:ada") && has(record.id.as_str()));
    assert_eq!(record.data["seen"], json!([1, 2]));
    assert_eq!(serde_json::to_value(&record).expect("it can be written"), written);
}
