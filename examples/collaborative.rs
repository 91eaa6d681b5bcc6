//! A document that several people edit at once, by binary updates as Yjs, Automerge and their like
//! make them. The server keeps the updates and passes them on; it does not look into them.
//!
//! `PORT=3000 cargo run --example collaborative`, and in a page with Yjs:
//!
//! ```text
//! socket.on("update", (name, number, update) => Y.applyUpdate(doc, new Uint8Array(update), "server"));
//! doc.on("update", (update, origin) => origin === "server" || socket.emit("update", "notes", update));
//! socket.on("connect", () => socket.emit("open", "notes"));
//! ```
//!
//! Documents are in the memory of this process: several nodes would keep them in a database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use switchboard::{Binary, Code, Data, Fault, Gateway, Reply, Socket, State, Switchboard};

/// Documents that are kept. A client could make up names without an end.
const DOCUMENTS: usize = 100;

/// Bytes of one update, and of all those of a document.
const UPDATE: usize = 64 * 1024;
const DOCUMENT: usize = 4 * 1024 * 1024;

/// Updates of a document. Each is a packet for whoever opens it.
const UPDATES: usize = 1000;

#[derive(Clone, Default)]
struct Documents(Arc<Mutex<HashMap<String, Document>>>);

#[derive(Default)]
struct Document {
    /// With their numbers, which only grow.
    updates: Vec<(u64, Binary)>,
    next: u64,
}

impl Document {
    fn add(&mut self, update: Binary) -> Result<u64, Fault> {
        let bytes: usize = self.updates.iter().map(|(_, update)| update.0.len()).sum();
        if self.updates.len() >= UPDATES || bytes + update.0.len() > DOCUMENT {
            return Err(Fault::new(
                Code::TooLarge,
                "the document is full: somebody has to compact it",
            ));
        }
        let number = self.next;
        self.next += 1;
        self.updates.push((number, update));
        Ok(number)
    }

    /// Puts one update in the place of all those up to a number.
    fn compact(&mut self, number: u64, whole: Binary) -> Result<(), Fault> {
        if number >= self.next {
            return Err(Fault::bad_request("there is no such update yet"));
        }
        self.updates.retain(|(kept, _)| *kept > number);
        self.updates.insert(0, (number, whole));
        Ok(())
    }
}

impl Documents {
    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Document) -> T) -> Result<T, Fault> {
        let mut documents = self.0.lock().map_err(|_| Fault::internal())?;
        if !documents.contains_key(name) && documents.len() >= DOCUMENTS {
            return Err(Fault::forbidden("there are too many documents"));
        }
        Ok(act(documents.entry(name.to_owned()).or_default()))
    }
}

/// Rooms of documents have names that no other room has.
fn room(name: &str) -> String {
    format!("document:{name}")
}

/// Whoever comes late gets all updates as the others did, and then how many there were.
async fn open(
    socket: Socket,
    State(documents): State<Documents>,
    Data(name): Data<String>,
) -> Result<Vec<Reply>, Fault> {
    // Joined first: what is added from now on comes by itself. An update between the two comes
    // twice, which does not matter to such documents.
    socket.join(room(&name)).await?;
    let updates = documents.with(&name, |document| document.updates.clone())?;
    let all =
        updates.iter().map(|(number, update)| Reply::event("update", &(&name, number, update)));
    Ok(all.chain([Reply::ack(&updates.len())]).collect())
}

async fn update(
    socket: Socket,
    State(documents): State<Documents>,
    Data((name, update)): Data<(String, Binary)>,
) -> Result<(Reply, Reply), Fault> {
    check(&socket, &name, &update, UPDATE)?;
    let number = documents.with(&name, |document| document.add(update.clone()))??;
    let news = Reply::event("update", &(&name, number, &update));
    Ok((news.to(room(&name)).except_sender(), Reply::ack(&number)))
}

/// Of a client that has everything up to a number, and says the same in one update.
async fn compact(
    socket: Socket,
    State(documents): State<Documents>,
    Data((name, number, whole)): Data<(String, u64, Binary)>,
) -> Result<bool, Fault> {
    check(&socket, &name, &whole, DOCUMENT)?;
    documents.with(&name, |document| document.compact(number, whole))?.map(|()| true)
}

fn check(socket: &Socket, name: &str, bytes: &Binary, most: usize) -> Result<(), Fault> {
    if !socket.is_in(&room(name)) {
        return Err(Fault::forbidden("open the document first"));
    }
    match bytes.0.len() <= most {
        true => Ok(()),
        false => Err(Fault::new(Code::TooLarge, "the update is too large")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gateway = Gateway::new("/").on("open", open).on("update", update).on("compact", compact);
    let server = Switchboard::builder().state(Documents::default()).gateway(gateway).build()?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let bound = server.bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
