//! Threads that serve connections, each with a runtime of its own.
//!
//! A connection lives on one thread from beginning to end, so its packets never pass between
//! threads. One runtime that steals work costs more for each packet; `benches/README.md` has the
//! figures.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    thread::JoinHandle,
};

use tokio::{
    net::TcpStream,
    sync::mpsc::{self, error::TrySendError},
};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Job = Box<dyn FnOnce(TcpStream) -> Task + Send>;

/// How many connections may wait for a busy thread.
const WAITING: usize = 256;

/// The threads. None: the caller's runtime is used.
pub(super) struct Workers {
    threads: Vec<Worker>,
    next: AtomicUsize,
}

struct Worker {
    connections: mpsc::Sender<(std::net::TcpStream, Job)>,
    thread: JoinHandle<()>,
}

impl Workers {
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let threads = (0..count).map(Worker::start).collect::<io::Result<_>>()?;
        Ok(Self { threads, next: AtomicUsize::new(0) })
    }

    /// Serves a connection on one of the threads, in turn. Waits while the threads are behind;
    /// later connections wait in the queue of the listener then.
    pub(super) async fn run<F, Fut>(&self, stream: TcpStream, serve: F)
    where
        F: FnOnce(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if self.threads.is_empty() {
            tokio::spawn(serve(stream));
            return;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        // The stream is registered with the accepting runtime and has to move to the worker's.
        match stream.into_std() {
            Ok(stream) => {
                let job: Job = Box::new(move |stream| Box::pin(serve(stream)));
                let mut given = (stream, job);
                // A stuck thread is passed over.
                for thread in self.threads.iter().cycle().skip(turn).take(self.threads.len()) {
                    match thread.connections.try_send(given) {
                        Ok(()) => return,
                        Err(TrySendError::Full(back) | TrySendError::Closed(back)) => given = back,
                    }
                }
                let _ = self.threads[turn].connections.send(given).await;
            }
            Err(error) => tracing::error!(%error, "cannot hand a connection to a worker"),
        }
    }

    /// Ends the threads and everything that still runs on them.
    pub(super) async fn join(self) {
        let threads = self.threads.into_iter().map(|worker| {
            drop(worker.connections);
            worker.thread
        });
        let threads: Vec<_> = threads.collect();
        let joined =
            tokio::task::spawn_blocking(|| threads.into_iter().all(|thread| thread.join().is_ok()));
        if !joined.await.unwrap_or(false) {
            tracing::error!("a worker thread panicked");
        }
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (connections, mut queue) = mpsc::channel::<(std::net::TcpStream, Job)>(WAITING);
        let serve = move || {
            runtime.block_on(async move {
                while let Some((stream, job)) = queue.recv().await {
                    match TcpStream::from_std(stream) {
                        Ok(stream) => drop(tokio::spawn(job(stream))),
                        Err(error) => tracing::error!(%error, "cannot serve a connection"),
                    }
                }
            });
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(serve)?;
        Ok(Self { connections, thread })
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    /// A connection, and its other end.
    async fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let address = listener.local_addr().expect("it listens");
        let (ours, theirs) = tokio::join!(listener.accept(), TcpStream::connect(address));
        (ours.expect("accepted").0, theirs.expect("connected"))
    }

    #[tokio::test]
    async fn what_comes_while_a_thread_is_stuck_waits_outside() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let workers = Workers::start(1).expect("a thread");
        let (release, stuck) = mpsc::channel::<()>();
        let (stream, _first) = connection(&listener).await;
        workers.run(stream, move |_| async move { _ = stuck.recv() }).await;
        let mut others = Vec::new();
        let last = loop {
            let (stream, other) = connection(&listener).await;
            others.push(other);
            let mut handed_over = Box::pin(workers.run(stream, |_| async {}));
            if futures_util::poll!(&mut handed_over).is_pending() {
                break handed_over;
            }
            // The thread takes some before it reaches the connection that blocks it.
            assert!(others.len() <= 2 * WAITING, "the queue has an end");
        };
        release.send(()).expect("it waits for this");
        timeout(Duration::from_secs(10), last).await.expect("there is room again");
        workers.join().await;
    }
}
