//! The command line without a process.

use switchboard::{Jwt, config::DEV_SECRET};

use super::*;

fn run_in(env: &[(&str, &str)], args: &[&str]) -> Command {
    let args = std::iter::once(&"switchboard").chain(args).map(Into::into);
    let env = env.iter().map(|(name, value)| (name.into(), value.into()));
    parse(args.collect::<Vec<_>>(), env.collect::<Vec<_>>())
}

fn answer(args: &[&str]) -> Answer {
    match run_in(&[], args) {
        Command::Done(answer) => answer,
        other => panic!("does not answer: {other:?}"),
    }
}

/// The message of a call that is refused.
fn refusal(args: &[&str]) -> String {
    let answer = answer(args);
    assert_eq!((answer.code, answer.data.as_str()), (exit::USAGE, ""), "{answer:?}");
    answer.messages
}

fn served(env: &[(&str, &str)], args: &[&str]) -> ServeArgs {
    match run_in(env, args) {
        Command::Serve(args) => *args,
        other => panic!("does not serve: {other:?}"),
    }
}

#[test]
fn no_command_is_serve() {
    for args in [&["--workers", "3"][..], &["serve", "--workers", "3"]] {
        assert_eq!(served(&[], args).loaded.config.workers, 3);
    }
    assert!(!served(&[], &[]).dev);
}

#[test]
fn every_flag_reaches_its_setting() {
    let args = [
        "--listen",
        "127.0.0.1:1",
        "--path",
        "/x/",
        "--node-id",
        "eu-1",
        "--workers",
        "2",
        "--log-level",
        "debug",
        "--log-format",
        "json",
    ];
    let config = served(&[("SWITCHBOARD_PATH", "/env/"), ("PORT", "9")], &args).loaded.config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:1");
    assert_eq!((config.path.as_str(), config.node_id.as_deref()), ("/x/", Some("eu-1")));
    assert_eq!(config.log.level.as_str(), "debug");
    assert_eq!(config.log.format, switchboard::config::LogFormat::Json);
}

#[test]
fn development_is_marked_and_local() {
    let args = served(&[], &["--dev", "--listen", "0.0.0.0:4000"]);
    assert!(args.dev);
    assert_eq!(args.loaded.config.listen.to_string(), "127.0.0.1:4000");
}

#[test]
fn the_configuration_is_shown_as_data() {
    let shown = answer(&["config", "--path", "/x/"]);
    assert_eq!((shown.code, shown.messages.as_str()), (exit::FINE, ""));
    assert!(shown.data.contains("path = \"/x/\""), "{}", shown.data);
    assert!(refusal(&["config", "--path", "x", "--workers", "y"]).lines().count() == 2);
}

#[test]
fn a_key_that_cannot_be_used_is_bad_configuration() {
    let env = [("SWITCHBOARD_AUTH__JWKS_URL", "http://id.example/")];
    let Command::Done(answer) = run_in(&env, &["serve"]) else { panic!("serves") };
    assert_eq!(answer.code, exit::USAGE);
    assert!(answer.messages.starts_with("error: auth.jwks_url: must start with https://"));
}

#[tokio::test]
async fn a_token_is_what_the_server_accepts() {
    let args = [
        "token",
        "--dev",
        "--user",
        "alice",
        "--rooms",
        "a,b",
        "--claim",
        "plan=\"pro\"",
        "--claim",
        "may_join=[\"team:*\"]",
    ];
    let token = answer(&args).data;
    let identity = Jwt::hs256(DEV_SECRET).verify(token.trim_end()).await.unwrap();
    assert_eq!(identity.user_id().map(|id| &**id), Some("alice"));
    assert_eq!(identity.rooms(), ["a", "b"]);
    assert!(identity.may_join()[0].matches("team:x"));
    let claims = identity.claims();
    assert_eq!(claims["plan"], "pro");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
}

#[tokio::test]
async fn a_token_follows_the_settings() {
    let env = [
        ("SWITCHBOARD_AUTH__HS256_SECRET", "new,old"),
        ("SWITCHBOARD_AUTH__AUDIENCE", "chat"),
        ("SWITCHBOARD_AUTH__ISSUER", "https://id.example"),
        ("SWITCHBOARD_AUTH__USER_CLAIM", "uid"),
    ];
    let Command::Done(answer) = run_in(&env, &["token", "--user", "alice", "--ttl", "90s"]) else {
        panic!("serves")
    };
    let jwt = Jwt::hs256("new").audience("chat").issuer("https://id.example").user_claim("uid");
    let identity = jwt.verify(answer.data.trim_end()).await.unwrap();
    assert_eq!(identity.claims()["uid"], "alice");
    assert!(!identity.claims().contains_key("sub"));
}

