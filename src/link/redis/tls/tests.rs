use std::{path::PathBuf, process::Command};

use test_kit::{free_port, redis::RedisServer};

use super::*;
use crate::{
    link::redis::{
        refusal::explain,
        target::{Target, Timeouts},
    },
    secret::SecretUrl,
};

/// An authority, a certificate of a server and two of clients, in a directory that goes with it.
struct Keys(PathBuf);

impl Keys {
    fn make() -> Self {
        let dir = std::env::temp_dir().join(format!("switchboard-keys-{}", rand::random::<u64>()));
        fs::create_dir_all(&dir).unwrap();
        let script = "set -e; new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
            openssl req -x509 $new -days 2 -keyout ca.key -out ca.pem -subj /CN=ca \
                -addext basicConstraints=critical,CA:TRUE
            printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' > ext
            for who in redis one two; do
                openssl req $new -keyout $who.key -out $who.req -subj /CN=$who
                openssl x509 -req -in $who.req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                    -extfile ext -out $who.pem
            done";
        let made = Command::new("sh").args(["-c", script]).current_dir(&dir).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self(dir)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn copy(&self, from: &str, to: &str) {
        fs::copy(self.file(from), self.file(to)).unwrap();
    }

    /// A Redis that asks for certificates, which is its default.
    async fn server(&self) -> (RedisServer, u16) {
        let port = free_port();
        let (cert, key, ca) = (self.file("redis.pem"), self.file("redis.key"), self.file("ca.pem"));
        let args = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert];
        let more = ["--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        (RedisServer::with(&[&args[..], &more[..]].concat()).await, port)
    }

    fn target(&self, url: &str, [ca, cert, key]: [Option<&str>; 3]) -> Target {
        let file = |name: Option<&str>| name.map(|name| self.0.join(name));
        let files = TlsFiles { ca: file(ca), cert: file(cert), key: file(key) };
        let second = std::time::Duration::from_secs(1);
        let timeouts = Timeouts { request: second * 2, silence: second * 2 };
        Target::parse(&SecretUrl::new(url), &files).unwrap().with_timeouts(timeouts)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The error of a failed connection, in words.
async fn said(target: &Target) -> String {
    let error = target.connect(&target.config()).await.map(drop).unwrap_err();
    explain(target, &error)
}

#[tokio::test]
async fn a_redis_that_asks_for_a_certificate_gets_one() {
    let keys = Keys::make();
    let (_server, port) = keys.server().await;
    let url = format!("rediss://localhost:{port}");
    for (files, url) in [
        ([Some("ca.pem"), Some("one.pem"), Some("one.key")], url.clone()),
        (
            [None; 3],
            format!(
                "{url}?ca={}&cert={}&key={}",
                keys.file("ca.pem"),
                keys.file("one.pem"),
                keys.file("one.key")
            ),
        ),
    ] {
        let target = keys.target(&url, files);
        assert_eq!(target.problems().len(), 0);
        target.connect(&target.config()).await.unwrap();
    }
    let text = said(&keys.target(&url, [Some("ca.pem"), None, None])).await;
    assert!(text.contains("redis.cert_file and redis.key_file"), "{text}");
    let text = said(&keys.target(&url, [Some("one.pem"), Some("one.pem"), Some("one.key")])).await;
    assert!(text.contains("redis.ca_file"), "{text}");
    let elsewhere = format!("rediss://127.0.0.2:{port}");
    let text = said(&keys.target(&elsewhere, [Some("ca.pem"), None, None])).await;
    assert!(text.contains("nobody listens at"), "{text}");
}

#[tokio::test]
async fn files_are_read_again_and_broken_ones_are_not_used() {
    let keys = Keys::make();
    let (_server, port) = keys.server().await;
    keys.copy("one.pem", "cert.pem");
    keys.copy("one.key", "key.pem");
    let files = [Some("ca.pem"), Some("cert.pem"), Some("key.pem")];
    let target = keys.target(&format!("rediss://localhost:{port}"), files);
    let connects = async || target.connect(&target.config()).await.map(drop);
    connects().await.unwrap();

    let tls = Tls::new(TlsFiles {
        ca: Some(keys.0.join("ca.pem")),
        cert: Some(keys.0.join("cert.pem")),
        key: Some(keys.0.join("key.pem")),
    })
    .unwrap();
    let shown = || tls.certificates().unwrap().unwrap().client_tls.unwrap().client_cert;
    let one = shown();
    // As while files are replaced one after the other.
    keys.copy("two.pem", "cert.pem");
    assert!(!tls.changed() && shown() == one);
    assert!(tls.read.lock().bad.as_ref().unwrap().contains("does not belong to"));
    connects().await.unwrap();
    keys.copy("two.key", "key.pem");
    assert!(tls.changed());
    assert_eq!(shown(), fs::read(keys.file("two.pem")).unwrap());
    assert_eq!(tls.read.lock().bad, None);
    connects().await.unwrap();
    fs::remove_file(keys.file("key.pem")).unwrap();
    connects().await.unwrap();
    assert_eq!(target.problems().len(), 1);
}

#[test]
fn each_file_that_cannot_be_used_is_named() {
    let keys = Keys::make();
    fs::write(keys.file("empty"), "").unwrap();
    fs::write(
        keys.file("broken"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let problems = |files: [&str; 3]| {
        let [ca, cert, key] = files.map(|name| Some(keys.0.join(name)));
        let problems = Tls::new(TlsFiles { ca, cert, key }).unwrap().problems();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(problems(["ca.pem", "one.pem", "one.key"]), Vec::<String>::new());
    for (files, word) in [
        (["empty", "one.pem", "one.key"], "no certificate in"),
        (["one.key", "one.pem", "one.key"], "no certificate in"),
        (["broken", "one.pem", "one.key"], "cannot be used"),
        (["ca.pem", "empty", "one.key"], "no certificate in"),
        (["ca.pem", "one.pem", "one.pem"], "no private key in"),
        (["ca.pem", "one.pem", "two.key"], "does not belong to"),
        (["nowhere", "one.pem", "one.key"], "cannot read"),
    ] {
        let problems = problems(files);
        assert!(problems.len() == 1 && problems[0].contains(word), "{files:?}: {problems:?}");
    }
}
