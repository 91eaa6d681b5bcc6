//! The whole server in memory, with clients: no port, no Redis.

use serde_json::{Value, json};
use switchboard::{
    Config,
    auth::sign_hs256,
    testing::{Client, Server},
};

use my_service::{Task, Tasks, server};

const SECRET: &str = "only for these tests, and long enough";

async fn start() -> Server {
    let mut config = Config::default();
    config.auth.hs256_secret = [SECRET].into_iter().collect();
    Server::start(server(config, Tasks::default()).expect("the keys are usable")).await
}

fn token(claims: Value) -> String {
    let claims = claims.as_object().expect("claims are an object");
    sign_hs256(claims, SECRET.as_bytes())
}

async fn member(server: &Server, user: &str, team: &str) -> Client {
    let token = token(json!({ "sub": user, "team": team }));
    let connecting = server.connect().token(&token);
    connecting.await.expect("members may enter")
}

#[tokio::test]
async fn a_task_reaches_the_team_and_nobody_else() {
    let server = start().await;
    let ada = member(&server, "ada", "kitchen").await;
    let bob = member(&server, "bob", "kitchen").await;
    let eve = member(&server, "eve", "cellar").await;

    let task: Task = ada.ask("task:add", " peel potatoes ").await;
    assert_eq!((&*task.title, &*task.by), ("peel potatoes", "ada"));
    assert_eq!(bob.hears::<Task>("task:added").await, task);
    assert_eq!(bob.ask::<Vec<Task>>("task:list", &()).await, [task]);

    // Her answer comes after whatever was sent to her before.
    assert_eq!(eve.ask::<Vec<Task>>("task:list", &()).await, []);
    assert!(eve.heard().is_empty());
}

#[tokio::test]
async fn a_task_needs_a_title() {
    let server = start().await;
    let ada = member(&server, "ada", "kitchen").await;
    for title in [json!("  "), json!("x".repeat(201)), json!(7)] {
        let refused: Value = ada.ask("task:add", &title).await;
        assert_eq!(refused["error"]["code"], "bad_request", "{title}");
    }
}

#[tokio::test]
async fn nobody_enters_without_a_token_that_names_a_team() {
    let server = start().await;
    let refused = server.connect().token("nonsense").await.unwrap_err();
    assert_eq!(refused.data["code"], "unauthorized");
    let without_team = token(json!({ "sub": "ada" }));
    let refused = server.connect().token(&without_team).await.unwrap_err();
    assert_eq!(refused.message, "forbidden: the token names no team");
}
