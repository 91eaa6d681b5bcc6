//! The last words of a server that hangs up at once.
//!
//! The driver sends several commands in one go. If the connection is closed before all of them are
//! answered, it reports "broken pipe" and drops the answers: that there are too many clients, or
//! that a proxy does not know the command. So the greeting alone is sent once more, without a
//! login.

use std::{error::Error, io, sync::Arc, time::Duration};

use redis::{ConnectionAddr, ErrorKind, RedisError};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(1);
const GREETING: &[u8] = b"*1\r\n$5\r\nHELLO\r\n";
/// Longest answer that is read, in bytes. Errors of Redis are shorter.
const MOST: usize = 512;

/// The error that the server answers, if any.
pub(super) async fn refusal(node: &ConnectionAddr) -> Option<RedisError> {
    let asked = async {
        match node {
            ConnectionAddr::Tcp(host, port) => {
                ask(TcpStream::connect((&**host, *port)).await.ok()?).await
            }
            ConnectionAddr::Unix(path) => ask(UnixStream::connect(path).await.ok()?).await,
            // A server that hangs up before the handshake has said nothing.
            _ => None,
        }
    };
    read(&timeout(PATIENCE, asked).await.ok()??)
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<Vec<u8>> {
    stream.write_all(GREETING).await.ok()?;
    let mut answer = Vec::new();
    while answer.len() < MOST && !answer.contains(&b'\n') {
        if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
            break;
        }
    }
    Some(answer)
}

fn read(answer: &[u8]) -> Option<RedisError> {
    let line = answer.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = String::from_utf8_lossy(&line[..line.len().min(MOST)]);
    match line.chars().next()? {
        // A server that only misses the login gave no reason.
        '-' if line.starts_with("-NOAUTH") => None,
        '-' => {
            let (code, detail) = line[1..].split_once(' ').unwrap_or((&line[1..], ""));
            Some(redis::make_extension_error(code.to_owned(), Some(detail.to_owned())))
        }
        // The server greets well now.
        '%' | '*' => None,
        _ => Some((ErrorKind::Parse, "it does not speak the protocol").into()),
    }
}

/// The driver's source is the shared pointer to the error, not the error itself.
pub(super) fn cause(error: &RedisError) -> Option<&io::Error> {
    let shared: &Arc<dyn Error + Send + Sync> = error.source()?.downcast_ref()?;
    shared.downcast_ref()
}

/// Whether a server was there and closed the connection.
pub(super) fn is_hang_up(error: &RedisError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    cause(error).is_some_and(|cause| {
        matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    })
}
