//! What the compiler says to a program that uses the library wrongly.
//!
//! Each program is given to the compiler with the library as cargo has built it for this test.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The library beside this test: the newest, for that is the one that the test was built with.
fn library(deps: &Path) -> PathBuf {
    let files = std::fs::read_dir(deps).expect("the folder of this test");
    let files = files.filter_map(|file| file.ok().map(|file| file.path()));
    let built = files.filter(|file| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libswitchboard-") && name.ends_with(".rlib")
    });
    let made = |file: &PathBuf| file.metadata().and_then(|file| file.modified()).expect("a date");
    built.max_by_key(made).expect("the library is built before its tests")
}

/// What the compiler says of a function with this body. `None`: it compiles.
fn refused(name: &str, body: &str) -> Option<String> {
    let test = std::env::current_exe().expect("this test");
    let deps = test.parent().expect("the folder of this test");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = format!(
        "use switchboard::*;\nstruct Own;\n#[allow(unused)]\npub fn program() {{\n{body}\n}}\n"
    );
    let file = folder.join(format!("{name}.rs"));
    std::fs::write(&file, program).expect("a file for the program");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = Command::new(compiler)
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
            "--color",
            "never",
        ])
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("--extern")
        .arg(format!("switchboard={}", library(deps).display()))
        .arg("--out-dir")
        .arg(folder)
        .arg(&file)
        .output()
        .expect("a compiler");
    let said = String::from_utf8_lossy(&compiled.stderr).into_owned();
    (!compiled.status.success()).then_some(said)
}

#[test]
fn a_program_that_is_right_compiles() {
    let body = r#"
        let gateway = Gateway::new("/")
            .middleware(async |_: Handshake| ())
            .on("a", async |_: Socket, Data(n): Data<u32>| n);
    "#;
    assert_eq!(refused("right", body), None);
}

/// It names types of other crates, and depends on this one alone.
#[test]
fn a_program_needs_no_other_crate_for_what_the_library_takes_and_gives() {
    let body = r#"
        use switchboard::{
            axum::{Router, response::Response},
            bytes::Bytes,
            futures_util::{StreamExt, stream},
            gateway::opening::{Opening, Refusal},
            http::{HeaderMap, StatusCode, Uri},
            ipnet::IpNet,
            serde_json::{Map, Value, json},
            smallvec::SmallVec,
            sockets::{IntoRooms, Room},
            tokio::io::{AsyncRead, AsyncWrite},
            tower_service::Service,
        };

        #[derive(serde::Deserialize)]
        #[serde(crate = "switchboard::serde")]
        struct Order {
            article: String,
        }

        struct Team(String);

        impl IntoRooms for Team {
            fn into_rooms(self) -> SmallVec<[Room; 1]> {
                [Room::from(self.0)].into_iter().collect()
            }
        }

        fn trusts(config: &Config) -> &[IpNet] {
            &config.edge.trusted_proxies
        }

        async fn served(server: Switchboard, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
            server.serve_connection(stream, ([192, 0, 2, 1], 1).into()).await;
        }

        fn has_seen(uri: &Uri, headers: &HeaderMap) -> bool {
            uri.path() == "/" && headers.is_empty()
        }

        let gateway = Gateway::new("/")
            .on("order", async |Data(order): Data<Order>| json!({ "article": order.article }))
            .on("bytes", async |Binary(bytes): Binary| { let bytes: Bytes = bytes; Binary(bytes) })
            .on("count", async || Replies::stream(stream::iter(1..4).map(|n| Ok(Reply::event("n", &n)))))
            .on("claims", async |socket: Socket| {
                let identity = socket.identity();
                let claims: &Map<String, Value> = identity.claims();
                claims.len()
            });
        let builder = Switchboard::builder().routes(Router::new()).gateway(gateway).allow_request(
            async |opening: Opening| {
                if has_seen(opening.uri(), opening.headers()) {
                    return Err(Refusal::from(Response::new("seen".into())));
                }
                Err::<(), _>(Refusal::new(StatusCode::GONE, "gone"))
            },
        );
    "#;
    assert_eq!(refused("alone", body), None);
}

