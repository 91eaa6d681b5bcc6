//! The network between two programs, which can be slow and stand still.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// A way to one server at a time.
pub struct Network {
    /// Where it takes connections, at 127.0.0.1.
    pub port: u16,
    state: watch::Sender<Way>,
}

#[derive(Clone, Copy, Default)]
struct Way {
    to: u16,
    delay: Duration,
    stalled: bool,
}

impl Network {
    /// The way to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let state = watch::Sender::new(Way { to: port, ..Way::default() });
        let way = state.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = way.borrow().to;
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else {
                    continue;
                };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("a connection");
                }
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, to_server, way.clone()));
                tokio::spawn(carry(from_server, to_client, way.clone()));
            }
        });
        Self { port: own, state }
    }

    /// New connections go to this port from now on. Open ones stay where they are.
    pub fn point_to(&self, port: u16) {
        self.state.send_modify(|way| way.to = port);
    }

    /// A round trip takes this long from now on.
    pub fn delay(&self, round_trip: Duration) {
        self.state.send_modify(|way| way.delay = round_trip / 2);
    }

    /// Carries nothing any more, without closing connections.
    pub fn stall(&self) {
        self.state.send_modify(|way| way.stalled = true);
    }

    /// Carries again, the held-back bytes first.
    pub fn flow(&self) {
        self.state.send_modify(|way| way.stalled = false);
    }
}

/// Carries one direction: each piece arrives its delay later, in order.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read_way = way.clone();
    let reading = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + read_way.borrow().delay;
            if sender.send((due, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if way.wait_for(|way| !way.stalled).await.is_err()
                || to.write_all(&piece).await.is_err()
            {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}
