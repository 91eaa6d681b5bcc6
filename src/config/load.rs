//! Merges flags, environment, file and defaults into one [`Config`], and names all problems at
//! once.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use toml::Value;

use super::{
    Config, DEV_SECRET, address,
    check::Finding,
    dev, env, file,
    given::{Given, SecretFiles, Setting, Shape, nested},
    libpq::Libpq,
    problem::{ConfigErrors, Origin, Problem},
    schema::{Amount, Schema, is_secret, renamed, secret_named_by},
};

/// Where the configuration comes from. Kept by the server, which loads it again on `SIGHUP`.
///
/// ```
/// use switchboard::config::{self, Sources};
///
/// let sources = Sources::new().flag("--listen", "listen", "127.0.0.1:4000").env(std::env::vars_os());
/// let loaded = config::load(&sources)?;
/// assert_eq!(loaded.config.listen.port(), 4000);
/// # Ok::<(), switchboard::config::ConfigErrors>(())
/// ```
#[derive(Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    env: Vec<(String, OsString)>,
    flags: Vec<(&'static str, &'static str, String)>,
    dev: bool,
}

impl Sources {
    /// Nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads this TOML file, at every load.
    ///
    /// ```
    /// use switchboard::config::{self, Sources};
    ///
    /// let missing = config::load(&Sources::new().file("no-such-file.toml"));
    /// assert!(missing.is_err());
    /// ```
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes `SWITCHBOARD_…`, `PORT`, `REDIS_URL`, `POSTGRES_URL`, libpq's `PG…` and OpenTelemetry's endpoint out of these
    /// variables, usually [`std::env::vars_os`].
    ///
    /// ```
    /// use switchboard::config::{self, Sources};
    ///
    /// let variables = [("SWITCHBOARD_WORKERS".into(), "3".into())];
    /// assert_eq!(config::load(&Sources::new().env(variables))?.config.workers, 3);
    /// # Ok::<(), switchboard::config::ConfigErrors>(())
    /// ```
    #[must_use]
    pub fn env(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named =
            variables.into_iter().filter_map(|(n, value)| Some((n.into_string().ok()?, value)));
        self.env.extend(named.filter(|(name, _)| env::concerns_us(name)));
        self
    }

    /// A value from the command line: the flag as it was written (`--listen`), the key it stands
    /// for, and its text.
    ///
    /// ```
    /// use switchboard::config::{self, Sources};
    ///
    /// let sources = Sources::new().flag("--workers", "workers", "2");
    /// assert_eq!(config::load(&sources)?.config.workers, 2);
    /// # Ok::<(), switchboard::config::ConfigErrors>(())
    /// ```
    #[must_use]
    pub fn flag(mut self, flag: &'static str, key: &'static str, value: impl Into<String>) -> Self {
        self.flags.push((flag, key, value.into()));
        self
    }

    /// Development: listens on 127.0.0.1, whatever else is configured, takes [`DEV_SECRET`] where no
    /// HS256 secret is, and allows pages of this machine where no origins are listed. Without a store and a
    /// Redis there is an inbox in memory.
    ///
    /// ```
    /// use switchboard::config::{self, Sources};
    ///
    /// let loaded = config::load(&Sources::new().dev(true))?;
    /// assert!(loaded.config.listen.ip().is_loopback());
    /// # Ok::<(), switchboard::config::ConfigErrors>(())
    /// ```
    #[must_use]
    pub fn dev(mut self, dev: bool) -> Self {
        self.dev = dev;
        self
    }
}

/// Values may be secrets, so only names are shown.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("env", &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("flags", &self.flags.iter().map(|(flag, ..)| flag).collect::<Vec<_>>())
            .field("dev", &self.dev)
            .finish()
    }
}

/// A valid configuration.
///
/// ```
/// use switchboard::config::{self, Sources};
///
/// let loaded = config::load(&Sources::new().flag("--workers", "workers", "2"))?;
/// assert_eq!(loaded.config.workers, 2);
/// # Ok::<(), switchboard::config::ConfigErrors>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration in force.
    pub config: Config,
    /// Settings that work but are unwise. The caller logs them.
    pub warnings: Vec<Problem>,
    pub(super) given: Given,
    pub(super) file: Option<Shape>,
}

impl Loaded {
    /// A problem with a key that was found later, at the place where its value was read.
    ///
    /// ```
    /// use switchboard::config::{self, Sources};
    ///
    /// let loaded = config::load(&Sources::new().flag("--listen", "listen", "127.0.0.1:80"))?;
    /// let problem = loaded.problem("listen", "this port is taken");
    /// assert_eq!(problem.to_string(), "listen: this port is taken (--listen)");
    /// # Ok::<(), switchboard::config::ConfigErrors>(())
    /// ```
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        self.given.place(key, message)
    }
}

