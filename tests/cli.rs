//! The binary as a process: what it writes where, and how it ends.
#![cfg(feature = "cli")]

use std::process::{Command, Output};

const SECRET: &str = "a secret of more than thirty-two bytes";

fn switchboard(env: &[(&str, &str)], args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

#[tokio::test]
async fn a_token_is_all_there_is_on_standard_output() {
    let env = [("SWITCHBOARD_AUTH__HS256_SECRET", SECRET)];
    let output = switchboard(&env, &["token", "--user", "alice"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
    let token = text(&output.stdout).strip_suffix('\n').expect("one line");
    let identity = switchboard::Jwt::hs256(SECRET).verify(token).await.expect("valid");
    assert_eq!(identity.user_id().map(|id| &**id), Some("alice"));
}

#[test]
fn a_bad_configuration_is_named_on_standard_error_with_code_2() {
    let env = [("SWITCHBOARD_LISEN", "x"), ("REDIS_URL", "radish://:hunter2@h")];
    for command in ["serve", "config"] {
        let output = switchboard(&env, &[command]);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text(&output.stdout), "");
        let messages = text(&output.stderr);
        assert_eq!(messages.lines().count(), 2, "{messages}");
        assert!(messages.contains("SWITCHBOARD_LISTEN"), "{messages}");
        assert!(messages.contains("redis.url: must start with redis://"), "{messages}");
        assert!(!messages.contains("hunter2"), "{messages}");
    }
}

#[test]
fn the_shown_configuration_can_be_loaded() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("shown-by-the-binary.toml");
    let shown = switchboard(&[("PORT", "8080")], &["config"]);
    assert_eq!(shown.status.code(), Some(0));
    std::fs::write(&path, &shown.stdout).expect("the directory for test files is writable");
    let again = switchboard(&[("SWITCHBOARD_CONFIG", path.to_str().expect("UTF-8"))], &["config"]);
    assert_eq!(text(&again.stdout), text(&shown.stdout));
    assert!(text(&shown.stdout).contains("listen = \"0.0.0.0:8080\""));
}

#[test]
fn a_secret_is_masked_and_a_short_one_is_a_warning() {
    let output = switchboard(&[("SWITCHBOARD_AUTH__HS256_SECRET", "hunter2")], &["config"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("hs256_secret = \"***\""));
    assert!(text(&output.stderr).starts_with("warning: auth.hs256_secret: "));
    assert!(!text(&output.stdout).contains("hunter2") && !text(&output.stderr).contains("hunter2"));
}

#[test]
fn bad_usage_ends_with_code_2_and_help_with_0() {
    assert_eq!(switchboard(&[], &["emit", "--all", "connect"]).status.code(), Some(2));
    assert_eq!(switchboard(&[], &["--nonsense"]).status.code(), Some(2));
    let help = switchboard(&[], &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in ["serve", "token", "config", "emit", "new"] {
        assert!(text(&help.stdout).contains(command), "{command}");
    }
}

/// What the binary says of a configuration that it refuses, line by line.
fn refusal(env: &[(&str, &str)], args: &[&str]) -> Vec<String> {
    let output = switchboard(env, args);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr).lines().map(str::to_owned).collect()
}

/// A file of this test alone, that only its owner can read.
fn file(name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the directory for test files is writable");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn files_that_are_missing_or_bad_are_all_named() {
    let bad =
        file("bad.pem", "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n");
    let empty = file("empty.pem", "");
    let env = |cert: &'static str, key: &'static str| {
        [("SWITCHBOARD_TLS__CERT_FILE", cert), ("SWITCHBOARD_TLS__KEY_FILE", key)]
    };
    for command in ["config", "serve"] {
        let mut all = env("/nowhere/cert.pem", "/nowhere/key.pem").to_vec();
        all.push(("SWITCHBOARD_AUTH__PUBLIC_KEY_FILE", "/nowhere/public.pem"));
        all.push(("SWITCHBOARD_AUTH__JWKS_URL", "http://id.example/jwks"));
        all.push(("SWITCHBOARD_ENGINE__CLIENT_FILE", "/nowhere/client.js"));
        let lines = refusal(&all, &[command]);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        for (path, variable) in [
            ("/nowhere/client.js", "SWITCHBOARD_ENGINE__CLIENT_FILE"),
            ("/nowhere/cert.pem", "SWITCHBOARD_TLS__CERT_FILE"),
            ("/nowhere/key.pem", "SWITCHBOARD_TLS__KEY_FILE"),
            ("/nowhere/public.pem", "SWITCHBOARD_AUTH__PUBLIC_KEY_FILE"),
        ] {
            let named = lines.iter().find(|line| line.contains(path));
            let named = named.unwrap_or_else(|| panic!("{path} is not named: {lines:#?}"));
            assert!(named.contains("No such file") && named.contains(variable), "{named}");
        }
        assert!(lines.iter().any(|line| line.contains("auth.jwks_url: must start with https")));
    }
    let (bad, empty): (&'static str, &'static str) = (bad.leak(), empty.leak());
    let lines = refusal(&env(bad, empty), &["config"]);
    assert!(lines[0].starts_with(&format!("error: tls.cert_file: cannot read `{bad}`: ")));
    assert!(lines[1].starts_with(&format!("error: tls.key_file: no private key in `{empty}`")));
    let lines = refusal(&env(empty, empty), &["config"]);
    assert!(lines[0].starts_with(&format!("error: tls.cert_file: no certificate in `{empty}`")));
}

#[test]
fn a_file_with_secrets_that_everybody_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = file("secrets.toml", &format!("[auth]\nhs256_secret = '{SECRET}'\n"));
    let warnings = |path: &str| {
        let output = switchboard(&[], &["config", "--config", path]);
        assert_eq!(output.status.code(), Some(0));
        text(&output.stderr).to_owned()
    };
    assert_eq!(warnings(&path), "");
    let open = |path: &str| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("ours");
    };
    open(&path);
    let said = warnings(&path);
    assert!(said.starts_with("warning: auth.hs256_secret: stands in `"), "{said}");
    assert!(said.contains("secrets.toml`, which everybody on this machine can read"), "{said}");

    let secret = file("hs256-secret", SECRET);
    let pointing = file("pointing.toml", &format!("auth.hs256_secret_file = '{secret}'\n"));
    open(&pointing);
    assert_eq!(warnings(&pointing), "");
    open(&secret);
    assert!(warnings(&pointing).contains("hs256-secret`, which everybody"), "{said}");

    let plain = file("no-password.toml", "redis.url = 'redis://u@h'\n[log]\nlevel = 'info'\n");
    let url = file("password.toml", "redis.url = 'redis://u:p@h'\n");
    open(&url);
    assert!(warnings(&url).contains("redis.url: stands in"));
    assert_eq!(warnings(&plain), "");

    let cert = file("redis-cert.pem", include_str!("keys/rsa.certificate.pem"));
    let key = file("redis-key.pem", include_str!("keys/rsa.private.pem"));
    let in_url = format!("redis.url = 'rediss://h?cert={cert}&key={key}'\n");
    let by_keys = format!("cert_file = '{cert}'\nkey_file = '{key}'\n");
    let by_keys = format!("[redis]\nurl = 'rediss://h'\n{by_keys}");
    let (in_url, by_keys) = (file("redis-url.toml", &in_url), file("redis-keys.toml", &by_keys));
    assert_eq!((warnings(&in_url), warnings(&by_keys)), (String::new(), String::new()));
    open(&key);
    let said = "redis-key.pem`, which everybody on this machine can read";
    assert!(warnings(&in_url).contains(said) && warnings(&by_keys).contains(said));
}