#[test]
fn a_token_without_a_secret_or_with_bad_claims_is_refused() {
    assert!(refusal(&["token", "--user", "a"]).contains("auth.hs256_secret: not set"));
    let refused = |more: &[&str]| refusal(&[&["token", "--dev", "--user", "a"], more].concat());
    assert!(refused(&["--claim", "plan=pro"]).contains("`plan` is not JSON"));
    assert!(refused(&["--claim", "plan"]).contains("not of the form key=json"));
    for key in ["sub", "exp", "rooms"] {
        assert!(refused(&["--claim", &format!("{key}=1")]).contains("is decided by"), "{key}");
    }
    assert!(refused(&["--claim", "a=1", "--claim", "a=2"]).contains("given twice"));
    assert!(refused(&["--claim", "may_join=1"]).contains("may_join must be a list"));
    assert!(refused(&["--ttl", "1"]).contains("--ttl: `1` is not a duration"));
    assert!(refused(&["--ttl", "0s"]).contains("at least 1s"));
    assert!(refusal(&["token", "--dev", "--user", ""]).contains("no user id"));
    assert!(refusal(&["token", "--dev"]).contains("--user"));
}

#[test]
fn an_emit_is_checked_before_it_is_refused() {
    let ready = ["emit", "--room", "lobby", "news", "{\"a\":1}", "-5", "\"text\""];
    assert!(refusal(&ready).starts_with("error: redis.url: not set"));
    for target in [&["--user", "a"][..], &["--all"], &["--authenticated"]] {
        assert!(refusal(&[&["emit"], target, &["news"]].concat()).contains("redis.url: not set"));
    }
    assert!(refusal(&["emit", "news"]).contains("--user"));
    assert!(refusal(&["emit", "--all", "--room", "a", "news"]).contains("cannot be used with"));
    for event in switchboard::names::events::RESERVED_EVENTS {
        assert!(refusal(&["emit", "--all", event]).contains("keeps for itself"), "{event}");
    }
    assert!(refusal(&["emit", "--all", "news", "{"]).contains("is not JSON"));
    assert!(refusal(&["emit", "--all", "--namespace", "x", "news"]).contains("not a namespace"));
}

#[test]
fn help_and_version_are_data_everywhere() {
    for command in [&[][..], &["serve"], &["token"], &["config"], &["emit"]] {
        for flag in ["--help", "--version"] {
            let answer = answer(&[command, &[flag]].concat());
            assert_eq!(answer.code, exit::FINE, "{command:?} {flag}");
            assert!(answer.data.contains("switchboard"), "{command:?} {flag}: {answer:?}");
        }
    }
    assert!(refusal(&["--nonsense"]).contains("--nonsense"));
}

#[test]
fn tables_are_those_of_a_store() {
    let Command::Done(refused) = run_in(&[], &["migrate"]) else { panic!("migrates nothing") };
    assert_eq!(refused.code, exit::USAGE);
    assert!(refused.messages.starts_with("error: store.url: not set"), "{}", refused.messages);
    let Command::Done(refused) =
        run_in(&[("POSTGRES_URL", "postgres://u:s3cret@h:x")], &["migrate"])
    else {
        panic!("that is no URL")
    };
    assert_eq!(refused.code, exit::USAGE);
    assert!(refused.messages.starts_with("error: store.url: is no URL of Postgres"));
    assert!(!refused.messages.contains("s3cret"), "{}", refused.messages);
    let of_libpq = [("SWITCHBOARD_STORE__URL", "postgres://"), ("PGHOST", "db"), ("PGUSER", "app")];
    let Command::Migrate(config) = run_in(&of_libpq, &["migrate"]) else { panic!("it is a URL") };
    assert_eq!(config.store.url.map(|url| url.to_string()).as_deref(), Some("postgres://***@db"));
    // The URL of something else is no store as long as none is needed.
    let Command::Serve(args) = run_in(&[("PGHOST", "db")], &["serve"]) else { panic!("serves") };
    assert_eq!(args.loaded.config.store.url, None);
}
