//! Sessions of this node that others have asked for: lent for a while, and then handed over or back.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Handover, PATIENCE, answer_to, questions};
use crate::{
    recovery::Pid,
    sockets::adapter::{Adapter, Lent, Return, Stays},
    telemetry::meters::NotRecovered,
};

/// How long a session is lent before it waits for its client here again.
const LENT: Duration = Duration::from_secs(8);

/// Sessions that are lent at one time.
const MOST_LENT: usize = 4096;

/// The lent sessions, by the numbers of their loans.
#[derive(Default)]
pub(super) struct Loans(Mutex<HashMap<u64, (Arc<Adapter>, Lent)>>, watch::Sender<()>);

impl Loans {
    /// `None`: there are too many.
    fn add(&self, adapter: Arc<Adapter>, lent: Lent) -> Option<u64> {
        let mut loans = self.0.lock();
        if loans.len() >= MOST_LENT {
            return None;
        }
        let number = rand::random();
        loans.insert(number, (adapter, lent));
        Some(number)
    }

    fn end(&self, number: u64) -> Option<(Arc<Adapter>, Lent)> {
        let loan = self.0.lock().remove(&number);
        self.1.send_replace(());
        loan
    }

    /// Waits until nothing is lent.
    pub(super) async fn all_ended(&self) {
        // The sender is in `self`.
        let _ = self.1.subscribe().wait_for(|()| self.0.lock().is_empty()).await;
    }
}

impl Handover {
    /// Another node asks for a session.
    pub(super) async fn lend(self: Arc<Self>, loan: questions::Loan) -> Option<questions::Lent> {
        let questions::Loan { namespace, pid, offset, identity } = loan;
        let back = Return { pid: Pid::said(&pid)?, offset };
        let Some(adapter) = self.adapters.get(&namespace) else {
            return Some(questions::Lent::No(NotRecovered::Unknown));
        };
        let (lent, record) = match adapter.lend(&back, identity.as_ref()).await {
            Ok(found) => found,
            Err(reason) => return Some(questions::Lent::No(reason)),
        };
        if !self.is_calm() {
            return Some(questions::Lent::No(NotRecovered::OtherNode));
        }
        let rooms = lent.rooms().to_vec();
        let Some(number) = self.loans.add(adapter, lent) else {
            return Some(questions::Lent::No(NotRecovered::Busy));
        };
        let weak = Arc::downgrade(&self);
        tokio::spawn(async move {
            tokio::time::sleep(LENT).await;
            if let Some(handover) = weak.upgrade() {
                handover.loans.end(number);
            }
        });
        Some(questions::Lent::Yes { record, rooms, number })
    }

    /// The other node listens to the rooms of a lent session, and has said this mark.
    pub(super) async fn moves(self: Arc<Self>, moves: questions::Move) -> Option<questions::Moved> {
        let questions::Move { number, mark } = moves;
        let has_come = self.marks.come(mark, PATIENCE / 2).await;
        let (adapter, lent) = self.loans.end(number)?;
        if !has_come || !self.is_calm() {
            return Some(questions::Moved::No);
        }
        Some(match adapter.hand_over(lent) {
            Ok(inherited) => {
                self.say_mark(answer_to(mark));
                questions::Moved::Yes(inherited)
            }
            Err(Stays::Changed) => questions::Moved::NotYet,
            Err(Stays::Lost) => questions::Moved::No,
        })
    }
}
