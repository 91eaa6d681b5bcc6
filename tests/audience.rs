//! One vocabulary: the same words name the same sockets, for a reply, a socket and an emitter.

mod support;

use serde_json::{Value, json};
use support::{Client, Server, by_name};
use switchboard::{
    Data, Fault, Gateway, Reply, Socket, Switchboard,
    sockets::{Target, emitter::Emitter},
};

/// Says the words of an audience to whatever understands them.
macro_rules! named {
    ($it:expr, $words:expr) => {
        match $words {
            "one room" => $it.to("red"),
            "two rooms" => $it.to(["red", "blue"]),
            "one room, then another" => $it.to("red").to("blue"),
            "no room" => $it.to(Vec::<String>::new()),
            "a user" => $it.to_user("ada"),
            "a user or a room" => $it.to_user("ada").to("blue"),
            "users" => $it.to_authenticated(),
            "targets" => $it.to(Target::Authenticated).to([Target::Room("blue".into())]),
            "users, not a room" => $it.to_authenticated().except("red"),
            "users, not two rooms" => $it.to_authenticated().except(["red", "blue"]),
            "users, not one" => $it.to_authenticated().except_user("ada"),
            "here" => $it.to("red").local(),
            other => panic!("{other}"),
        }
    };
}

/// Who hears it, of Ada's first socket, her second, Bob and a guest. Ada is in the red room with her
/// first socket, Bob in the blue one, the guest in both.
const HEARD: [(&str, [bool; 4]); 12] = {
    const YES: bool = true;
    const NO: bool = false;
    [
        ("one room", [YES, NO, NO, YES]),
        ("two rooms", [YES, NO, YES, YES]),
        ("one room, then another", [YES, NO, YES, YES]),
        ("no room", [NO, NO, NO, NO]),
        ("a user", [YES, YES, NO, NO]),
        ("a user or a room", [YES, YES, YES, YES]),
        ("users", [YES, YES, YES, NO]),
        ("targets", [YES, YES, YES, YES]),
        ("users, not a room", [NO, YES, YES, NO]),
        ("users, not two rooms", [NO, YES, NO, NO]),
        ("users, not one", [NO, NO, YES, NO]),
        ("here", [YES, NO, NO, YES]),
    ]
};

fn of_socket(socket: &Socket, words: &str) -> Emitter {
    match words {
        "broadcast" => socket.broadcast(),
        "except" => socket.except("red"),
        "except a user" => socket.except_user("bob"),
        "local" => socket.local(),
        "volatile" => socket.volatile(),
        "volatile, to a room" => socket.volatile().to("red"),
        "volatile, not a user" => socket.volatile().except_user("bob"),
        words => named!(socket, words),
    }
}

/// Four clients, in the order in which [`HEARD`] names them.
async fn clients() -> (Server, [Client; 4]) {
    let gateway = Gateway::new("/")
        .on("join", async |socket: Socket, Data((rooms,)): Data<(Vec<String>,)>| {
            socket.join(rooms).await
        })
        .on("reply", async |Data(words): Data<String>| {
            (named!(Reply::event("heard", &words), &*words), Reply::ack(&()))
        })
        .on("socket", async |socket: Socket, Data(words): Data<String>| {
            of_socket(&socket, &words).emit("heard", &words).map_err(Fault::from)?;
            Ok::<_, Fault>(Reply::ack(&()))
        })
        .on("emitter", async |server: Switchboard, Data(words): Data<String>| {
            let emitter = named!(server.of("/"), &*words);
            emitter.emit("heard", &words)?;
            Ok::<_, Fault>(Reply::ack(&()))
        })
        .on("marker", async || Reply::ack(&()));
    let builder = Switchboard::builder().global_middleware(by_name).gateway(gateway);
    let server = Server::start(builder).await;
    let mut clients = [
        server.client_of("ada").await,
        server.client_of("ada").await,
        server.client_of("bob").await,
        server.client().await,
    ];
    for (at, rooms) in
        [(0, json!([["red"]])), (2, json!([["blue"]])), (3, json!([["red", "blue"]]))]
    {
        let rooms = rooms[0].clone();
        clients[at].send(format!("425{}", json!(["join", rooms]))).await;
        clients[at].ask("marker", Value::Null).await;
    }
    (server, clients)
}

async fn hear(clients: &mut [Client; 4], how: &str, words: &str) -> [bool; 4] {
    clients[0].send(format!("4299{}", json!([how, words]))).await;
    assert_eq!(clients[0].acknowledged(99).await, Value::Null, "{how}: {words}");
    let mut heard = [false; 4];
    for (at, client) in clients.iter_mut().enumerate() {
        let count = client.heard_before("marker").await.len();
        assert!(count <= 1, "{how}: {words}: an event comes once");
        heard[at] = count == 1;
    }
    heard
}

#[tokio::test]
async fn the_same_words_name_the_same_sockets() {
    let (_server, mut clients) = clients().await;
    for (words, heard) in HEARD {
        assert_eq!(hear(&mut clients, "emitter", words).await, heard, "emitter: {words}");
        assert_eq!(hear(&mut clients, "reply", words).await, heard, "reply: {words}");
        // A socket leaves itself out, as in Node.js.
        let [_, rest @ ..] = heard;
        let [itself, others @ ..] = hear(&mut clients, "socket", words).await;
        assert_eq!((itself, others), (false, rest), "socket: {words}");
    }
}

#[tokio::test]
async fn a_socket_speaks_to_all_others_or_to_itself() {
    let (_server, mut clients) = clients().await;
    for (words, heard) in [
        ("broadcast", [false, true, true, true]),
        ("except", [false, true, true, false]),
        ("except a user", [false, true, false, true]),
        ("local", [false, true, true, true]),
        ("volatile", [true, false, false, false]),
        ("volatile, to a room", [false, false, false, true]),
        ("volatile, not a user", [false, true, false, true]),
    ] {
        assert_eq!(hear(&mut clients, "socket", words).await, heard, "{words}");
    }
}
