//! The state that handlers share: the tasks of all teams.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use switchboard::{Code, Fault};

use crate::team::Team;

/// Tasks that a team may have.
const MOST: usize = 1000;

/// A task, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// From 1 on, within its team.
    pub number: usize,
    /// What there is to do.
    pub title: String,
    /// The user who has added it.
    pub by: String,
}

/// Given to the server by `.state(…)`, and a parameter `State<Tasks>` of handlers. A clone is
/// the same list.
///
/// It is in memory. With a database this holds a pool of connections, which is cheap to clone, too.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Mutex<HashMap<Team, Vec<Task>>>>);

impl Tasks {
    pub(crate) async fn of(&self, team: &Team) -> Vec<Task> {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.get(team).cloned().unwrap_or_default()
    }

    pub(crate) async fn add(&self, team: &Team, title: &str, by: &str) -> Result<Task, Fault> {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = tasks.entry(team.clone()).or_default();
        if tasks.len() >= MOST {
            return Err(Fault::new(Code::TooLarge, "the team has too many tasks"));
        }
        let task = Task {
            number: tasks.len() + 1,
            title: title.to_owned(),
            by: by.to_owned(),
        };
        tasks.push(task.clone());
        Ok(task)
    }
}