/// Merges the sources: flags over environment over file over defaults.
///
/// ```
/// use switchboard::config::{self, Sources};
///
/// let Err(errors) = config::load(&Sources::new().flag("--workers", "workers", "many")) else {
///     panic!("that is no number");
/// };
/// println!("{errors}");
/// assert_eq!(errors.problems()[0].key(), Some("workers"));
/// ```
///
/// # Errors
/// Every problem in every source, even where a stronger source overrides it.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let mut loader = Loader::new();
    loader.read(sources);
    loader.finish(sources.dev)
}

struct Loader {
    schema: Schema,
    given: Given,
    file: Option<Shape>,
    secret_files: SecretFiles,
    /// Keys with a refused value. The default stands in for each, so a rule that it breaks is not
    /// reported.
    refused: BTreeSet<String>,
    /// What fills a URL of Postgres.
    libpq: Libpq,
    problems: Vec<Problem>,
}

impl Loader {
    fn new() -> Self {
        Self {
            schema: Schema::new(),
            given: Given::default(),
            file: None,
            secret_files: SecretFiles::default(),
            refused: BTreeSet::new(),
            libpq: Libpq::default(),
            problems: Vec::new(),
        }
    }

    /// Layer by layer, the weakest first.
    fn read(&mut self, sources: &Sources) {
        if let Some(path) = &sources.file {
            let (settings, shape) = file::read(path, &self.schema, &mut self.problems);
            self.file = shape;
            self.layer(settings);
        }
        let short_names = self.short_names(&sources.env);
        self.layer(short_names);
        let settings = env::settings(&sources.env, &self.schema, &mut self.problems);
        self.layer(settings);
        let mut settings = Vec::new();
        for (flag, key, text) in &sources.flags {
            let origin = Origin::Flag(flag);
            settings.extend(env::setting(key, text, origin, &self.schema, &mut self.problems));
        }
        self.layer(settings);
    }

    /// `PORT`, `REDIS_URL`, `POSTGRES_URL` and OpenTelemetry's endpoint. `PORT` replaces the port of `listen` as
    /// the weaker sources left it.
    fn short_names(&mut self, variables: &[(String, OsString)]) -> Vec<Setting> {
        let mut settings = Vec::new();
        if let Some((text, origin)) = env::short_name(variables, "PORT", &mut self.problems) {
            match text.parse::<u16>() {
                Ok(port) => {
                    let mut listen = self.config_so_far().listen;
                    listen.set_port(port);
                    let value = Value::String(listen.to_string());
                    settings.push(Setting::new("listen", value, origin));
                }
                Err(_) => {
                    let message = format!("is not a port: `{text}`");
                    self.problems.push(Problem::general(origin, message));
                }
            }
        }
        if let Some((url, origin)) = env::short_name(variables, "REDIS_URL", &mut self.problems) {
            let value = Value::String(url.to_owned());
            settings.push(Setting::new("redis.url", value, origin));
        }
        if let Some((url, origin)) = env::short_name(variables, "POSTGRES_URL", &mut self.problems)
        {
            let value = Value::String(url.to_owned());
            settings.push(Setting::new("store.url", value, origin));
        }
        self.libpq = Libpq::of(|name| {
            let (text, _) = env::short_name(variables, name, &mut self.problems)?;
            Some(text.to_owned())
        });
        if let Some((url, origin)) = env::otlp_endpoint(variables, &mut self.problems) {
            let value = Value::String(url);
            settings.push(Setting::new("traces.endpoint", value, origin));
        }
        settings
    }

