use super::*;
use crate::{link::redis::tls_files::TlsFiles, secret::SecretUrl};

fn parse(url: &str) -> Result<Target, TargetError> {
    Target::parse(&SecretUrl::new(url), &TlsFiles::default())
}

#[test]
fn each_kind_of_url_is_understood() {
    for (url, address, cluster, db, login) in [
        ("redis://h", "h:6379", false, 0, (None, None)),
        ("redis://u:p%40%2F@h:1/3", "h:1", false, 3, (Some("u"), Some("p@/"))),
        ("redis://:p,w#@h:1", "h:1", false, 0, (None, Some("p,w#"))),
        ("redis://[::1]:7000", "::1:7000", false, 0, (None, None)),
        ("rediss://h:1/?db=2", "h:1", false, 2, (None, None)),
        ("unix:/run/r.sock?db=4", "/run/r.sock", false, 4, (None, None)),
        ("redis+unix://:pw@/run/r.sock", "/run/r.sock", false, 0, (None, Some("pw"))),
        ("redis://a:1,b:2", "a:1,b:2", true, 0, (None, None)),
        ("redis://u:p1@a:1,redis://u:p1@b", "a:1,b:6379", true, 0, (Some("u"), Some("p1"))),
        ("redis://:pw@a:1,b:2", "a:1,b:2", true, 0, (None, Some("pw"))),
        ("redis://config.example?cluster=true", "config.example:6379", true, 0, (None, None)),
        ("redis+sentinel://:pw@a,b:2/main/5", "a:26379,b:2/main", false, 5, (None, Some("pw"))),
    ] {
        let target = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!((target.address(), target.is_cluster()), (address.into(), cluster), "{url}");
        let settings = &target.connector.settings;
        assert_eq!((settings.username(), settings.password()), login, "{url}");
        assert_eq!(settings.db(), db, "{url}");
    }
}

#[test]
fn what_is_not_understood_is_refused_without_showing_the_password() {
    for (url, reason) in [
        ("", "must start with"),
        ("h:6379", "must start with"),
        ("http://u:s3cret@h", "must start with"),
        ("redis://", "host"),
        ("redis://u:s3cret@h:port", "host"),
        ("redis://u:s3cret@h/x", "database"),
        ("redis://u:s3cret@h?pass=s3cret", "parameter"),
        ("redis://h/#insecure", "'#'"),
        ("redis://u:s3cret@a,b/2", "database 0"),
        ("redis://u:s3cret@a,rediss://b", "same scheme"),
        ("redis://u:s3cret@a,redis://u:other@b", "same scheme"),
        ("redis+sentinel://u:s3cret@a", "name of the master"),
        ("redis+unix://u:s3cret@", "socket file"),
        ("redis+unix:///a,unix:///b", "several seeds"),
        ("redis://u:s3cret@h?ca=/nowhere/ca.pem", "rediss://"),
        ("rediss://u:s3cret@h?cert=/nowhere/cert.pem", "needs its key"),
        ("rediss+sentinel://u:s3cret@h/m?key=/nowhere/key.pem", "needs its key"),
    ] {
        let error = parse(url).expect_err(url);
        let text = format!("{error} {error:?}");
        assert!(text.contains(reason) || error.to_string().contains(reason), "{url}: {text}");
        assert!(!text.contains("s3cret"), "{url}: {text}");
    }
}

#[test]
fn a_target_is_printed_without_its_password() {
    let target = parse("redis://u:s3cret@h:1").unwrap();
    assert_eq!(format!("{target:?}"), r#"Target("h:1")"#);
}

#[test]
fn a_file_is_named_once() {
    let file = |path: &str| Some(path.into());
    let files = TlsFiles { ca: file("/a/ca.pem"), cert: file("/a/c.pem"), key: file("/a/k.pem") };
    let parse = |url: &str| Target::parse(&SecretUrl::new(url), &files);
    assert!(parse("rediss://h").is_ok());
    assert!(parse("rediss://h?ca=/a/ca.pem&key=/a/k.pem").is_ok());
    let refused = parse("rediss://h?ca=/b/ca.pem").unwrap_err().to_string();
    assert!(refused.contains("?ca=") && refused.contains("redis.ca_file"), "{refused}");
    for plain in ["redis://h", "unix:/run/r.sock"] {
        assert!(matches!(parse(plain), Err(TargetError::FilesWithoutTls)), "{plain}");
    }
    let problems: Vec<_> = parse("rediss://h").unwrap().problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
}
