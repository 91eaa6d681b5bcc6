//! The end of a socket, and who waits for it.

use std::sync::atomic::Ordering;

use socketioxide_core::adapter::Room;
use tokio_util::sync::CancellationToken;

use super::Socket;

/// What there is for and after a socket's end.
#[derive(Default)]
pub(super) struct End {
    /// Made when a task waits, see [`Socket::closed`].
    told: Option<CancellationToken>,
    /// The rooms at the moment of leaving, for disconnect handlers.
    pub(super) last_rooms: Option<Box<[Room]>>,
}

impl Socket {
    /// Whether the socket is still connected.
    ///
    /// ```
    /// use switchboard::Socket;
    ///
    /// async fn count_down(socket: Socket) {
    ///     for left in (0..10).rev().take_while(|_| socket.is_connected()) {
    ///         socket.emit("left", &left).expect("a number can be encoded");
    ///         tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    ///     }
    /// }
    /// ```
    pub fn is_connected(&self) -> bool {
        !self.0.closed.load(Ordering::Acquire)
    }

    /// Waits until the socket has disconnected.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on_connect(async |socket: Socket| {
    ///     tokio::spawn(async move {
    ///         socket.closed().await;
    ///         println!("{} is gone", socket.id());
    ///     });
    /// });
    /// ```
    pub async fn closed(&self) {
        let token = {
            let mut end = self.0.end.lock();
            // Checked under the lock that `mark_closed` takes, so that the end is never missed.
            if !self.is_connected() {
                return;
            }
            end.told.get_or_insert_default().clone()
        };
        token.cancelled().await;
    }

    /// Remembers the rooms and wakes tasks that wait for the end. Returns false if this was done
    /// before.
    pub(crate) fn mark_closed(&self, rooms: Vec<Room>) -> bool {
        let mut end = self.0.end.lock();
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return false;
        }
        end.last_rooms = Some(rooms.into());
        if let Some(told) = end.told.take() {
            told.cancel();
        }
        drop(end);
        if let Some(expiry) = &self.0.expiry {
            expiry.forget(self);
        }
        true
    }
}
