//! What a program says to the inbox: replies that are kept, and messages from anywhere.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use switchboard::{
    Code, Config, Data, Fault, Gateway, Handshake, Identity, Reply, Switchboard,
    config::{AdminUi, SecretUrl},
    server::Builder,
    testing::{Client, Server},
};

const HOUR: Duration = Duration::from_secs(3600);

fn with(change: impl FnOnce(&mut Config)) -> Builder {
    let config = Config::with(|config| {
        config.store.url = Some(SecretUrl::new("sqlite::memory:"));
        config.inbox.enabled = true;
        change(config);
    });
    let identify = async |handshake: Handshake| {
        if let Some(user) = handshake.query().get("user") {
            handshake.set_identity(Identity::user(user));
        }
        Ok::<_, Fault>(())
    };
    let gateway = Gateway::new("/")
        .middleware(identify)
        .on("tell", async |Data((who, what)): Data<(String, String)>| {
            [Reply::event("told", &what).to_user(who).kept(HOUR), Reply::ack(&"kept")]
        })
        .on("note", async |Data(what): Data<String>| {
            (Reply::event("noted", &what).kept(HOUR), Reply::ack(&"kept"))
        })
        .on("shout", async |Data(what): Data<String>| {
            (Reply::event("shouted", &what).to("lobby").kept(HOUR), Reply::ack(&"kept"))
        });
    Switchboard::builder().config(config).gateway(gateway)
}

async fn enters(server: &Server, user: &str) -> Client {
    server.connect().query("user", user).await.expect("everybody may enter")
}

#[tokio::test]
async fn a_reply_is_kept_and_the_acknowledgement_says_so() {
    let server = Server::start(with(|_| ())).await;
    let ada = enters(&server, "ada").await;
    assert_eq!(ada.ask::<String>("tell", &("bob", "one")).await, "kept");
    assert_eq!(ada.ask::<String>("tell", &("bob", "two")).await, "kept");
    let bob = enters(&server, "bob").await;
    for expected in ["one", "two"] {
        let asked = bob.asked::<String>("told").await;
        assert_eq!(asked.data, expected);
        asked.answer(&());
    }
    assert_eq!(ada.ask::<String>("note", "mine").await, "kept");
    assert_eq!(ada.asked::<String>("noted").await.data, "mine");
}

/// The code of the error that is the answer.
async fn code(client: &Client, event: &str, data: &(impl Serialize + ?Sized)) -> String {
    let answer: Value = client.ask(event, data).await;
    answer["error"]["code"].as_str().unwrap_or("none").to_owned()
}

#[tokio::test]
async fn a_reply_that_cannot_be_kept_is_a_fault() {
    let server = Server::start(with(|config| config.inbox.max_messages = 1)).await;
    let ada = enters(&server, "ada").await;
    assert_eq!(ada.ask::<String>("tell", &("bob", "one")).await, "kept");
    assert_eq!(code(&ada, "tell", &("bob", "two")).await, "too_many_messages");
    assert_eq!(code(&ada, "shout", "hello").await, "internal", "a room is no user");
    let guest = server.connect().await.expect("everybody may enter");
    assert_eq!(code(&guest, "note", "hello").await, "internal", "nobody can come back for it");
}

#[tokio::test]
async fn it_has_no_say_in_the_namespace_of_the_admin_ui() {
    let builder = with(|_| ()).admin_ui(AdminUi::new("ops", "correct horse battery"));
    let server = Server::start(builder).await;
    let auth = json!({ "username": "ops", "password": "correct horse battery", "device": 7 });
    let refused = server.connect().auth(&auth).await.expect_err("this is no device");
    assert!(refused.message.starts_with("bad_request: auth.device"), "{refused:?}");
    let page = server.connect().namespace("/admin").auth(&auth).await.expect("nobody asks for one");
    page.hears::<Value>("config").await;
}

#[tokio::test]
async fn a_program_keeps_messages_and_takes_them_back() {
    let server = Server::start(with(|_| ())).await;
    let inbox = server.inbox().expect("it is enabled");
    let first = inbox.to("bob").id("a").keep("note", &1).await.expect("it is kept");
    let again = inbox.to("bob").id("a").keep("note", &2).await.expect("it is known");
    assert_eq!((first.seq, first.is_new, again.seq, again.is_new), (1, true, 1, false));
    let second = inbox.to("bob").keep("note", &2).await.expect("it is kept");
    assert!(!second.id.is_empty());
    assert!(inbox.delete("bob", "a").await.expect("the store answers"));
    assert!(!inbox.delete("bob", "a").await.expect("the store answers"));
    let bob = enters(&server, "bob").await;
    assert_eq!(bob.asked::<u8>("note").await.data, 2);
    assert_eq!(inbox.clear("bob").await, Ok(1));
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_by_name() {
    let server = Server::start(with(|config| config.inbox.max_bytes = 500)).await;
    let inbox = server.inbox().expect("it is enabled");
    let refused = async |message: switchboard::inbox::ForUser, event: &str| {
        let fault = message.keep(event, &()).await.expect_err("it makes no sense");
        assert_eq!(fault.code(), Code::BadRequest);
        fault.message().split(':').next().unwrap_or_default().to_owned()
    };
    assert_eq!(refused(inbox.to(""), "note").await, "user");
    assert_eq!(refused(inbox.to("a\0"), "note").await, "user");
    assert_eq!(refused(inbox.to("bob").id(""), "note").await, "id");
    assert_eq!(refused(inbox.to("bob").collapse("x".repeat(513)), "note").await, "collapse");
    assert_eq!(refused(inbox.to("bob").namespace("chat"), "note").await, "namespace");
    assert_eq!(refused(inbox.to("bob").ttl(Duration::ZERO), "note").await, "ttl");
    assert_eq!(refused(inbox.to("bob").ttl(31 * 24 * HOUR), "note").await, "ttl");
    assert_eq!(refused(inbox.to("bob"), "").await, "event");
    assert_eq!(refused(inbox.to("bob"), "a\0b").await, "event");
    assert!(refused(inbox.to("bob"), "connect").await.contains("reserved"));
    let large = inbox.to("bob").keep("note", &"x".repeat(600)).await.expect_err("it is too large");
    assert_eq!(large.code(), Code::TooLarge);
}