    /// Lays the settings of one source over those of the weaker ones.
    fn layer(&mut self, settings: Vec<Setting>) {
        let given: BTreeSet<String> = settings.iter().map(|setting| setting.key.clone()).collect();
        for mut setting in settings {
            if let Some(key) = renamed(&setting.key) {
                if given.contains(key) {
                    let message = format!("stands beside {key}, its new name: give one of them");
                    self.refuse(key, Problem::new(setting.origin, &setting.key, message));
                    continue;
                }
                setting.key = key.to_owned();
            }
            self.secret_files.note(&setting);
            if let Some((secret, amount)) = secret_named_by(&setting.key) {
                if given.contains(secret) {
                    let message = format!("stands beside {secret}: give one of them");
                    self.refuse(secret, Problem::new(setting.origin, &setting.key, message));
                    continue;
                }
                match secret_in_file(&setting.value, amount) {
                    Ok(value) => setting = Setting { key: secret.to_owned(), value, ..setting },
                    Err(message) => {
                        self.refuse(secret, Problem::new(setting.origin, &setting.key, message));
                        continue;
                    }
                }
            }
            if let Err(message) = resolve(&mut setting) {
                let key = setting.key.clone();
                self.refuse(&key, Problem::new(setting.origin, &key, message));
                continue;
            }
            if let Some(fault) = setting.fault.take() {
                self.refuse(&setting.key, fault);
                continue;
            }
            match self.refusal(&setting) {
                None => self.given.insert(setting),
                Some(message) => {
                    let key = setting.key.clone();
                    self.refuse(&key, Problem::new(setting.origin, &key, message));
                }
            }
        }
    }

    fn refuse(&mut self, key: &str, problem: Problem) {
        self.refused.insert(key.to_owned());
        self.problems.push(problem);
    }

    /// Why a setting, taken alone, is not accepted.
    fn refusal(&self, setting: &Setting) -> Option<String> {
        let alone = nested([(setting.key.as_str(), setting.value.clone())]);
        match Config::deserialize(alone) {
            Ok(_) => None,
            Err(error) => Some(match self.schema.default_of(&setting.key) {
                Some(Value::Integer(_)) => "must be a whole number, 0 or more".into(),
                Some(Value::Float(_)) => "must be a number".into(),
                Some(Value::Boolean(_)) => "must be true or false".into(),
                // The usual message would quote the value, which is a secret.
                _ if is_secret(&setting.key)
                    && !setting.value.is_str()
                    && !is_strings(&setting.value) =>
                {
                    "must be a string or a list of strings".into()
                }
                _ => error.message().to_owned(),
            }),
        }
    }

    fn config_so_far(&self) -> Config {
        // Each setting was read alone before, and no setting changes the meaning of another.
        Config::deserialize(self.given.table()).unwrap_or_default()
    }

    fn finish(mut self, is_dev: bool) -> Result<Loaded, ConfigErrors> {
        let mut config = self.config_so_far();
        // Before development takes a store in memory where none is named.
        self.libpq.fill(&mut config);
        if is_dev {
            dev::adapt(&mut config, &self.given);
        } else if config.auth.hs256_secret.iter().any(|secret| secret.expose() == DEV_SECRET) {
            self.problems.push(
                self.given
                    .place("auth.hs256_secret", "is the secret of --dev, which everybody knows"),
            );
        }
        let check = config.check();
        for Finding { keys, message } in check.errors {
            // A key that is refused cannot break a rule either.
            let spurious = keys.iter().any(|key| self.refused.contains(*key));
            if !spurious {
                self.problems.push(self.given.place(keys[0], message));
            }
        }
        if !self.problems.is_empty() {
            return Err(ConfigErrors(self.problems));
        }
        let mut warnings: Vec<Problem> =
            check.warnings.into_iter().map(|f| self.given.place(f.keys[0], f.message)).collect();
        warnings.extend(self.secret_files.open_to_everybody());
        Ok(Loaded { config, warnings, given: self.given, file: self.file })
    }
}

/// Looks up the name in an address to listen on.
fn resolve(setting: &mut Setting) -> Result<(), String> {
    let is_address = match setting.key.as_str() {
        "listen" => true,
        "admin_listen" => setting.value.as_str() != Some(""),
        _ => false,
    };
    if let (true, Some(text)) = (is_address, setting.value.as_str()) {
        setting.value = Value::String(address::resolved(text)?.to_string());
    }
    Ok(())
}

fn is_strings(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_str))
}

/// The secret, or one secret a line, of the file named by a `<key>_file`. An empty path means no
/// file.
fn secret_in_file(path: &Value, amount: Amount) -> Result<Value, String> {
    let path = path.as_str().ok_or("must be the path of a file")?;
    let text = match path {
        "" => String::new(),
        path => std::fs::read_to_string(Path::new(path))
            .map_err(|error| format!("cannot read `{path}`: {error}"))?,
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match (lines.as_slice(), amount) {
        ([], _) if !path.is_empty() => Err(format!("`{path}` is empty")),
        ([], _) => Ok(Value::String(String::new())),
        ([line], Amount::One) => Ok(Value::String((*line).to_owned())),
        (_, Amount::One) => Err(format!("`{path}` has more than one line")),
        (lines, Amount::Several) => {
            Ok(Value::Array(lines.iter().map(|line| Value::String((*line).to_owned())).collect()))
        }
    }
}
