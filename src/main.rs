//! The `switchboard` server binary.

mod cli;
mod logs;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        cli::Command::Done(answer) => answer.say(),
        cli::Command::Serve(args) => match serve::run(*args) {
            Ok(()) => ExitCode::from(cli::exit::FINE),
            Err(failure) => {
                eprintln!("error: {failure:#}");
                ExitCode::from(cli::exit::FAILED)
            }
        },
    }
}