#[test]
fn a_start_that_fails_says_what_it_is_about() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let fails = |args: &[&str], env: &[(&str, &str)]| {
        let output = switchboard(env, args);
        (output.status.code(), text(&output.stderr).to_owned())
    };
    let none = [("SWITCHBOARD_ADMIN_LISTEN", "")];
    let (code, said) = fails(&["--listen", &taken], &none);
    assert_eq!(code, Some(1));
    let named = format!("error: cannot listen on {taken}: Address already in use");
    assert!(said.contains(&named), "{said}");
    let (code, said) = fails(&["--listen", "127.0.0.1:0", "--admin-listen", &taken], &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("cannot listen on {taken} for administration")), "{said}");
    assert!(said.contains("Address already in use"), "{said}");
    // No address of this machine.
    let (code, said) = fails(&["--listen", "192.0.2.1:3000"], &none);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot listen on 192.0.2.1:3000: "), "{said}");

    let (code, said) = fails(&["--listen", "nowhere.invalid:3000"], &none);
    assert_eq!(code, Some(2));
    assert!(said.starts_with("error: listen: the name `nowhere.invalid` cannot be looked up: "));
    assert!(said.trim_end().ends_with("(--listen)"), "{said}");
    let (_, said) = fails(&["--listen", "3000"], &none);
    assert!(said.contains("listen: `3000` is not an address and a port, such as"), "{said}");

    let (code, said) = fails(&["--redis-url", "rediss://h?ca=/nowhere/ca.pem"], &none);
    assert_eq!(code, Some(2));
    assert!(said.contains("redis.url: ") && said.contains("/nowhere/ca.pem"), "{said}");
    assert!(said.contains("No such file"), "{said}");
    let of_redis = |name: &'static str| [none[0], (name, "/nowhere/file.pem")];
    let tls = ["--redis-url", "rediss://h"];
    let (code, said) = fails(&tls, &of_redis("SWITCHBOARD_REDIS__CA_FILE"));
    assert_eq!(code, Some(2));
    assert!(said.starts_with("error: redis.ca_file: cannot read `/nowhere/file.pem`"), "{said}");
    let (_, said) = fails(&tls, &of_redis("SWITCHBOARD_REDIS__CERT_FILE"));
    assert!(said.contains("needs its key"), "{said}");
    let (_, said) = fails(&["--redis-url", "redis://h"], &of_redis("SWITCHBOARD_REDIS__CA_FILE"));
    assert!(said.contains("rediss://"), "{said}");

    let directory = env!("CARGO_TARGET_TMPDIR");
    for path in ["/nowhere/switchboard.toml", directory] {
        let (code, said) = fails(&["--config", path], &none);
        assert_eq!(code, Some(2));
        assert!(said.starts_with(&format!("error: {path}: cannot be read: ")), "{said}");
    }
    let url = ("REDIS_URL", "redis://:hunter2@127.0.0.1:1");
    let (code, said) = fails(&["--listen", "127.0.0.1:0"], &[none[0], url]);
    assert_eq!(code, Some(1));
    assert!(said.contains("127.0.0.1:1") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_name_is_an_address_to_listen_on() {
    let shown = switchboard(&[], &["config", "--listen", "localhost:3456"]);
    assert!(text(&shown.stdout).contains("listen = \"127.0.0.1:3456\""));
}

#[test]
fn a_line_of_htpasswd_is_no_password() {
    const LINE: &str = "ops:$2y$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u";
    let env = [
        ("SWITCHBOARD_ADMIN_UI__ENABLED", "true"),
        ("SWITCHBOARD_ADMIN_UI__USERNAME", "ops"),
        ("SWITCHBOARD_ADMIN_UI__PASSWORD", LINE),
    ];
    let lines = refusal(&env, &["config"]);
    assert_eq!(
        lines,
        ["error: admin_ui.password: looks like a line of a password file: write what follows the \
          name and its colon (SWITCHBOARD_ADMIN_UI__PASSWORD)"]
    );
}

#[test]
fn a_rust_log_that_is_not_understood_is_a_warning() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    // The start fails, and says on its way there what is wrong with the variable.
    let said = |filter: &str| {
        let env = [("RUST_LOG", filter), ("SWITCHBOARD_ADMIN_LISTEN", "")];
        text(&switchboard(&env, &["--listen", &taken]).stderr).to_owned()
    };
    assert!(said("switchboard=loud").contains("RUST_LOG is not understood; log.level holds"));
    for fine in ["", "warn", "switchboard=debug"] {
        assert!(!said(fine).contains("RUST_LOG"), "{fine}");
    }
}

