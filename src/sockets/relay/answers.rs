//! Answers of other nodes that take long to read: a description of 10,000 sockets is some
//! megabytes. They are read on a thread of their own, so that the frames behind them do not wait.
//!
//! Answers keep their order: while one is being read, later ones wait behind it.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

/// Longest answer that is read at once. A longer one would hold up the frames behind it.
pub(super) const LONG: usize = 64 * 1024;

/// Most bytes of answers that may wait. Further answers are dropped, and their senders count as
/// silent.
const MAX_WAITING: usize = 256 << 20;

/// The memory of a waiting answer beside its own bytes.
const PLACE: usize = 128;

/// The answers that wait to be read.
#[derive(Debug, Default)]
pub(super) struct Answers(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    reading: bool,
    waiting: VecDeque<(Box<str>, Bytes)>,
    /// Their bytes, and those of the answer that is being read.
    bytes: usize,
}

/// The fate of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It has to be read at once.
    AtOnce,
    /// It is read in its turn.
    Later,
    /// Too much waits already.
    Dropped,
}

impl Answers {
    /// Takes an answer. One that has to wait goes to `read`, on a thread that may take its time.
    pub(super) fn take(
        &self,
        channel: &str,
        frame: &Bytes,
        tasks: &TaskTracker,
        read: impl Fn(&str, &Bytes) + Send + Sync + 'static,
    ) -> Taken {
        let mut queue = self.0.lock();
        if !queue.reading && frame.len() <= LONG {
            return Taken::AtOnce;
        }
        let bytes = queue.bytes + frame.len() + PLACE;
        if bytes > MAX_WAITING {
            return Taken::Dropped;
        }
        queue.bytes = bytes;
        queue.waiting.push_back((channel.into(), frame.clone()));
        if !std::mem::replace(&mut queue.reading, true) {
            let queue = self.0.clone();
            tasks.spawn_blocking(move || read_all(&queue, &read));
        }
        Taken::Later
    }
}

fn read_all(queue: &Mutex<Queue>, read: &dyn Fn(&str, &Bytes)) {
    let mut done = 0;
    loop {
        // Not under the lock, so that others can be taken meanwhile.
        let next = next(&mut queue.lock(), done);
        let Some((channel, frame)) = next else { return };
        done = frame.len() + PLACE;
        // A panic over one answer must not hold up those behind it.
        let read = catch_unwind(AssertUnwindSafe(|| read(&channel, &frame)));
        if read.is_err() {
            tracing::error!("an answer of another node cannot be read");
        }
    }
}

/// The next answer, after one of `done` bytes.
fn next(queue: &mut Queue, done: usize) -> Option<(Box<str>, Bytes)> {
    queue.bytes -= done;
    let next = queue.waiting.pop_front();
    queue.reading = next.is_some();
    next
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn frame(first: u8, bytes: usize) -> Bytes {
        let mut frame = vec![0; bytes];
        frame[0] = first;
        frame.into()
    }

    type Read = dyn Fn(&str, &Bytes) + Send + Sync;

    /// Answers that are read later go to the receiver, one for each word on the sender.
    struct Rig {
        answers: Answers,
        tasks: TaskTracker,
        read: Arc<Read>,
        goes_on: mpsc::Sender<()>,
        was_read: mpsc::Receiver<u8>,
    }

    impl Rig {
        fn new() -> Self {
            let (goes_on, waits) = mpsc::channel();
            let (reads, was_read) = mpsc::channel();
            let waits = Mutex::new(waits);
            let read = move |_: &str, frame: &Bytes| {
                waits.lock().recv_timeout(DEADLINE).expect("the test goes on");
                assert_ne!(frame[0], b'!', "an answer at which it fails");
                reads.send(frame[0]).expect("the test listens");
            };
            let read = Arc::new(read);
            Self { answers: Answers::default(), tasks: TaskTracker::new(), read, goes_on, was_read }
        }

        fn take(&self, frame: &Bytes) -> Taken {
            let read = self.read.clone();
            self.answers.take("c", frame, &self.tasks, move |channel, frame| read(channel, frame))
        }

        fn reads_next(&self) -> u8 {
            self.goes_on.send(()).expect("it waits");
            self.was_read.recv_timeout(DEADLINE).expect("the next one")
        }

        async fn is_idle(&self) {
            self.tasks.close();
            tokio::time::timeout(DEADLINE, self.tasks.wait()).await.expect("it ends");
        }
    }

    #[tokio::test]
    async fn a_long_answer_is_read_later_and_those_behind_it_in_their_order() {
        let rig = Rig::new();
        assert_eq!(rig.take(&frame(b'0', LONG)), Taken::AtOnce);
        assert_eq!(rig.take(&frame(b'1', LONG + 1)), Taken::Later);
        assert_eq!(rig.take(&frame(b'2', 1)), Taken::Later);
        assert_eq!(rig.take(&frame(b'3', LONG + 1)), Taken::Later);
        for next in *b"123" {
            assert_eq!(rig.reads_next(), next);
        }
        rig.is_idle().await;
        assert_eq!(rig.take(&frame(b'4', 1)), Taken::AtOnce);
    }

    #[tokio::test]
    async fn one_at_which_reading_fails_does_not_hold_up_the_others() {
        let rig = Rig::new();
        assert_eq!(rig.take(&frame(b'!', LONG + 1)), Taken::Later);
        assert_eq!(rig.take(&frame(b'2', 1)), Taken::Later);
        rig.goes_on.send(()).expect("it waits");
        assert_eq!(rig.reads_next(), b'2');
        rig.is_idle().await;
        assert_eq!(rig.take(&frame(b'3', 1)), Taken::AtOnce);
    }

    #[tokio::test]
    async fn so_many_bytes_wait_and_no_more() {
        let rig = Rig::new();
        let large = frame(b'1', MAX_WAITING / 4 - PLACE);
        let taken: Vec<_> = (0..5).map(|_| rig.take(&large)).collect();
        assert_eq!(taken[..4], [Taken::Later; 4]);
        assert_eq!(taken[4], Taken::Dropped);
        assert_eq!(rig.take(&frame(b'2', 1)), Taken::Dropped);
        for _ in 0..4 {
            assert_eq!(rig.reads_next(), b'1');
        }
        rig.is_idle().await;
        assert_eq!(rig.answers.0.lock().bytes, 0);
    }
}
