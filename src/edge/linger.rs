//! The end of a connection whose client still sends.
//!
//! A request may be answered before all of it has come, most often because it is refused. If the
//! connection were closed then, the rest would find nobody, and TCP would answer it with a reset.
//! A reset makes the client's system throw away what the client has not read yet: the answer. So
//! the rest is read and thrown away first (RFC 9112, section 9.6), for as long and as far as
//! [`Linger`] allows.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

/// Bytes that are read and thrown away, at most. Whoever sends more has not looked for an answer.
const MOST: usize = 64 * 1024 * 1024;

/// How much longer a connection is read from.
#[derive(Debug)]
pub(super) struct Linger {
    timer: Pin<Box<Sleep>>,
    left: usize,
}

impl Linger {
    /// Begins now.
    pub(super) fn new(time: Duration) -> Self {
        Self { timer: Box::pin(sleep(time)), left: MOST }
    }

    /// Throws away what comes. Ready with whether more may come: not after the client's end, nor
    /// after the time or the bytes are used up.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: Pin<&mut impl AsyncRead>,
    ) -> Poll<bool> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        let mut space = [MaybeUninit::uninit(); 8 * 1024];
        let mut thrown_away = ReadBuf::uninit(&mut space);
        let read: Poll<io::Result<()>> = stream.poll_read(cx, &mut thrown_away);
        read.map(|read| {
            let n = thrown_away.filled().len();
            self.left = self.left.saturating_sub(n);
            read.is_ok() && n > 0 && self.left > 0
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::header::CONTENT_LENGTH;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };

    use super::{super::request_line::Escaping, *};

    const TIME: Duration = Duration::from_secs(10);

    /// The end of a connection after a request of that body, of which so much has come: how long it
    /// takes if the rest comes after a second, and if it never comes.
    async fn closed_after(length: &str, came: &[u8]) -> [Duration; 2] {
        let mut times = [Duration::ZERO; 2];
        for (rest_comes, time) in [true, false].into_iter().zip(&mut times) {
            let (here, mut there) = duplex(1000);
            let (mut http, body_length) = Escaping::new(here, TIME);
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            there.write_all(&[head.as_bytes(), came].concat()).await.expect("room");
            let mut read = vec![0; head.len() + came.len()];
            http.read_exact(&mut read).await.expect("it came");
            body_length
                .of(&[(CONTENT_LENGTH, length.parse().expect("text"))].into_iter().collect());
            let rest = tokio::spawn(async move {
                if rest_comes {
                    sleep(Duration::from_secs(1)).await;
                    there.write_all(b"rest").await.expect("it is read");
                }
                there // the client does not end
            });
            let begin = Instant::now();
            http.shutdown().await.expect("closed");
            *time = begin.elapsed();
            rest.abort();
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_rest_of_a_request_is_waited_for() {
        let second = Duration::from_secs(1);
        assert_eq!(closed_after("0", b"").await, [Duration::ZERO; 2]);
        assert_eq!(closed_after("4", b"all.").await, [Duration::ZERO; 2]);
        assert_eq!(closed_after("8", b"some").await, [second, TIME]);
        assert_eq!(closed_after("9", b"some").await, [TIME; 2]);
    }

    /// Until nothing more may come; how long that takes.
    async fn lingered(linger: &mut Linger, stream: &mut DuplexStream) -> Duration {
        let begin = Instant::now();
        while poll_fn(|cx| linger.poll(cx, Pin::new(stream))).await {}
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_ends_is_not_waited_for() {
        let (mut here, mut there) = duplex(100_000);
        there.write_all(&[0; 50_000]).await.expect("room");
        drop(there);
        let mut linger = Linger::new(TIME);
        assert_eq!(lingered(&mut linger, &mut here).await, Duration::ZERO);
        assert_eq!(linger.left, MOST - 50_000);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_ends_has_a_time() {
        let (mut here, _there) = duplex(100);
        assert_eq!(lingered(&mut Linger::new(TIME), &mut here).await, TIME);

        let (mut here, mut there) = duplex(100);
        tokio::spawn(async move {
            while there.write_all(b"and ").await.is_ok() {
                sleep(Duration::from_millis(300)).await;
            }
        });
        assert_eq!(lingered(&mut Linger::new(TIME), &mut here).await, TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn and_a_number_of_bytes() {
        let (mut here, mut there) = duplex(1024 * 1024);
        tokio::spawn(async move { while there.write_all(&[0; 1024 * 1024]).await.is_ok() {} });
        assert_eq!(lingered(&mut Linger::new(TIME), &mut here).await, Duration::ZERO);
    }
}
