//! Settings from environment variables and flags: text, turned into the type of the key.

use std::ffi::OsString;

use toml::Value;

use super::{
    given::Setting,
    libpq,
    problem::{Origin, Problem},
    schema::{self, PREFIX, Schema, variable_of},
};

/// Variables of other tools that mean a setting here. They are weaker than the full names.
const SHORT_NAMES: [&str; 7] = [
    "PORT",
    "REDIS_URL",
    "POSTGRES_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
];

/// Names the configuration file; not a setting itself.
const CONFIG_FILE: &str = "SWITCHBOARD_CONFIG";

/// Whether a variable could be a setting of this server. All others are dropped at once.
pub(super) fn concerns_us(name: &str) -> bool {
    name.starts_with(PREFIX) || SHORT_NAMES.contains(&name) || libpq::NAMES.contains(&name)
}

/// Whether Kubernetes or Docker made the variable. They describe a service called `switchboard` to
/// its neighbours under these names, and do not address the server.
fn is_service_link(name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    rest == "SERVICE_HOST"
        || rest.starts_with("SERVICE_PORT")
        || rest.starts_with("PORT_")
        || (rest == "PORT" && value.contains("://"))
}

/// The settings of the `SWITCHBOARD_` variables.
pub(super) fn settings(
    variables: &[(String, OsString)],
    schema: &Schema,
    problems: &mut Vec<Problem>,
) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, value) in variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        if name == CONFIG_FILE || is_service_link(name, &value.to_string_lossy()) {
            continue;
        }
        let origin = Origin::Env(name.clone());
        let path = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
        if *name != variable_of(&path) || !schema.knows(&path) {
            problems.push(schema.unknown(origin, &path));
            continue;
        }
        match value.to_str() {
            Some(text) => settings.extend(setting(&path, text, origin, schema, problems)),
            None => problems.push(Problem::new(origin, &path, "is not valid UTF-8")),
        }
    }
    settings
}

/// The value of a short name, unless it is missing or empty.
pub(super) fn short_name<'a>(
    variables: &'a [(String, OsString)],
    name: &str,
    problems: &mut Vec<Problem>,
) -> Option<(&'a str, Origin)> {
    let (_, value) = variables.iter().find(|(n, value)| n == name && !value.is_empty())?;
    let origin = Origin::Env(name.to_owned());
    match value.to_str() {
        Some(text) => Some((text, origin)),
        None => {
            problems.push(Problem::general(origin, "is not valid UTF-8"));
            None
        }
    }
}

/// Where OpenTelemetry's own variables send spans, unless they switch them off.
pub(super) fn otlp_endpoint(
    variables: &[(String, OsString)],
    problems: &mut Vec<Problem>,
) -> Option<(String, Origin)> {
    let mut of = |name| short_name(variables, name, problems);
    let is_off = of("OTEL_SDK_DISABLED").is_some_and(|(text, _)| text.eq_ignore_ascii_case("true"))
        || of("OTEL_TRACES_EXPORTER").is_some_and(|(text, _)| text == "none");
    if is_off {
        return None;
    }
    if let Some((url, origin)) = of("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return Some((url.to_owned(), origin));
    }
    // This variable serves all signals. Each signal has a path below it.
    let (url, origin) = of("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    Some((format!("{}/v1/traces", url.trim_end_matches('/')), origin))
}

/// A key's value as text: lists are separated by commas.
pub(super) fn setting(
    key: &str,
    text: &str,
    origin: Origin,
    schema: &Schema,
    problems: &mut Vec<Problem>,
) -> Option<Setting> {
    let list = || {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
    };
    let value = match schema.default_of(key) {
        Some(Value::Boolean(_)) => text.parse().map(Value::Boolean).map_err(|_| "true or false"),
        Some(Value::Integer(_)) => {
            text.parse().map(Value::Integer).map_err(|_| "a whole number, 0 or more")
        }
        Some(Value::Float(_)) => text.parse().map(Value::Float).map_err(|_| "a number"),
        Some(Value::Array(_)) => Ok(list()),
        _ if schema::is_list(key) => Ok(list()),
        _ => Ok(Value::String(text.to_owned())),
    };
    match value {
        Ok(value) => Some(Setting::new(key, value, origin)),
        Err(expected) => {
            problems.push(Problem::new(origin, key, format!("must be {expected}, not `{text}`")));
            None
        }
    }
}
