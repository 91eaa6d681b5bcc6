//! The `switchboard` server binary.

mod cli;
mod logs;
mod serve;

use std::process::ExitCode;

/// Threads of its own give free memory back within ten seconds, also on a server with nothing to do.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let ended = match cli::parse(std::env::args_os(), std::env::vars_os()) {
        cli::Command::Done(answer) => return answer.say(),
        cli::Command::Serve(args) => serve::run(*args),
        cli::Command::Migrate(config) => serve::migrate(&config),
        cli::Command::Emit(emit) => serve::emit(*emit),
        cli::Command::Check(check) => match serve::check(&check) {
            Ok(answer) => return answer.say(),
            Err(failure) => Err(failure),
        },
    };
    match ended {
        Ok(()) => ExitCode::from(cli::exit::FINE),
        Err(failure) => cli::Answer::failure(&failure).say(),
    }
}