#[test]
fn a_token_that_is_taken_is_shown_with_what_it_allows() {
    let env = [("SWITCHBOARD_AUTH__HS256_SECRET", SECRET)];
    let made = switchboard(
        &env,
        &["token", "--user", "alice", "--rooms", "a,b", "--claim", "may_join=[\"t:*\"]"],
    );
    let token = text(&made.stdout).trim_end();
    let output = switchboard(&env, &["token", "--check", token]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["user"], "alice");
    assert_eq!(said["rooms"], serde_json::json!(["a", "b"]));
    assert_eq!(said["may_join"], serde_json::json!(["t:*"]));
    assert!(said["expires_at"].is_u64(), "{said}");
    assert!(text(&output.stderr).starts_with("accepted: it expires in 3"), "{output:?}");
}

#[test]
fn a_token_that_is_refused_is_told_why_with_code_1_and_no_secret() {
    let env = [("SWITCHBOARD_AUTH__HS256_SECRET", SECRET)];
    let other = [("SWITCHBOARD_AUTH__HS256_SECRET", "another secret of thirty-two bytes, too")];
    let old = switchboard::auth::sign_hs256(
        serde_json::json!({ "sub": "alice", "exp": 1 }).as_object().expect("claims"),
        SECRET.as_bytes(),
    );
    let foreign = switchboard(&other, &["token", "--user", "alice"]);
    let foreign = text(&foreign.stdout).trim_end().to_owned();
    for (token, why) in [(&*old, "expired"), (&*foreign, "signature"), ("no.token", "unauthorized")]
    {
        let output = switchboard(&env, &["token", "--check", token]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        let said = text(&output.stderr);
        assert!(said.starts_with("error: refused: unauthorized: ") && said.contains(why), "{said}");
        assert!(!said.contains(SECRET) && !said.contains(token), "{said}");
    }
}

#[test]
fn a_token_is_not_judged_without_a_key_or_beside_other_flags() {
    for args in [&["token", "--check", "a.b.c"][..], &["token", "--check", "a.b.c", "--user", "a"]]
    {
        let output = switchboard(&[], args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(text(&output.stdout), "");
    }
    let output = switchboard(&[], &["token"]);
    assert!(text(&output.stderr).contains("--user"), "{output:?}");
}

#[test]
fn a_configuration_file_to_begin_with_changes_nothing() {
    let output = switchboard(&[], &["config", "--init"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let dir = std::env::temp_dir().join(format!("switchboard-init-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("switchboard.toml");
    std::fs::write(&file, &output.stdout).expect("written");
    let with_file = switchboard(&[], &["config", "--config", file.to_str().expect("a path")]);
    std::fs::remove_dir_all(&dir).expect("it is ours");
    assert_eq!(with_file.status.code(), Some(0), "{with_file:?}");
    assert_eq!(with_file.stdout, switchboard(&[], &["config"]).stdout);
    let beside = switchboard(&[], &["config", "--init", "--listen", "127.0.0.1:1"]);
    assert_eq!(beside.status.code(), Some(2), "it would say nothing of the address");
}
