//! The connections of the admin port. Places are few, so an idle connection makes room for a new
//! one.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, Id, JoinSet},
    time::Instant,
};
use tower_service::Service;

use crate::edge::{Conversation, Impatient, Patience};

/// Most connections at one time. Each may cost a body, and there are few operators.
const MAX_CONNECTIONS: usize = 256;

/// Longest silence of a connection.
const SILENCE: Duration = Duration::from_secs(30);

/// Slowest reading of an answer.
const PATIENCE: Patience = Patience { timeout: SILENCE, min_rate: 1000 };

/// The activity of a connection.
#[derive(Debug)]
struct Activity {
    /// A request is being answered.
    is_busy: AtomicBool,
    /// The start of its idleness, in milliseconds of the listener's clock.
    idle_since: AtomicU64,
}

/// Serves connections for ever. Dropping the future ends them.
pub(crate) async fn serve(listener: TcpListener, router: Router) -> Infallible {
    let mut places =
        Places { open: HashMap::new(), tasks: JoinSet::new(), started: Instant::now() };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => places.take(stream, &router).await,
                Err(error) => wait_after(&error).await,
            },
            Some(ended) = places.tasks.join_next_with_id() => places.free(&ended),
        }
    }
}

async fn wait_after(error: &io::Error) {
    tracing::debug!(%error, "cannot accept a connection to the admin port");
    // Out of file descriptors, most likely. Only time helps.
    tokio::time::sleep(Duration::from_millis(100)).await;
}

struct Places {
    open: HashMap<Id, (AbortHandle, Arc<Activity>)>,
    tasks: JoinSet<()>,
    started: Instant,
}

impl Places {
    /// Serves a connection once there is a place.
    async fn take(&mut self, stream: TcpStream, router: &Router) {
        while self.open.len() >= MAX_CONNECTIONS {
            if let Some(idle) = self.longest_idle() {
                idle.abort();
            }
            if let Some(ended) = self.tasks.join_next_with_id().await {
                self.free(&ended);
            }
        }
        let activity = Arc::new(Activity {
            is_busy: AtomicBool::new(false),
            idle_since: AtomicU64::new(millis(self.started)),
        });
        let conversation = converse(stream, router.clone(), activity.clone(), self.started);
        let task = self.tasks.spawn(conversation);
        self.open.insert(task.id(), (task, activity));
    }

    fn longest_idle(&self) -> Option<&AbortHandle> {
        let idle = self.open.values().filter(|(_, it)| !it.is_busy.load(Ordering::Acquire));
        idle.min_by_key(|(_, it)| it.idle_since.load(Ordering::Relaxed)).map(|(task, _)| task)
    }

    fn free(&mut self, ended: &Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.open.remove(&id);
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn converse(stream: TcpStream, router: Router, activity: Arc<Activity>, started: Instant) {
    let service = service_fn(|request: Request<Incoming>| {
        let (mut router, activity) = (router.clone(), activity.clone());
        async move {
            activity.is_busy.store(true, Ordering::Release);
            let answered = router.call(request.map(Body::new)).await;
            activity.idle_since.store(millis(started), Ordering::Relaxed);
            activity.is_busy.store(false, Ordering::Release);
            answered
        }
    });
    let stream = Impatient::new(stream, PATIENCE, Conversation::default());
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "a connection to the admin port broke");
    }
}
