//! What a program keeps with a socket in this process.

use std::any::{Any, TypeId};

use parking_lot::Mutex;

use super::Socket;

/// Values of a socket, one of each type. Most sockets have none, and one that has some has few.
pub(super) type Values = Mutex<Vec<(TypeId, Box<dyn Any + Send + Sync>)>>;

/// What a program keeps with a socket, found by its type: see [`Socket::extensions`].
///
/// ```
/// use switchboard::{Socket, sockets::Extensions};
///
/// fn replaced(socket: &Socket) -> Option<u32> {
///     let extensions: Extensions = socket.extensions();
///     let before = extensions.insert(7_u32);
///     assert_eq!(extensions.get::<u32>(), Some(7));
///     extensions.remove::<u32>();
///     before
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Extensions(Socket);

impl Socket {
    /// Typed values of this socket that stay in this process: no other node sees them, and a
    /// recovery does not bring them back. A handler asks for one by
    /// [`Extension`](crate::Extension).
    ///
    /// ```
    /// use switchboard::{Extension, Gateway, Socket};
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    ///
    /// #[derive(Clone, Default)]
    /// struct Clicks(Arc<AtomicU32>);
    ///
    /// let gateway = Gateway::new("/")
    ///     .on_connect(async |socket: Socket| {
    ///         socket.extensions().insert(Clicks::default());
    ///     })
    ///     .on("click", async |Extension(Clicks(clicks)): Extension<Clicks>| {
    ///         clicks.fetch_add(1, Ordering::Relaxed) + 1
    ///     });
    /// ```
    pub fn extensions(&self) -> Extensions {
        Extensions(self.clone())
    }

    /// Drops the extensions after the socket's end, for one may hold the socket itself.
    pub(crate) fn forget_extensions(&self) {
        let values = std::mem::take(&mut *self.0.extensions.lock());
        // Not under the lock: a value's end is code of the program.
        drop(values);
    }
}

impl Extensions {
    fn values(&self) -> &Values {
        &self.0.0.extensions
    }

    /// Keeps a value. Returns the one of this type that was there before.
    pub fn insert<T: Clone + Send + Sync + 'static>(&self, value: T) -> Option<T> {
        let mut values = self.values().lock();
        let before = take(&mut values);
        values.push((TypeId::of::<T>(), Box::new(value)));
        before
    }

    /// A clone of the value of this type.
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let values = self.values().lock();
        let (_, value) = values.iter().find(|(kind, _)| *kind == TypeId::of::<T>())?;
        value.downcast_ref().cloned()
    }

    /// Takes the value of this type out.
    pub fn remove<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        take(&mut self.values().lock())
    }
}

fn take<T: 'static>(values: &mut Vec<(TypeId, Box<dyn Any + Send + Sync>)>) -> Option<T> {
    let at = values.iter().position(|(kind, _)| *kind == TypeId::of::<T>())?;
    let (_, value) = values.swap_remove(at);
    value.downcast().ok().map(|value| *value)
}
