//! Frames on their way out: bounded, in one order, everything that waits in one round trip.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::RedisError;
use tokio::sync::{Notify, mpsc};

use super::{super::BrokerCounts, driver::Driver};

/// How many frames may wait.
const MAX_FRAMES: usize = 65_536;
/// How many bytes may wait.
const MAX_BYTES: usize = 64 << 20;
/// How much goes out in one round trip, so that it is answered within the driver's deadline.
const BATCH_FRAMES: usize = 1024;
const BATCH_BYTES: usize = 1 << 20;

/// A frame and its channel.
pub(super) type Outgoing = (Box<str>, Bytes);

pub(super) struct Queue {
    sender: mpsc::UnboundedSender<Outgoing>,
    /// Held by whoever works the queue off; the link's task alone.
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Outgoing>>>,
    frames: AtomicUsize,
    bytes: AtomicUsize,
    /// Of the last round trip.
    latency_us: AtomicU64,
    published: AtomicU64,
    dropped_down: AtomicU64,
    dropped_full: AtomicU64,
    emptied: Notify,
}

impl Default for Queue {
    fn default() -> Self {
        // Bounded by the two counts, because one of the bounds is in bytes.
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            frames: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            latency_us: AtomicU64::new(0),
            published: AtomicU64::new(0),
            dropped_down: AtomicU64::new(0),
            dropped_full: AtomicU64::new(0),
            emptied: Notify::new(),
        }
    }
}

impl Queue {
    pub(super) fn push(&self, is_up: bool, channel: &str, frame: Bytes) {
        if !is_up {
            self.dropped_down.fetch_add(1, Relaxed);
            return;
        }
        let size = frame.len() + channel.len();
        let frames = self.frames.fetch_add(1, Relaxed);
        let bytes = self.bytes.fetch_add(size, Relaxed);
        if frames >= MAX_FRAMES || bytes + size > MAX_BYTES {
            self.settle(1, size);
            let dropped = self.dropped_full.fetch_add(1, Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "Redis takes frames too slowly, they are dropped");
            }
            return;
        }
        // The receiver lives as long as the queue.
        let _ = self.sender.send((channel.into(), frame));
    }

    fn settle(&self, frames: usize, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
        if self.frames.fetch_sub(frames, Relaxed) == frames {
            self.emptied.notify_waiters();
        }
    }

    /// Publishes what comes until that fails.
    pub(super) async fn work_off(&self, driver: &Driver) -> RedisError {
        let Some(receiver) = self.receiver.lock().take() else {
            return std::future::pending().await;
        };
        let mut borrowed = Borrowed { queue: self, receiver: Some(receiver) };
        let mut waiting = Vec::new();
        loop {
            // The guard owns it until it is dropped.
            let Some(receiver) = &mut borrowed.receiver else { continue };
            receiver.recv_many(&mut waiting, BATCH_FRAMES).await;
            let mut rest = waiting.drain(..).peekable();
            while rest.peek().is_some() {
                let mut bytes = 0;
                let mut batch = Vec::new();
                while let Some((channel, frame)) = rest
                    .next_if(|(_, frame)| batch.is_empty() || bytes + frame.len() <= BATCH_BYTES)
                {
                    bytes += frame.len() + channel.len();
                    batch.push((channel, frame));
                }
                let frames = batch.len();
                let started = Instant::now();
                let done = driver.publish(batch).await;
                self.settle(frames, bytes);
                match done {
                    Ok(()) => {
                        let took = started.elapsed().as_micros();
                        self.latency_us.store(u64::try_from(took).unwrap_or(u64::MAX), Relaxed);
                        self.published.fetch_add(frames as u64, Relaxed);
                    }
                    Err(error) => {
                        let lost = rest.map(|(channel, frame)| frame.len() + channel.len());
                        let (count, bytes) = lost.fold((0, 0), |(n, b), size| (n + 1, b + size));
                        self.settle(count, bytes);
                        self.dropped_down.fetch_add((frames + count) as u64, Relaxed);
                        return error;
                    }
                }
            }
        }
    }

    /// Drops what waits: the link is down.
    pub(super) fn drop_all(&self) {
        let mut receiver = self.receiver.lock();
        while let Some(Ok((channel, frame))) =
            receiver.as_mut().map(mpsc::UnboundedReceiver::try_recv)
        {
            self.settle(1, frame.len() + channel.len());
            self.dropped_down.fetch_add(1, Relaxed);
        }
    }

    /// Ends when nothing waits.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.frames.load(Relaxed) == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Grows with everything that Redis has confirmed.
    pub(super) fn sent(&self) -> u64 {
        self.published.load(Relaxed)
    }

    pub(super) fn counts(&self) -> BrokerCounts {
        BrokerCounts {
            published: self.published.load(Relaxed),
            dropped_down: self.dropped_down.load(Relaxed),
            dropped_full: self.dropped_full.load(Relaxed),
            queued: self.frames.load(Relaxed) as u64,
            latency_us: self.latency_us.load(Relaxed),
            ..BrokerCounts::default()
        }
    }
}

/// Gives the receiver back when work ends, however it ends.
struct Borrowed<'a> {
    queue: &'a Queue,
    receiver: Option<mpsc::UnboundedReceiver<Outgoing>>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        *self.queue.receiver.lock() = self.receiver.take();
    }
}
