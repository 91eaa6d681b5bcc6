//! The admin port of a server, asked by a small HTTP client.

use std::{collections::BTreeSet, convert::Infallible, net::SocketAddr};

use prometheus_parse::{Scrape, Value as Sample};
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use switchboard::Switchboard;
use tokio::task::JoinHandle;

use super::within;

pub struct Admin {
    pub address: SocketAddr,
    http: reqwest::Client,
    serving: JoinHandle<Infallible>,
}

/// What was answered; the body is null if it is no JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// The status and the code of an error; fails the test if the form is not that of an error.
    pub fn problem(&self) -> (u16, &str) {
        let members: Vec<&String> = self.body.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["error"], "{self:?}");
        let error = self.body["error"].as_object().expect("an object");
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "message"], "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        assert!(!error["message"].as_str().expect("a sentence").is_empty(), "{self:?}");
        (self.status.as_u16(), error["code"].as_str().expect("a code"))
    }

    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    /// The body of an answer that must be this one.
    pub fn with(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self.body
    }
}

impl Admin {
    pub async fn of(server: &Switchboard) -> Self {
        let bound = server.bind_admin("127.0.0.1:0".parse().unwrap()).await.expect("a free port");
        let address = bound.local_addr();
        Self { address, http: reqwest::Client::new(), serving: tokio::spawn(bound.serve()) }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = within("an answer", request.send()).await.expect("HTTP");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = within("the body", response.text()).await.expect("text");
        let body = serde_json::from_str(&text).unwrap_or_default();
        Answer { status, headers, body, text }
    }

    /// Of the API.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, &format!("/api/v1{path}"))).await
    }

    /// Of the API.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, &format!("/api/v1{path}")).json(&body)).await
    }

    pub async fn scrape(&self) -> Metrics {
        let answer = self.send(self.request(Method::GET, "/metrics")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        let lines = answer.text.lines().map(|line| Ok(line.to_owned()));
        let scrape = Scrape::parse(lines).expect("the text format of Prometheus");
        Metrics { scrape, text: answer.text }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A scrape, read by a parser of its own.
pub struct Metrics {
    scrape: Scrape,
    pub text: String,
}

impl Metrics {
    /// The value of a series; fails the test if it is not there.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.scrape.samples.iter().find(|sample| {
            sample.metric == name
                && sample.labels.len() == labels.len()
                && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(*value))
        });
        match found.map(|sample| &sample.value) {
            Some(Sample::Counter(value) | Sample::Gauge(value) | Sample::Untyped(value)) => *value,
            _ => panic!("no {name} {labels:?} in\n{}", self.text),
        }
    }

    /// All names of series, those of a histogram's parts included.
    pub fn names(&self) -> BTreeSet<String> {
        let series = self.text.lines().filter(|line| !line.starts_with('#'));
        series.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())).collect()
    }

    /// What the family says of itself.
    pub fn help(&self, family: &str) -> &str {
        let start = format!("# HELP {family} ");
        let help = self.text.lines().find_map(|line| line.strip_prefix(&*start));
        help.unwrap_or_else(|| panic!("no help for {family} in\n{}", self.text))
    }

    /// Name and type of each family.
    pub fn families(&self) -> BTreeSet<(String, String)> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types
            .filter_map(|line| line.split_once(' '))
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .collect()
    }
}
