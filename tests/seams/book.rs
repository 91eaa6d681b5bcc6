//! A small user directory: nodes of one process that write into one book. It shows what a directory
//! has to do, and can be told to do it wrong.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use switchboard::{
    id::{SocketId, UserId},
    users::{
        LimitReached, NodeInfo, Presence, ThisNode, Unknown, UserDirectory, UserLimit, UserPage,
        UserSocket,
    },
};

/// What a directory does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// A socket is taken off although it is of another namespace.
    ForgetsNamespaces,
    /// The limit is looked at, and the socket listed, in two steps.
    TwoSteps,
    /// The newest socket goes, and not the oldest.
    RemovesTheNewest,
}

/// The book. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Book {
    pages: Arc<Mutex<Pages>>,
    pub fault: Fault,
}

#[derive(Default)]
struct Pages {
    /// Each socket with the incarnation of its node, oldest first.
    users: BTreeMap<UserId, Vec<(String, UserSocket)>>,
    /// Who has lost the last socket a moment ago, and which of its departures that was.
    leaving: HashMap<UserId, u64>,
    departures: u64,
    nodes: BTreeMap<String, ThisNode>,
}

/// The directory of one node.
#[derive(Clone)]
pub(crate) struct BookDirectory {
    book: Book,
    node: Arc<OnceLock<ThisNode>>,
}

impl Book {
    pub(crate) fn directory(&self) -> BookDirectory {
        BookDirectory { book: self.clone(), node: Arc::default() }
    }

    pub(crate) fn with(fault: Fault) -> Self {
        Self { fault, ..Self::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn users_of(&self, incarnation: &str) -> usize {
        let is_here =
            |sockets: &&Vec<(String, UserSocket)>| sockets.iter().any(|(of, _)| of == incarnation);
        self.users.values().filter(is_here).count()
    }
}

impl BookDirectory {
    fn node(&self) -> &ThisNode {
        self.node.get().expect("it has joined")
    }

    /// The user has no sockets any more. It is offline unless one comes within the grace time.
    fn left(&self, pages: &mut Pages, user: &UserId) {
        pages.users.remove(user);
        pages.departures += 1;
        let departure = pages.departures;
        pages.leaving.insert(user.clone(), departure);
        let (itself, user) = (self.clone(), user.clone());
        tokio::spawn(async move {
            tokio::time::sleep(itself.node().offline_after()).await;
            let mut pages = itself.book.pages();
            if pages.leaving.get(&user) == Some(&departure) {
                pages.leaving.remove(&user);
                itself.node().tell(Presence::Offline(user));
            }
        });
    }

    fn has_room(&self, user: &UserId, limit: UserLimit) -> Result<(), LimitReached> {
        let count = self.book.pages().users.get(user).map_or(0, Vec::len);
        let is_full = limit.max_sockets > 0 && count >= limit.max_sockets;
        match is_full && !limit.disconnect_oldest {
            true => Err(LimitReached(limit.max_sockets)),
            false => Ok(()),
        }
    }
}

impl UserDirectory for BookDirectory {
    fn join(&self, node: ThisNode) {
        self.book.pages().nodes.insert(node.incarnation().to_owned(), node.clone());
        assert!(self.node.set(node).is_ok(), "a node joins once");
    }

    async fn enter(
        &self,
        user: UserId,
        socket: UserSocket,
        limit: UserLimit,
    ) -> Result<Vec<UserSocket>, LimitReached> {
        if self.book.fault == Fault::TwoSteps {
            self.has_room(&user, limit)?;
            tokio::task::yield_now().await;
        }
        let mut pages = self.book.pages();
        let sockets = pages.users.entry(user.clone()).or_default();
        let mut gone = Vec::new();
        if limit.max_sockets > 0 && sockets.len() >= limit.max_sockets {
            let surplus = sockets.len() + 1 - limit.max_sockets;
            match (limit.disconnect_oldest, self.book.fault) {
                (true, Fault::RemovesTheNewest) => gone.extend(sockets.pop()),
                (true, _) => gone.extend(sockets.drain(..surplus)),
                (false, Fault::TwoSteps) => {}
                (false, _) => return Err(LimitReached(limit.max_sockets)),
            }
        }
        let is_first = sockets.is_empty() && gone.is_empty();
        sockets.push((self.node().incarnation().to_owned(), socket));
        sockets.sort_by_key(|(_, socket)| socket.connected_at);
        if pages.leaving.remove(&user).is_none() && is_first {
            self.node().tell(Presence::Online(user));
        }
        Ok(gone.into_iter().map(|(_, socket)| socket).collect())
    }

    fn leave(&self, user: &UserId, namespace: &str, id: SocketId) {
        let mut pages = self.book.pages();
        let forgets = self.book.fault == Fault::ForgetsNamespaces;
        let Some(sockets) = pages.users.get_mut(user) else { return };
        let is_it =
            |socket: &UserSocket| socket.id == id && (forgets || &*socket.namespace == namespace);
        sockets.retain(|(_, socket)| !is_it(socket));
        if sockets.is_empty() {
            self.left(&mut pages, user);
        }
    }

    async fn sockets(&self, user: &str) -> Result<Vec<UserSocket>, Unknown> {
        let pages = self.book.pages();
        let sockets = pages.users.get(user).into_iter().flatten();
        Ok(sockets.map(|(_, socket)| socket.clone()).collect())
    }

    async fn online(&self, users: Vec<UserId>) -> Result<Vec<bool>, Unknown> {
        let pages = self.book.pages();
        let is_online =
            |user: &UserId| pages.users.contains_key(user) || pages.leaving.contains_key(user);
        Ok(users.iter().map(is_online).collect())
    }

    async fn users(&self, cursor: Option<UserId>, limit: usize) -> Result<UserPage, Unknown> {
        let pages = self.book.pages();
        let mut users = pages.users.range(cursor.unwrap_or_else(|| "".into())..);
        let mut page = UserPage::default();
        page.users.extend(users.by_ref().take(limit).map(|(user, all)| (user.clone(), all.len())));
        page.next = users.next().map(|(user, _)| user.clone());
        Ok(page)
    }

    fn users_here(&self) -> usize {
        self.book.pages().users_of(self.node().incarnation())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, Unknown> {
        let pages = self.book.pages();
        let info = |(of, node): (&String, &ThisNode)| node.info(pages.users_of(of));
        Ok(pages.nodes.iter().map(info).collect())
    }

    async fn close(&self) {
        let mut pages = self.book.pages();
        let incarnation = self.node().incarnation();
        pages.nodes.remove(incarnation);
        let mut gone = Vec::new();
        for (user, sockets) in &mut pages.users {
            sockets.retain(|(of, _)| of != incarnation);
            gone.extend(sockets.is_empty().then(|| user.clone()));
        }
        for user in gone {
            self.left(&mut pages, &user);
        }
    }
}
