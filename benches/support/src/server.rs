//! What is measured: a program, the environment it gets, and what it promises.

use std::{path::PathBuf, process::Command};

use crate::{process::Listening, result::Result};

/// What is started.
#[derive(Clone, Debug)]
pub enum Program {
    /// A file.
    At(PathBuf),
    /// The running program itself, with an argument that makes it a server.
    Own(&'static str),
}

/// A server to measure. It takes its port from the variable `PORT`.
#[derive(Clone, Debug)]
pub struct Spec {
    /// How the tables call it.
    pub name: String,
    /// What is started.
    pub program: Program,
    /// What its environment has beside this program's own.
    pub variables: Vec<(String, String)>,
    /// Whether the events of one sender must not overtake each other.
    pub keeps_order: bool,
}

impl Spec {
    /// A server that keeps the order.
    #[must_use]
    pub fn new(name: &str, program: Program, variables: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables = variables.iter().map(own).collect();
        Self { name: name.to_owned(), program, variables, keeps_order: true }
    }

    /// Reads `NAME=PATH[,VARIABLE=VALUE]…`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once('=').ok_or(format!("unknown {text}, see --help"))?;
        let mut parts = rest.split(',');
        let path = parts.next().unwrap_or_default();
        let variable = |part| {
            str::split_once(part, '=').ok_or_else(|| format!("{part} is not VARIABLE=VALUE"))
        };
        let variables = parts.map(variable).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(name, Program::At(path.into()), &variables))
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// # Errors
    /// See [`Listening::start`].
    pub fn start(&self) -> Result<Listening> {
        let own = std::env::current_exe()?;
        Listening::start(&self.name, |address| {
            let mut command = match &self.program {
                Program::At(path) => Command::new(path),
                Program::Own(argument) => {
                    let mut command = Command::new(own);
                    command.arg(argument);
                    command
                }
            };
            command.env("PORT", address.port().to_string()).envs(self.variables.iter().cloned());
            command
        })
    }
}
