//! The rooms that a socket is in.

use socketioxide_core::adapter::Room;

use super::Socket;
use crate::{fault::Fault, names::rooms::AUTHENTICATED};

impl Socket {
    /// Joins a room. Emits of this node reach the socket from the first poll on. Emits of other
    /// nodes reach it once this has ended, so tell the client afterwards.
    ///
    /// ```
    /// use switchboard::{Data, Fault, Gateway, Reply, Socket};
    ///
    /// let gateway = Gateway::new("/").on("join", async |socket: Socket, Data(room): Data<String>| {
    ///     socket.join(room).await?;
    ///     Ok::<_, Fault>(Reply::ack(&true))
    /// });
    /// ```
    ///
    /// # Errors
    /// `forbidden` if the socket is in as many rooms as `limits.max_rooms_per_socket` allows. Its
    /// own rooms do not count.
    pub async fn join(&self, room: impl Into<Room>) -> Result<(), Fault> {
        let room = room.into();
        let (in_turn, is_turn) = tokio::sync::oneshot::channel();
        self.0.adapter.in_turn(move || _ = in_turn.send(()));
        // What this node has sent before comes before. It never fails: each turn comes.
        let _ = is_turn.await;
        self.join_here(room.clone())?;
        self.0.adapter.settled(&[room]).await;
        Ok(())
    }

    fn join_here(&self, room: Room) -> Result<(), Fault> {
        let (adapter, sid) = (&self.0.adapter, self.0.sid);
        if adapter.is_in(sid, &room) {
            return Ok(());
        }
        let limit = adapter.context().limits().max_rooms_per_socket;
        if limit > 0 && adapter.room_count(sid).saturating_sub(self.own_rooms()) >= limit {
            return Err(Fault::forbidden(format!("a socket may be in {limit} rooms at most")));
        }
        self.0.adapter.join(self.0.sid, &[room]);
        Ok(())
    }

    /// Joins the rooms that the server gives every socket. They do not count against the limit. In
    /// force as [`join`](Self::join) once [`settled`](Self::settled) has ended.
    pub(crate) fn join_own(&self, rooms: &[Room]) {
        self.0.adapter.join(self.0.sid, rooms);
    }

    pub(crate) async fn settled(&self) {
        let adapter = &self.0.adapter;
        adapter.settled(&adapter.rooms_of(self.0.sid)).await;
    }

    /// Leaves a room. The socket's own rooms (id, user, `authenticated`) cannot be left: emits and
    /// acknowledgements of others depend on them.
    ///
    /// With recovery over Redis streams this is done behind what this node has sent before.
    pub fn leave(&self, room: &str) {
        if !self.is_own_room(room) {
            let (adapter, sid) = (self.0.adapter.clone(), self.0.sid);
            let room = Room::Owned(room.to_owned());
            self.0.adapter.in_turn(move || adapter.leave(sid, room));
        }
    }

    /// Whether the socket is in this room.
    pub fn is_in(&self, room: &str) -> bool {
        self.0.adapter.is_in(self.0.sid, room)
    }

    /// The number of rooms that the server has given the socket.
    fn own_rooms(&self) -> usize {
        if self.user().is_some() { 3 } else { 1 }
    }

    fn is_own_room(&self, room: &str) -> bool {
        room == self.id().as_str()
            || self.user().is_some_and(|user| {
                room == self.0.adapter.context().user_room(&user) || room == AUTHENTICATED
            })
    }

    /// The rooms of the socket, sorted. In a disconnect handler, its last rooms.
    pub fn rooms(&self) -> Vec<Room> {
        let kept = self.0.end.lock().last_rooms.as_ref().map(|rooms| rooms.to_vec());
        let mut rooms = kept.unwrap_or_else(|| self.0.adapter.rooms_of(self.0.sid));
        rooms.sort();
        rooms
    }
}
