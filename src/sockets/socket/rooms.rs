//! The rooms that a socket is in.

use smallvec::SmallVec;
use socketioxide_core::adapter::Room;
use tokio::task::JoinHandle;

use super::Socket;
use crate::{fault::Fault, names::rooms::AUTHENTICATED, sockets::rooms::IntoRooms};

impl Socket {
    /// Joins a room, or several at once. Emits of this node reach the socket from the first poll on.
    /// Emits of other nodes reach it once this has ended, so tell the client afterwards. With recovery
    /// over Redis streams the session in Redis has the room then, unless Redis does not answer. If the room
    /// has a history (`rooms.history` with `on_join`), the client is sent the last events before this ends.
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
    /// `forbidden` if the socket would be in more rooms than `limits.max_rooms_per_socket` allows:
    /// it joins none of them then. Its own rooms do not count.
    pub async fn join(&self, rooms: impl IntoRooms) -> Result<(), Fault> {
        let rooms = rooms.into_rooms();
        self.0.adapter.turn().await;
        let history = self.join_here(&rooms)?;
        self.0.adapter.settled(&rooms).await;
        if let Some(history) = history {
            // It fails if the node ends.
            let _ = history.await;
        }
        self.0.adapter.written(self.0.sid).await;
        Ok(())
    }

    fn join_here(&self, rooms: &[Room]) -> Result<Option<JoinHandle<()>>, Fault> {
        let (adapter, sid) = (&self.0.adapter, self.0.sid);
        let mut new: SmallVec<[Room; 1]> =
            rooms.iter().filter(|room| !adapter.is_in(sid, room)).cloned().collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return Ok(None);
        }
        let limit = adapter.node().limits().max_rooms_per_socket;
        let joined = adapter.room_count(sid).saturating_sub(self.own_rooms());
        if limit > 0 && joined + new.len() > limit {
            return Err(Fault::forbidden(format!("a socket may be in {limit} rooms at most")));
        }
        Ok(adapter.join(sid, &new))
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

    /// Leaves a room, or several at once. The socket's own rooms (id, user, `authenticated`) cannot
    /// be left: emits and acknowledgements of others depend on them.
    ///
    /// With recovery over Redis streams this is done behind what this node has sent before.
    ///
    /// ```
    /// use switchboard::{Data, Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on("leave", async |socket: Socket, Data(room): Data<String>| {
    ///         socket.leave(&room);
    ///         socket.leave([format!("{room}:typing"), format!("{room}:reading")]);
    ///     });
    /// ```
    pub fn leave(&self, rooms: impl IntoRooms) {
        for room in rooms.into_rooms() {
            if !self.is_own_room(&room) {
                let (adapter, sid) = (self.0.adapter.clone(), self.0.sid);
                self.0.adapter.in_turn(move || adapter.leave(sid, room));
            }
        }
    }

    /// Whether the socket is in this room.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Reply, Socket};
    ///
    /// let gateway = Gateway::new("/").on("say", async |socket: Socket| match socket.is_in("lobby") {
    ///     true => Ok(Reply::event("said", "hello").to("lobby")),
    ///     false => Err(Fault::forbidden("enter the lobby first")),
    /// });
    /// ```
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
                room == self.0.adapter.node().user_room(&user) || room == AUTHENTICATED
            })
    }

    /// The rooms of the socket, sorted. In a disconnect handler, its last rooms.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on("count", async |socket: Socket| socket.rooms().len())
    ///     .on_disconnect(async |socket: Socket| println!("it was in {:?}", socket.rooms()));
    /// ```
    pub fn rooms(&self) -> Vec<Room> {
        let kept = self.0.end.lock().last_rooms.as_ref().map(|rooms| rooms.to_vec());
        let mut rooms = kept.unwrap_or_else(|| self.0.adapter.rooms_of(self.0.sid));
        rooms.sort();
        rooms
    }
}
