//! Who may use the admin port, how it refuses, and what it says of itself.

mod support;

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::json;
use support::{Server, admin::Admin, within};
use switchboard::{
    Config, Gateway, Switchboard,
    config::{RoomHistory, SecretUrl, Secrets},
    server::ServeError,
};

async fn start(config: Config) -> (Server, Admin) {
    let builder = Switchboard::builder().config(config).gateway(Gateway::new("/"));
    let server = Server::start(builder).await;
    let admin = Admin::of(&server.switchboard).await;
    (server, admin)
}

#[tokio::test]
async fn a_key_opens_the_api_and_can_be_changed() {
    let keys = |keys: &[&str]| keys.iter().copied().collect::<Secrets>();
    let mut config = Config::default();
    config.admin.api_keys = keys(&["first-key", "second-key"]);
    let (server, admin) = start(config).await;
    let get = async |authorization: Option<&str>, path: &str| {
        let mut request = admin.request(Method::GET, path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        admin.send(request).await
    };
    let none = get(None, "/api/v1/users").await;
    assert_eq!(none.problem(), (401, "unauthorized"));
    assert_eq!(none.headers["www-authenticate"], "Bearer realm=\"switchboard\"");
    for wrong in ["Bearer first-ke", "Bearer first-key2", "Bearer ", "Basic first-key", "first-key"]
    {
        let answer = get(Some(wrong), "/api/v1/users").await;
        assert_eq!(answer.problem(), (401, "unauthorized"), "{wrong}");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        assert!(!answer.text.contains("first-key"), "{wrong}");
    }
    for path in ["/api/v1/nothing", "/api/v1/openapi.json", "/api/v1/emit"] {
        assert_eq!(get(None, path).await.problem().0, 401, "{path}");
    }
    for right in ["Bearer first-key", "bearer second-key"] {
        assert_eq!(get(Some(right), "/api/v1/users").await.status, StatusCode::OK, "{right}");
    }
    assert_eq!(get(None, "/metrics").await.status, StatusCode::OK, "scraped without a key");

    let mut config = Config::default();
    config.admin.api_keys = keys(&["third-key"]);
    server.switchboard.reload(&config).unwrap();
    assert_eq!(get(Some("Bearer first-key"), "/api/v1/users").await.problem().0, 401);
    assert_eq!(get(Some("Bearer third-key"), "/api/v1/users").await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_keys_only_programs_of_this_host_come_in() {
    let (server, admin) = start(Config::default()).await;
    let exposed = server.switchboard.bind_admin("0.0.0.0:0".parse().unwrap()).await;
    assert!(matches!(exposed.err(), Some(ServeError::AdminKeys(_))));
    let with = async |header: &str, value: &str| {
        let request = admin.request(Method::POST, "/api/v1/rooms/x/disconnect");
        admin.send(request.header(header, value)).await
    };
    assert_eq!(with("origin", "https://evil.example").await.problem(), (403, "forbidden"));
    assert_eq!(with("origin", "null").await.problem(), (403, "forbidden"));
    assert_eq!(with("host", "evil.example:3001").await.problem(), (403, "forbidden"));
    assert_eq!(with("host", "localhost:3001").await.status, StatusCode::OK);

    let taken = server.switchboard.bind_admin(admin.address).await;
    let error = taken.err().expect("it is taken").to_string();
    assert!(error.contains("admin_listen"), "{error}");
}

#[tokio::test]
async fn every_refusal_has_its_status_and_one_form() {
    let (_server, admin) = start(Config::default()).await;
    let send = async |request: reqwest::RequestBuilder| admin.send(request).await;
    let request = |method: Method, path: &str| admin.request(method, path);
    for path in ["/", "/api/v1", "/api/v1/", "/api/v2/users", "/api/v1/users/a/b/c", "/metrics/x"] {
        let answer = send(request(Method::GET, path)).await;
        assert_eq!(answer.problem(), (404, "bad_request"), "{path}");
    }
    for (method, path) in [
        (Method::GET, "/api/v1/emit"),
        (Method::DELETE, "/api/v1/users/ada"),
        (Method::PUT, "/api/v1/nodes"),
        (Method::POST, "/metrics"),
    ] {
        let answer = send(request(method, path)).await;
        assert_eq!(answer.problem(), (405, "bad_request"), "{path}");
        assert!(answer.headers.contains_key("allow"), "{path}");
    }
    let emit = || request(Method::POST, "/api/v1/emit");
    let body = r#"{"all":true,"event":"e"}"#;
    assert_eq!(send(emit().body(body)).await.problem(), (415, "bad_request"));
    let text = emit().header("content-type", "text/plain").body(body);
    assert_eq!(send(text).await.problem(), (415, "bad_request"));
    let of_json = |body: String| emit().header("content-type", "application/json").body(body);
    for body in ["{", "[]", "null", r#"["/",[],[],[],false,true,[],[],"e"]"#, "{\"all\":1}"] {
        assert_eq!(send(of_json(body.into())).await.problem(), (400, "bad_request"), "{body}");
    }
    let charset = emit().header("content-type", "Application/JSON; charset=utf-8").body(body);
    assert_eq!(send(charset).await.status, StatusCode::ACCEPTED);

    let padded = |bytes: usize| format!("{body}{}", " ".repeat(bytes - body.len()));
    assert_eq!(send(of_json(padded(1 << 20))).await.status, StatusCode::ACCEPTED);
    let answer = send(of_json(padded((1 << 20) + 1))).await;
    assert_eq!(answer.problem(), (413, "too_large"));
    assert_eq!(answer.message(), "a body has 1048576 bytes at most");
    assert_eq!(raw(&admin, &chunked(&padded((1 << 20) + 1))).await, 413);
    assert_eq!(raw(&admin, &chunked(body)).await, 202);
    let answer = send(request(Method::GET, "/api/v1/users/%FF")).await;
    assert_eq!(answer.problem(), (400, "bad_request"));
}

fn chunked(body: &str) -> String {
    format!(
        "POST /api/v1/emit HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    )
}

/// The status that a request as bytes is answered with.
async fn raw(admin: &Admin, request: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(admin.address).await.unwrap();
    // The answer may come before everything is written.
    let (mut read, mut write) = stream.split();
    let mut head = [0; 12];
    let (_, answered) = within("an answer", async {
        tokio::join!(write.write_all(request.as_bytes()), read.read_exact(&mut head))
    })
    .await;
    answered.expect("an answer");
    String::from_utf8_lossy(&head)[9..].parse().expect("a status")
}

#[tokio::test]
async fn the_description_names_what_there_is() {
    let (_server, admin) = start(Config::with(|config| {
        config.store.url = Some(SecretUrl::new("sqlite::memory:"));
        config.inbox.enabled = true;
        config.rooms.history = vec![RoomHistory::of("room".parse().unwrap())];
    }))
    .await;
    let document = admin.get("/openapi.json").await.with(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            described.insert(format!("{} {path}", method.to_uppercase()));
            assert!(operation["summary"].is_string(), "{path} says what it is for");
            let method: Method = method.to_uppercase().parse().unwrap();
            let request = admin.request(method, &path.replace(['{', '}'], ""));
            let status = admin.send(request).await.status.as_u16();
            assert!(![404, 405, 500].contains(&status), "{path}: {status}");
        }
    }
    let expected = [
        "DELETE /api/v1/users/{id}/inbox",
        "DELETE /api/v1/users/{id}/inbox/{message}",
        "GET /api/v1/nodes",
        "GET /api/v1/rooms/{room}",
        "GET /api/v1/rooms/{room}/history",
        "GET /api/v1/users",
        "GET /api/v1/users/{id}",
        "GET /api/v1/users/{id}/inbox",
        "POST /api/v1/batch",
        "POST /api/v1/emit",
        "POST /api/v1/rooms/{room}/disconnect",
        "POST /api/v1/users/online",
        "POST /api/v1/users/{id}/disconnect",
        "POST /api/v1/users/{id}/inbox",
        "POST /api/v1/users/{id}/join",
        "POST /api/v1/users/{id}/leave",
    ];
    assert_eq!(described.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    let emit = &document["components"]["schemas"]["EmitRequest"];
    assert_eq!(emit["required"], json!(["event"]));
    assert_eq!(emit["additionalProperties"], json!(false), "{emit}");
    assert_eq!(emit["properties"].as_object().unwrap().len(), 13);
    let problem = &document["components"]["schemas"]["Problem"]["properties"];
    assert_eq!(problem.as_object().unwrap().keys().collect::<Vec<_>>(), ["error"]);
    assert_eq!(document["components"]["securitySchemes"]["api_key"]["scheme"], json!("bearer"));
}
