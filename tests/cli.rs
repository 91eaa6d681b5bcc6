//! The binary as a process: what it writes where, and how it ends.
#![cfg(feature = "server")]

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
    for command in ["serve", "token", "config", "emit"] {
        assert!(text(&help.stdout).contains(command), "{command}");
    }
}
