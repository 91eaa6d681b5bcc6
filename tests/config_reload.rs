//! A configuration that is loaded again: what may change, what is refused, what has to wait.
#![cfg(feature = "config-file")]

use std::path::PathBuf;

use switchboard::config::{AuthMode, Loaded, Running, Sources, load};

const WHOLE: &str = "\
rooms.may_join = ['public:*']

[log]
level = 'debug'

[limits]
max_connections = 1000

[auth]
mode = 'required'
hs256_secret = 'a-secret-of-more-than-thirty-two-bytes'
audience = 'chat'

[admin]
api_keys = ['a-key-of-more-than-16-bytes']
";

/// A server that runs with a file, and the file.
struct Server {
    file: PathBuf,
    running: Running,
}

impl Server {
    fn with(name: &str, text: &str) -> Self {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&file, text).expect("the directory for test files is writable");
        let loaded = load(&Sources::new().file(&file)).expect("valid");
        Self { file, running: Running::new(loaded) }
    }

    fn reload(&self, text: &str) -> Result<Loaded, Vec<String>> {
        std::fs::write(&self.file, text).expect("the directory for test files is writable");
        let loaded = self.running.load_again(&Sources::new().file(&self.file));
        loaded.map_err(|errors| errors.problems().iter().map(ToString::to_string).collect())
    }

    /// All problems in one text; fails if the server takes it.
    fn refuses(&self, text: &str) -> String {
        self.reload(text).expect_err("taken").join("\n")
    }

    /// The keys that wait for a restart; fails if the server refuses it.
    fn waiting(&self, text: &str) -> Vec<String> {
        let loaded = self.reload(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        self.running.needs_restart(&loaded)
    }
}

#[test]
fn no_beginning_of_the_file_is_taken_but_the_whole() {
    let server = Server::with("cut.toml", WHOLE);
    server.reload(WHOLE).expect("nothing has changed");
    for end in (0..WHOLE.trim_end().len()).filter(|end| WHOLE.is_char_boundary(*end)) {
        let refused = server.refuses(&WHOLE[..end]);
        assert!(!refused.contains("thirty-two"), "{refused}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let server = Server::with("named.toml", WHOLE);
    let cut_before = |section: &str| server.refuses(&WHOLE[..WHOLE.find(section).expect("there")]);
    let before_admin = cut_before("[admin]");
    assert!(before_admin.starts_with("admin.api_keys: is set for the running server and missing"));
    assert_eq!(before_admin.lines().count(), 1);
    let before_auth = cut_before("[auth]");
    for key in ["auth.mode", "auth.hs256_secret", "auth.audience", "admin.api_keys"] {
        assert!(before_auth.contains(&format!("{key}: is set")), "{before_auth}");
    }
    assert!(cut_before("[limits]").contains("limits.max_connections: is set"));
    assert!(server.refuses("").ends_with("named.toml: is empty"));
    assert!(server.refuses("\n\n").ends_with("named.toml: is empty"));
    let half = &WHOLE[..WHOLE.find("000\n").expect("there")];
    assert!(server.refuses(half).ends_with("ends in the middle of a line, as if it were cut"));
}

#[test]
fn what_is_taken_away_in_so_many_words_is_taken_away() {
    let server = Server::with("words.toml", WHOLE);
    let open = WHOLE
        .replace("mode = 'required'", "mode = 'none'")
        .replace("'a-secret-of-more-than-thirty-two-bytes'", "''")
        .replace("'chat'", "''")
        .replace("['a-key-of-more-than-16-bytes']", "[]")
        .replace("1000", "0");
    let loaded = server.reload(&open).expect("it says so");
    assert_eq!(loaded.config.auth.mode, AuthMode::None);
    assert!(loaded.config.admin.api_keys.is_empty());
    assert_eq!(loaded.config.limits.max_connections, 0);
}

#[test]
fn a_secret_that_is_the_beginning_of_the_one_in_use_is_a_cut_file() {
    let secret = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cut-secret");
    std::fs::write(&secret, "a-secret-of-more-than-thirty-two-bytes").expect("writable");
    let text = format!("auth.hs256_secret_file = '{}'\n", secret.display());
    let server = Server::with("secret-file.toml", &text);
    std::fs::write(&secret, "a-sec").expect("writable");
    let refused = server.refuses(&text);
    assert!(refused.starts_with("auth.hs256_secret: has a secret that is only the beginning"));
    assert!(refused.contains("secret-file.toml:1"), "{refused}");
    std::fs::write(&secret, "").expect("writable");
    assert!(server.refuses(&text).contains("is empty"));
    std::fs::write(&secret, "another-secret-of-more-than-thirty-two-bytes").expect("writable");
    server.reload(&text).expect("another one");
}

#[test]
fn what_is_there_by_another_source_or_was_only_a_default_is_not_missing() {
    let server = Server::with("defaults.toml", "limits.max_connections = 0\nlog.level = 'debug'\n");
    server.reload("[limits]\nmax_event_name = 128\n").expect("nothing is taken away");
    let server = Server::with("moved.toml", WHOLE);
    let other = "[auth]\nhs256_secret = 'x'\n";
    std::fs::write(&server.file, other).expect("writable");
    let variables = [
        ("SWITCHBOARD_AUTH__MODE", "required"),
        ("SWITCHBOARD_AUTH__AUDIENCE", "chat"),
        ("SWITCHBOARD_ADMIN__API_KEYS", "another-key-of-16-bytes"),
        ("SWITCHBOARD_LIMITS__MAX_CONNECTIONS", "10"),
    ];
    let sources = Sources::new()
        .file(&server.file)
        .env(variables.map(|(name, value)| (name.into(), value.into())));
    server.running.load_again(&sources).expect("all is there");
}

#[test]
fn what_needs_a_restart_is_named_and_nothing_else() {
    let mut server = Server::with("restart.toml", "[engine]\nping_interval = '10s'\n");
    assert_eq!(server.waiting("[engine]\nping_interval = '10000ms'\n"), [""; 0], "the same");
    let changed = "rooms.may_join = ['x']\nengine.ping_interval = '10s'\nlog.level = 'warn'\n\
                   listen = '127.0.0.1:9'\n";
    assert_eq!(server.waiting(changed), ["listen", "rooms.may_join"]);
    assert_eq!(server.waiting("limits.max_connections = 5\n"), ["engine.ping_interval"]);
    // It still runs with what it started with.
    let loaded = server.reload(changed).expect("valid");
    server.running.take(loaded);
    assert_eq!(server.waiting(changed), ["listen", "rooms.may_join"]);
    assert_eq!(server.waiting("[engine]\nping_interval = '10s'\n"), [""; 0]);
}
