//! The command line: its meaning, and whether it makes sense.
//!
//! [`parse`] does everything but serving, so that `main` decides nothing. Data goes to standard
//! output, messages for people to standard error. [`exit`] has the codes.

mod args;
pub(crate) mod emit;
mod new;
pub(crate) mod token;

use std::{ffi::OsString, fmt::Write as _, process::ExitCode};

use clap::Parser as _;
use switchboard::{
    Config,
    config::{ConfigErrors, Loaded, Problem, Sources, load},
    server::check_files,
};

use args::{Action, Cli, ConfigArgs};

/// The exit codes of the process.
pub(crate) mod exit {
    /// Success.
    pub(crate) const FINE: u8 = 0;
    /// Something failed while running.
    pub(crate) const FAILED: u8 = 1;
    /// Bad usage or configuration: the same call fails again.
    pub(crate) const USAGE: u8 = 2;
}

/// A configuration file with every key in it, its meaning and its default, switched off.
const SAMPLE: &str = include_str!("../../../switchboard.toml");

/// The rest of the work.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run the server.
    Serve(Box<ServeArgs>),
    /// Emit one event.
    Emit(Box<emit::Emit>),
    /// Bring the store's tables up to date.
    Migrate(Box<Config>),
    /// Say what a token is worth.
    Check(Box<token::Check>),
    /// Nothing more: the answer can be written.
    Done(Answer),
}

/// The inputs of the server.
#[derive(Debug)]
pub(crate) struct ServeArgs {
    /// A valid configuration, keys included. Its warnings are logged later.
    pub(crate) loaded: Loaded,
    /// Whether this is `--dev`.
    pub(crate) dev: bool,
    /// Whether to start without Redis.
    pub(crate) wait_for_redis: bool,
    /// The sources, to load again on `SIGHUP`.
    pub(crate) sources: Sources,
}

/// The output of a command, and its exit code.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Data, for standard output.
    pub(crate) data: String,
    /// Messages for people, for standard error.
    pub(crate) messages: String,
    /// One of [`exit`].
    pub(crate) code: u8,
}

impl Answer {
    fn data(data: impl Into<String>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    fn refusal(why: impl std::fmt::Display) -> Self {
        Self { messages: format!("error: {why}\n"), code: exit::USAGE, ..Self::default() }
    }

    /// Something failed while running.
    pub(crate) fn failure(why: impl std::fmt::Display) -> Self {
        Self { messages: format!("error: {why}\n"), code: exit::FAILED, ..Self::default() }
    }

    /// Writes the output, and returns the exit code.
    pub(crate) fn say(&self) -> ExitCode {
        use std::io::{ErrorKind, Write as _};
        let mut messages = std::io::stderr();
        _ = messages.write_all(self.messages.as_bytes());
        let mut data = std::io::stdout();
        match data.write_all(self.data.as_bytes()).and_then(|()| data.flush()) {
            // A reader that has gone away (`switchboard config | head`) is no failure of ours. A
            // full disk is.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                _ = writeln!(messages, "error: cannot write to standard output: {error}");
                ExitCode::from(exit::FAILED)
            }
            _ => ExitCode::from(self.code),
        }
    }
}

/// Parses a command line (the program's name first) in an environment.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Command {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return Command::Done(usage(&error)),
    };
    let env = env.into_iter().collect();
    let result = match cli.action {
        None => return serve(cli.serve, env),
        Some(Action::Serve(args)) => return serve(args, env),
        Some(Action::Token(args)) if args.check.is_some() => match token::to_check(&args, env) {
            Ok(check) => return Command::Check(Box::new(check)),
            Err(refusal) => Err(refusal),
        },
        Some(Action::Token(args)) => token::run(&args, env),
        Some(Action::Config(args)) if args.init => Ok(Answer::data(SAMPLE)),
        Some(Action::Config(args)) => show(args.config, env),
        Some(Action::Migrate(args)) => match to_migrate(args, env) {
            Ok(config) => return Command::Migrate(Box::new(config)),
            Err(refusal) => Err(refusal),
        },
        Some(Action::New(args)) => new::run(&args),
        Some(Action::Emit(args)) => match emit::prepare(args, env) {
            Ok(emit) => return Command::Emit(Box::new(emit)),
            Err(refusal) => Err(refusal),
        },
    };
    Command::Done(result.unwrap_or_else(|refusal| refusal))
}

/// `--help` and `--version` are answers. All other results of clap are bad usage.
fn usage(error: &clap::Error) -> Answer {
    let text = error.render().to_string();
    if error.use_stderr() {
        Answer { messages: text, code: exit::USAGE, ..Answer::default() }
    } else {
        Answer::data(text)
    }
}

fn serve(args: ConfigArgs, env: Environment) -> Command {
    let (dev, wait_for_redis) = (args.dev, args.wait_for_redis);
    let sources = args.sources(env);
    match load_with_keys(&sources) {
        Ok(loaded) => Command::Serve(Box::new(ServeArgs { loaded, dev, wait_for_redis, sources })),
        Err(refusal) => Command::Done(refusal),
    }
}

fn show(args: ConfigArgs, env: Environment) -> Result<Answer, Answer> {
    let loaded = load_with_keys(&args.sources(env))?;
    let mut messages = String::new();
    for warning in &loaded.warnings {
        _ = writeln!(messages, "warning: {warning}");
    }
    Ok(Answer { data: loaded.config.to_masked_toml(), messages, code: exit::FINE })
}

/// The configuration of a store.
fn to_migrate(args: ConfigArgs, env: Environment) -> Result<Config, Answer> {
    let config = load_with_keys(&args.sources(env))?.config;
    match config.store.url {
        Some(_) => Ok(config),
        None => Err(Answer::refusal("store.url: not set, so there is nothing to bring up to date")),
    }
}

/// A valid configuration whose keys and files are usable, too.
fn load_with_keys(sources: &Sources) -> Result<Loaded, Answer> {
    let loaded = load(sources).map_err(|errors| refuse_config(&errors))?;
    let problems = check_files(&loaded.config);
    if problems.is_empty() {
        return Ok(loaded);
    }
    let problems = problems.into_iter().map(|(key, message)| loaded.problem(key, message));
    Err(refuse(&problems.collect::<Vec<_>>()))
}

fn refuse_config(errors: &ConfigErrors) -> Answer {
    refuse(errors.problems())
}

fn refuse(problems: &[Problem]) -> Answer {
    let mut messages = String::new();
    for problem in problems {
        _ = writeln!(messages, "error: {problem}");
    }
    Answer { messages, code: exit::USAGE, ..Answer::default() }
}

type Environment = Vec<(OsString, OsString)>;

#[cfg(test)]
mod tests;
