//! The `switchboard` server binary.

mod cli;
mod logs;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match cli::parse(std::env::args_os(), std::env::vars_os()) {
        cli::Command::Done(answer) => return answer.say(),
        cli::Command::Serve(args) => serve::run(*args),
        cli::Command::Emit(emit) => serve::emit(*emit),
    };
    match ended {
        Ok(()) => ExitCode::from(cli::exit::FINE),
        Err(failure) => cli::Answer::failure(&failure).say(),
    }
}
