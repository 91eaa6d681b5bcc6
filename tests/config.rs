//! Loading: which source wins, what is refused, and that secrets stay hidden.
#![cfg(feature = "config-file")]

use std::{ffi::OsString, path::PathBuf, time::Duration};

use switchboard::config::{
    AdminUi, AdminUiMode, AuthMode, Config, DEV_SECRET, Legacy, Loaded, Parser, Sources, load,
};

const LONG: &str = "a-secret-of-more-than-thirty-two-bytes";

/// A file that this test alone uses.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the directory for test files is writable");
    path
}

fn env<const N: usize>(variables: [(&str, &str); N]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn config(sources: &Sources) -> Config {
    loaded(sources).config
}

fn loaded(sources: &Sources) -> Loaded {
    load(sources).unwrap_or_else(|errors| panic!("refused:\n{errors}"))
}

fn problems(sources: &Sources) -> Vec<String> {
    let errors = load(sources).expect_err("accepted");
    errors.problems().iter().map(ToString::to_string).collect()
}

fn problem(sources: &Sources) -> String {
    let mut all = problems(sources);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn from_env<const N: usize>(variables: [(&str, &str); N]) -> Sources {
    Sources::new().env(env(variables))
}

#[test]
fn without_any_source_the_defaults_hold() {
    let loaded = loaded(&Sources::new());
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let path = file("precedence.toml", "path = '/file/'\n[limits]\nmax_connections = 1\n");
    let mut sources = Sources::new().file(path);
    assert_eq!(config(&sources).path, "/file/");
    assert_eq!(config(&sources).limits.max_connections, 1);
    sources = sources.env(env([("SWITCHBOARD_PATH", "/env/")]));
    assert_eq!(config(&sources).path, "/env/");
    assert_eq!(config(&sources).limits.max_connections, 1);
    sources = sources.flag("--path", "path", "/flag/");
    assert_eq!(config(&sources).path, "/flag/");
}

#[test]
fn port_is_the_port_of_listen_above_the_file_and_below_the_full_name() {
    let path = file("port.toml", "listen = '127.0.0.5:1000'\n");
    let sources = Sources::new().file(path).env(env([("PORT", "2000")]));
    assert_eq!(config(&sources).listen.to_string(), "127.0.0.5:2000");
    let sources = sources.env(env([("SWITCHBOARD_LISTEN", "127.0.0.6:3000")]));
    assert_eq!(config(&sources).listen.to_string(), "127.0.0.6:3000");
    let sources = sources.flag("--listen", "listen", "[::1]:4000");
    assert_eq!(config(&sources).listen.to_string(), "[::1]:4000");
    assert_eq!(config(&from_env([("PORT", "8080")])).listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config(&from_env([("PORT", "")])).listen.port(), 3000);
    assert_eq!(problem(&from_env([("PORT", "http")])), "PORT: is not a port: `http`");
}

#[test]
fn a_variable_has_the_type_of_its_key() {
    let config = config(&from_env([
        ("SWITCHBOARD_ENGINE__PING_INTERVAL", "250ms"),
        ("SWITCHBOARD_ENGINE__MAX_PAYLOAD", "64KiB"),
        ("SWITCHBOARD_ENGINE__LEGACY_POLLING", "true"),
        ("SWITCHBOARD_ENGINE__TRANSPORTS", "websocket"),
        ("SWITCHBOARD_ENGINE__CORS_ORIGINS", "https://a.example, https://b.example"),
        ("SWITCHBOARD_LIMITS__EVENTS_PER_SECOND", "20"),
        ("SWITCHBOARD_EDGE__TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.1"),
        ("SWITCHBOARD_ROOMS__MAY_JOIN", ""),
        ("SWITCHBOARD_NODE_ID", "eu-1"),
    ]));
    assert_eq!(config.engine.ping_interval, Duration::from_millis(250));
    assert_eq!(config.engine.max_payload, 65_536);
    assert_eq!(config.engine.legacy, Legacy::All);
    assert_eq!(config.engine.transports.len(), 1);
    assert_eq!(config.engine.cors_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.limits.events_per_second, 20);
    assert_eq!(config.edge.trusted_proxies[1].to_string(), "192.0.2.1/32");
    assert!(config.rooms.may_join.is_empty());
    assert_eq!(config.node_id.as_deref(), Some("eu-1"));
}

#[test]
fn legacy_polling_is_still_understood_and_is_one_key_with_legacy() {
    let legacy = |text: &str| {
        let path = file("legacy.toml", &format!("[engine]\n{text}\n"));
        config(&Sources::new().file(path)).engine.legacy
    };
    assert_eq!(legacy(""), Legacy::Websocket);
    assert_eq!(legacy("legacy = 'off'"), Legacy::Off);
    assert_eq!(legacy("legacy_polling = true"), Legacy::All);
    assert_eq!(legacy("legacy_polling = false"), Legacy::Websocket);

    let old = file("legacy-old.toml", "[engine]\nlegacy_polling = true\n");
    let newer = Sources::new().file(old).env(env([("SWITCHBOARD_ENGINE__LEGACY", "off")]));
    assert_eq!(config(&newer).engine.legacy, Legacy::Off, "the environment wins");

    let both = file("legacy-both.toml", "[engine]\nlegacy = 'off'\nlegacy_polling = true\n");
    assert_eq!(
        problem(&Sources::new().file(&both)),
        format!(
            "engine.legacy_polling: stands beside engine.legacy, its new name: give one of them \
             ({}:3)",
            both.display()
        )
    );
    let wrong = from_env([("SWITCHBOARD_ENGINE__LEGACY", "polling")]);
    assert!(problem(&wrong).contains("`polling` is not one of off, websocket, all"));
}

#[test]
fn the_parser_of_the_clients_is_a_setting() {
    assert_eq!(config(&Sources::new()).engine.parser, Parser::Json);
    let msgpack = from_env([("SWITCHBOARD_ENGINE__PARSER", "msgpack")]);
    assert_eq!(config(&msgpack).engine.parser, Parser::MsgPack);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_one_and_its_place() {
    let path =
        file("unknown.toml", "# a comment\n[engine]\nping_intervall = '1s'\n[lmits]\nx = 1\n");
    let shown = path.display();
    assert_eq!(
        problems(&Sources::new().file(&path)),
        [
            format!(
                "engine.ping_intervall: unknown key; the nearest known one is \
                 engine.ping_interval ({shown}:3)"
            ),
            format!("lmits: unknown key; the nearest known one is limits ({shown}:4)"),
        ]
    );
    assert_eq!(
        problem(&from_env([("SWITCHBOARD_LISEN", "x")])),
        "lisen: unknown key; the nearest known one is SWITCHBOARD_LISTEN (SWITCHBOARD_LISEN)"
    );
    let in_a_section = problem(&from_env([("SWITCHBOARD_ENGIN__PATH", "x")]));
    assert!(!in_a_section.contains("SWITCHBOARD_ENGINE ("), "a section is no variable");
    assert!(problem(&from_env([("SWITCHBOARD_AUTH_MODE", "none")])).contains("_AUTH__MODE"));
}

#[test]
fn variables_that_orchestrators_make_of_a_service_name_are_not_ours() {
    let sources = from_env([
        ("SWITCHBOARD_SERVICE_HOST", "10.1.2.3"),
        ("SWITCHBOARD_SERVICE_PORT_HTTP", "3000"),
        ("SWITCHBOARD_PORT", "tcp://10.1.2.3:3000"),
        ("SWITCHBOARD_PORT_3000_TCP_ADDR", "10.1.2.3"),
        ("SWITCHBOARD_CONFIG", "switchboard.toml"),
        ("SWITCHBOARDING", "surf"),
    ]);
    assert_eq!(config(&sources), Config::default());
}

#[test]
fn everything_wrong_in_all_sources_is_named_at_once() {
    let path = file(
        "wrong.toml",
        "path = 'x'\nengine = 3\n[auth]\nmode = 'maybe'\nleeway = 10\n[limits]\nmax_connections = -1\n\
         [rooms]\nmay_join = ['a*b']\n",
    );
    let sources = Sources::new()
        .file(path)
        .env(env([("SWITCHBOARD_AUTH__REVALIDATE", "ja"), ("SWITCHBOARD_DRAIN__SPREAD", "soon")]))
        .flag("--workers", "workers", "many");
    let all = problems(&sources);
    let expected = [
        "engine: is a section: write [engine], and its keys below",
        "auth.leeway: a duration needs a unit: write \"10s\" or \"10ms\", not 10",
        "auth.mode: unknown variant `maybe`, expected one of `none`, `optional`, `required`",
        "limits.max_connections: must be a whole number, 0 or more",
        "rooms.may_join: `a*b`: a pattern is a name",
        "auth.revalidate: must be true or false, not `ja`",
        "drain.spread: `soon` is not a duration",
        "workers: must be a whole number, 0 or more, not `many` (--workers)",
        "path: must start with `/`",
    ];
    for start in expected {
        assert!(all.iter().any(|p| p.starts_with(start)), "{start} is missing in {all:#?}");
    }
    assert_eq!(all.len(), expected.len(), "{all:#?}");
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_named() {
    let path = file("syntax.toml", "[auth]\nhs256_secret = hunter2hunter2\n");
    let all = problems(&Sources::new().file(&path));
    assert!(all[0].starts_with(&format!("{}:2: not TOML: ", path.display())), "{all:?}");
    assert!(!all.concat().contains("hunter2"), "{all:?}");
    assert!(problem(&Sources::new().file("/nowhere/x.toml")).contains("x.toml: cannot be read"));
}

#[test]
fn a_table_with_a_mistake_is_refused_at_the_line_of_the_mistake() {
    let path = file("table.toml", "[engine]\ncookie = { name = 'io', max_age = '1x' }\n");
    let said = problem(&Sources::new().file(&path));
    assert!(said.starts_with("engine.cookie.max_age: `1x` is not a duration"), "{said}");
    assert!(said.ends_with(&format!("({}:2)", path.display())), "{said}");
}

#[test]
fn a_refused_value_breaks_no_further_rule() {
    let sources = from_env([
        ("SWITCHBOARD_AUTH__MODE", "required"),
        ("SWITCHBOARD_AUTH__HS256_SECRET_FILE", "/nowhere/secret"),
    ]);
    assert!(problem(&sources).starts_with("auth.hs256_secret_file: cannot read"));
}

#[test]
fn a_contradiction_names_the_place_of_the_key() {
    let sources = from_env([("SWITCHBOARD_AUTH__MODE", "required")]);
    assert!(problem(&sources).ends_with("(SWITCHBOARD_AUTH__MODE)"));
}

#[test]
fn secrets_come_as_one_or_many_or_from_a_file() {
    let secrets = |sources: &Sources| -> Vec<String> {
        let config = config(sources);
        config.auth.hs256_secret.iter().map(|s| s.expose().to_owned()).collect()
    };
    let toml = |name, text: &str| Sources::new().file(file(name, text));
    assert_eq!(secrets(&toml("one.toml", "auth.hs256_secret = 'a,b'")), ["a,b"]);
    assert_eq!(secrets(&toml("many.toml", "auth.hs256_secret = ['a', 'b']")), ["a", "b"]);
    assert_eq!(secrets(&from_env([("SWITCHBOARD_AUTH__HS256_SECRET", "a, b")])), ["a", "b"]);
    let lines = file("secrets.txt", "  first \n\nsecond\n");
    let lines = lines.to_str().unwrap();
    let from_file = [("SWITCHBOARD_AUTH__HS256_SECRET_FILE", lines)];
    assert_eq!(secrets(&from_env(from_file)), ["first", "second"]);
    let stronger = toml("weaker.toml", "auth.hs256_secret = 'a'").env(env(from_file));
    assert_eq!(secrets(&stronger), ["first", "second"]);
    let unset = toml("unset.toml", "auth.hs256_secret = 'a'")
        .env(env([("SWITCHBOARD_AUTH__HS256_SECRET", "")]));
    assert_eq!(secrets(&unset), [""; 0]);
    let edge = config(&toml("edge.toml", "edge.secrets = 'x'\n")).edge.secrets;
    assert_eq!(edge.first().unwrap().expose(), "x");
}

#[test]
fn a_secret_and_its_file_in_one_source_contradict() {
    let path = file("both.toml", "[auth]\nhs256_secret = 'a'\nhs256_secret_file = 'b'\n");
    assert!(problem(&Sources::new().file(path)).contains("stands beside auth.hs256_secret"));
}

#[test]
fn what_is_shown_of_a_secret_is_not_taken_for_one() {
    let path = file("masked.toml", "[auth]\nhs256_secret = '***'\n");
    assert!(problem(&Sources::new().file(path)).contains("in place of a secret"));
}

#[test]
fn a_refused_secret_is_not_quoted() {
    let path = file(
        "numbers.toml",
        "auth.hs256_secret = 31337\nedge.secrets = [31337]\nadmin_ui.password = 31337\n",
    );
    let all = problems(&Sources::new().file(path));
    assert_eq!(all.len(), 3);
    assert!(!all.concat().contains("31337"), "{all:?}");
}

#[test]
fn a_rule_for_history_names_its_key_and_line() {
    let with = |name: &str, rest: &str| {
        let text = format!("store.url = 'sqlite:x'\n[[rooms.history]]\nrooms = 'a'\n{rest}");
        Sources::new().file(file(name, &text))
    };
    let read = config(&with(
        "history.toml",
        "[[rooms.history]]\nrooms = 'b:*'\nttl = '2h'\non_join = 3\n",
    ));
    let [first, second] = read.rooms.history.as_slice() else { panic!("two") };
    assert_eq!((first.count, first.ttl.as_secs(), first.on_join), (100, 86_400, 0));
    assert!(second.rooms.matches("b:1") && second.on_join == 3 && second.ttl.as_secs() == 7200);
    for (name, rest, key) in [
        ("count.toml", "count = 'x'\n", "rooms.history[0].count"),
        ("colour.toml", "colour = 1\n", "rooms.history[0].colour"),
        ("none.toml", "[[rooms.history]]\ncount = 1\n", "rooms.history[1]"),
        ("join.toml", "on_join = 101\n", "rooms.history"),
    ] {
        let all = problems(&with(name, rest));
        assert!(all.len() == 1 && all[0].starts_with(key), "{all:#?}");
        assert!(all[0].contains(name), "{all:#?}");
    }
}

#[test]
fn administration_needs_a_port_of_its_own_and_keys_where_others_reach_it() {
    let with = |address: &str| from_env([("SWITCHBOARD_ADMIN_LISTEN", address)]);
    let open = problem(&with("0.0.0.0:3001"));
    assert!(open.contains("admin_listen") && open.contains("admin.api_keys"), "{open}");
    let keyed = with("0.0.0.0:9").env(env([("SWITCHBOARD_ADMIN__API_KEYS", "a-key-of-16-bytes")]));
    assert_eq!(config(&keyed).admin_listen, Some("0.0.0.0:9".parse().unwrap()));
    assert_eq!(config(&with("")).admin_listen, None, "switched off");
    let shared = problem(&from_env([("PORT", "3001")]));
    assert!(shared.starts_with("admin_listen: must not share the public port"), "{shared}");
    assert_eq!(config(&from_env([("PORT", "3001")]).dev(true)).admin_listen.unwrap().port(), 0);
    let local = config(&with("0.0.0.0:9").dev(true)).admin_listen;
    assert_eq!(local, Some("127.0.0.1:9".parse().unwrap()));
    let short = loaded(&from_env([("SWITCHBOARD_ADMIN__API_KEYS", "short")])).warnings;
    assert!(short[0].to_string().contains("shorter than 16 bytes"), "{short:?}");
}

#[cfg(feature = "otlp")]
#[test]
fn traces_go_where_the_variables_of_opentelemetry_say() {
    let endpoint = |sources: &Sources| {
        config(sources).traces.endpoint.map(|endpoint| endpoint.expose().to_owned())
    };
    const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/");
    const ONE: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://one:4318/spans");
    const OURS: (&str, &str) = ("SWITCHBOARD_TRACES__ENDPOINT", "http://ours:4318");
    let path = file("traces.toml", "traces.endpoint = 'http://file:4318'\n");
    assert_eq!(endpoint(&from_env([ALL])).as_deref(), Some("http://all:4318/v1/traces"));
    assert_eq!(endpoint(&from_env([ALL, ONE])).as_deref(), Some(ONE.1));
    assert_eq!(endpoint(&from_env([ALL, ONE, OURS])).as_deref(), Some(OURS.1));
    assert_eq!(endpoint(&from_env([ALL]).file(path)).as_deref(), Some("http://all:4318/v1/traces"));
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert_eq!(endpoint(&from_env([ALL, ONE, off])), None);
    }
    let bad = problem(&from_env([("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")]));
    assert!(bad.contains("must be a URL") && bad.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{bad}");
}

#[test]
fn a_ratio_may_be_a_whole_number_and_must_be_one() {
    let ratio = |text| from_env([("SWITCHBOARD_TRACES__SAMPLE_RATIO", text)]);
    assert_eq!(config(&ratio("0.25")).traces.sample_ratio, 0.25);
    assert_eq!(config(&ratio("0")).traces.sample_ratio, 0.0);
    assert!(problem(&ratio("half")).contains("must be a number"));
    assert!(problem(&ratio("2")).contains("from 0 to 1"));
    let path = file("ratio.toml", "[traces]\nsample_ratio = 0\n");
    assert_eq!(config(&Sources::new().file(path)).traces.sample_ratio, 0.0);
    let path = file("no-ratio.toml", "[traces]\nsample_ratio = 'some'\n");
    assert!(problem(&Sources::new().file(path)).contains("must be a number"));
}

#[test]
fn unwise_settings_are_warnings() {
    let warnings = |sources: &Sources| -> Vec<String> {
        loaded(sources).warnings.iter().map(ToString::to_string).collect()
    };
    let short = warnings(&from_env([("SWITCHBOARD_AUTH__HS256_SECRET", "short")]));
    assert!(short[0].starts_with("auth.hs256_secret: has a secret shorter than 32 bytes"));
    assert!(warnings(&from_env([("SWITCHBOARD_AUTH__HS256_SECRET", LONG)])).is_empty());
}

#[test]
fn optional_without_a_key_is_none() {
    assert_eq!(Config::default().auth.effective_mode(), AuthMode::None);
    let keyed = config(&from_env([("SWITCHBOARD_AUTH__HS256_SECRET", LONG)]));
    assert_eq!(keyed.auth.effective_mode(), AuthMode::Optional);
}

#[test]
fn development_stays_on_this_host_and_brings_a_secret() {
    let dev = from_env([("SWITCHBOARD_LISTEN", "0.0.0.0:4000")]).dev(true);
    assert_eq!(config(&dev).listen.to_string(), "127.0.0.1:4000");
    assert_eq!(config(&dev).auth.hs256_secret.first().unwrap().expose(), DEV_SECRET);
    let own = from_env([("SWITCHBOARD_AUTH__HS256_SECRET", LONG)]).dev(true);
    assert_eq!(config(&own).auth.hs256_secret.first().unwrap().expose(), LONG);
}

#[cfg(feature = "sqlite")]
#[test]
fn development_has_an_inbox_in_memory_where_no_store_is_configured() {
    let inbox = |name, value| {
        let Config { store, inbox, .. } = config(&from_env([(name, value)]).dev(true));
        (store.url.map(|url| url.expose().to_owned()), inbox.enabled)
    };
    let memory = Some("sqlite::memory:".to_owned());
    assert_eq!(inbox("PORT", "3000"), (memory.clone(), true));
    assert_eq!(inbox("SWITCHBOARD_INBOX__ENABLED", "false"), (memory, false));
    let own = "sqlite:own.db".to_owned();
    assert_eq!(inbox("SWITCHBOARD_STORE__URL", &own), (Some(own.clone()), false));
    assert_eq!(inbox("REDIS_URL", "redis://127.0.0.1"), (None, false));
    #[cfg(feature = "postgres")]
    {
        let asked = from_env([("SWITCHBOARD_INBOX__ENABLED", "true"), ("PGHOST", "db")]).dev(true);
        let url = config(&asked).store.url.map(|url| url.expose().to_owned());
        assert_eq!(url.as_deref(), Some("postgres://db"), "it is named");
    }
    assert!(!config(&from_env([])).inbox.enabled, "elsewhere there is none");
}

#[test]
fn the_secret_of_development_is_refused_elsewhere() {
    let sources = from_env([("SWITCHBOARD_AUTH__HS256_SECRET", DEV_SECRET)]);
    assert!(problem(&sources).contains("the secret of --dev"));
    load(&sources.dev(true)).expect("with --dev it is fine");
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let mut shown = Config::default();
    shown.node_id = Some("eu-1".into());
    shown.engine.max_payload = 1_234_567;
    shown.engine.ping_timeout = Duration::from_millis(1_500);
    shown.edge.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    shown.tls.cert_file = Some("cert.pem".into());
    shown.tls.key_file = Some("key.pem".into());
    for (name, shown) in [("shown.toml", shown), ("defaults.toml", Config::default())] {
        let path = file(name, &shown.to_masked_toml());
        assert_eq!(config(&Sources::new().file(path)), shown);
    }
}

#[test]
fn the_password_of_the_admin_ui_may_stand_in_a_file_and_hold_a_comma() {
    let password = file("admin-ui-password", "a long, long password\n");
    let in_file = from_env([
        ("SWITCHBOARD_ADMIN_UI__ENABLED", "true"),
        ("SWITCHBOARD_ADMIN_UI__USERNAME", "ops"),
        ("SWITCHBOARD_ADMIN_UI__PASSWORD_FILE", password.to_str().expect("UTF-8")),
        ("SWITCHBOARD_ADMIN_UI__MODE", "development"),
        ("SWITCHBOARD_ADMIN_UI__SESSION_TTL", "1h"),
    ]);
    let mut expected = AdminUi::new("ops", "a long, long password");
    expected.mode = AdminUiMode::Development;
    expected.session_ttl = Duration::from_secs(3600);
    assert_eq!(config(&in_file).admin_ui, expected);
    let in_env = from_env([
        ("SWITCHBOARD_ADMIN_UI__ENABLED", "true"),
        ("SWITCHBOARD_ADMIN_UI__USERNAME", "ops"),
        ("SWITCHBOARD_ADMIN_UI__PASSWORD", "a long, long password"),
    ]);
    assert_eq!(config(&in_env).admin_ui, AdminUi::new("ops", "a long, long password"));
}

#[test]
fn no_secret_is_shown() {
    let mut config = Config::default();
    config.auth.hs256_secret = ["hidden-1", "hidden-2"].into_iter().collect();
    config.edge.secrets = ["hidden-3"].into_iter().collect();
    config.admin.api_keys = ["hidden-4"].into_iter().collect();
    config.redis.url = Some(switchboard::config::SecretUrl::new("redis://u:hidden-5@h:6379"));
    config.admin_ui = AdminUi::new("ops", "hidden-6");
    config.auth.jwks_url = Some("https://u:hidden-7@id.example/jwks?key=hidden-8".into());
    config.traces.endpoint = Some("https://collector.example/v1/traces?key=hidden-9".into());
    let toml = config.to_masked_toml();
    assert!(!toml.contains("hidden") && !format!("{config:?}").contains("hidden"), "{toml}");
    assert!(toml.contains("hs256_secret = [\"***\", \"***\"]"), "{toml}");
    assert!(toml.contains("url = \"redis://u:***@h:6379\""), "{toml}");
    assert!(toml.contains("node_id = \"\""), "{toml}");
    let sources = from_env([("REDIS_URL", "redis://:hidden@h")]).flag("--x", "redis.url", "hidden");
    assert!(!format!("{sources:?}").contains("hidden"));
}
