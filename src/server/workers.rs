//! Threads that serve connections, each with a runtime of its own.
//!
//! A connection lives on one thread from beginning to end, so its packets are handled without
//! passing between threads. One runtime that steals work costs more for each packet; the figures are
//! in `benches/README.md`.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    thread::JoinHandle,
};

use tokio::{net::TcpStream, sync::mpsc};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Job = Box<dyn FnOnce(TcpStream) -> Task + Send>;

/// The threads; none means the caller's runtime.
pub(super) struct Workers {
    threads: Vec<Worker>,
    next: AtomicUsize,
}

struct Worker {
    connections: mpsc::UnboundedSender<(std::net::TcpStream, Job)>,
    thread: JoinHandle<()>,
}

impl Workers {
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let threads = (0..count).map(Worker::start).collect::<io::Result<_>>()?;
        Ok(Self { threads, next: AtomicUsize::new(0) })
    }

    /// Serves a connection on one of the threads, in turn.
    pub(super) fn run<F, Fut>(&self, stream: TcpStream, serve: F)
    where
        F: FnOnce(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if self.threads.is_empty() {
            tokio::spawn(serve(stream));
            return;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        // The stream is registered with the runtime that accepted it; the worker's needs it anew.
        match stream.into_std() {
            Ok(stream) => {
                let job: Job = Box::new(move |stream| Box::pin(serve(stream)));
                let _ = self.threads[turn].connections.send((stream, job));
            }
            Err(error) => tracing::error!(%error, "cannot hand a connection to a worker"),
        }
    }

    /// Ends the threads and what still runs on them.
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
        let (connections, mut queue) = mpsc::unbounded_channel::<(std::net::TcpStream, Job)>();
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