#[test]
fn the_compiler_says_what_to_do() {
    for (name, body, words) in [
        (
            "argument",
            r#"Gateway::new("/").on("a", async |text: String| ());"#,
            &[
                "a handler of `switchboard::Event` cannot have a parameter of the type `std::string::String`",
                "arguments of an event are `Data<T>`",
                "what the program gave the server by `Builder::state` is `State<T>`",
            ][..],
        ),
        (
            "reason",
            r#"
                use switchboard::gateway::handler::DisconnectReason;
                Gateway::new("/").on("a", async |_: Socket, why: DisconnectReason| ());
            "#,
            &[
                "a handler of `switchboard::Event` cannot have a parameter of the type `DisconnectReason`",
            ],
        ),
        (
            "data",
            r#"Gateway::new("/").on_connect(async |Data(n): Data<u32>| ());"#,
            &[
                "a handler of `Connect` has no arguments",
                "what a client says when it connects is `Handshake::auth`",
            ],
        ),
        (
            "result",
            r#"Gateway::new("/").on("a", async || Own);"#,
            &[
                "`Own: serde::Serialize` is not satisfied",
                "for local types consider adding `#[derive(serde::Serialize)]`",
            ],
        ),
        (
            "middleware",
            r#"Gateway::new("/").middleware(async |_: Handshake| true);"#,
            &["this handler cannot return `bool`", "a middleware returns `()` or `Result<(), E>`"],
        ),
        (
            "handler",
            r#"Gateway::new("/").on("a", 7);"#,
            &["`{integer}` is no handler", "a handler is an async function or closure"],
        ),
        (
            "rooms",
            "async fn enter(socket: Socket) { _ = socket.join(7).await; }",
            &["`{integer}` names no rooms"],
        ),
        (
            "targets",
            r#"Reply::event("a", &1).to(7);"#,
            &["`{integer}` names neither rooms nor sockets", "named by `to_user`"],
        ),
        (
            "presence",
            r"Switchboard::builder().on_presence(async |_: Socket| ());",
            &["a handler of `PresenceChange` has no socket", "ask for `Switchboard` instead"],
        ),
        (
            "opening",
            r"Switchboard::builder().allow_request(async |_: gateway::opening::Opening| 403);",
            &["this handler cannot return `{integer}`", "its `E` may be a `Refusal`"],
        ),
        (
            "interceptor",
            r#"Gateway::new("/").intercept(interceptor::from_fn(async |event: Event| event));"#,
            &[
                "is no function for an interceptor",
                "async |event: Event, rest: Rest| rest.run(event).await",
            ],
        ),
        (
            "not_from_fn",
            r#"Gateway::new("/").intercept(async |event: Event, rest: interceptor::Rest| rest.run(event).await);"#,
            &["is no interceptor", "a function becomes one by `interceptor::from_fn("],
        ),
        (
            "state_without_clone",
            r#"Gateway::new("/").on("a", async |_: State<Own>| ());"#,
            &["`Own: Clone` is not satisfied"],
        ),
        (
            "intercepted",
            r#"
                use switchboard::interceptor::{Rest, from_fn};
                Gateway::new("/").intercept(from_fn(async |_: String, rest: Rest| ()));
            "#,
            &["is no function for an interceptor", "what a handler of events may ask for"],
        ),
        (
            "between_servers",
            r#"Gateway::new("/").on_server_side("a", async |_: Socket| ());"#,
            &["a handler of `ServerSide` has no socket"],
        ),
    ] {
        let said = refused(name, body).unwrap_or_else(|| panic!("{name} compiles"));
        for words in words {
            assert!(said.contains(words), "{name}: {words:?} is missing in:\n{said}");
        }
    }
}
