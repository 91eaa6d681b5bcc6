//! Rooms as a program names them: one, or several at once.

use smallvec::SmallVec;
/// The name of a room.
pub use socketioxide_core::adapter::Room;

/// One room, or several: text, or a list of it.
///
/// ```
/// use switchboard::{Fault, Socket};
///
/// async fn enter(socket: &Socket, team: String) -> Result<(), Fault> {
///     socket.join("lobby").await?;
///     socket.join(["news", "weather"]).await?;
///     socket.join(vec![format!("team:{team}"), team]).await
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no rooms",
    note = "a room is text (`&str`, `String`), and several are an array, a slice or a `Vec` of it"
)]
pub trait IntoRooms {
    /// The rooms.
    ///
    /// ```
    /// use switchboard::{Fault, Socket, sockets::IntoRooms};
    ///
    /// /// As `Socket::join`, with a word to the log.
    /// async fn join(socket: &Socket, rooms: impl IntoRooms) -> Result<(), Fault> {
    ///     for room in rooms.into_rooms() {
    ///         println!("{} joins {room}", socket.id());
    ///         socket.join(room).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    fn into_rooms(self) -> SmallVec<[Room; 1]>;
}

impl IntoRooms for &str {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        SmallVec::from_buf([Room::Owned(self.to_owned())])
    }
}

impl IntoRooms for &String {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        self.as_str().into_rooms()
    }
}

impl IntoRooms for String {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        SmallVec::from_buf([Room::Owned(self)])
    }
}

impl IntoRooms for Room {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        SmallVec::from_buf([self])
    }
}

impl IntoRooms for &Room {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        self.clone().into_rooms()
    }
}

impl<R: IntoRooms> IntoRooms for Vec<R> {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        self.into_iter().flat_map(IntoRooms::into_rooms).collect()
    }
}

impl<R: IntoRooms, const N: usize> IntoRooms for [R; N] {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        self.into_iter().flat_map(IntoRooms::into_rooms).collect()
    }
}

impl<'a, R> IntoRooms for &'a [R]
where
    &'a R: IntoRooms,
{
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        self.iter().flat_map(IntoRooms::into_rooms).collect()
    }
}

impl IntoRooms for &&str {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        (*self).into_rooms()
    }
}
