//! What clients can say, and what they hear.

use switchboard::{
    Data, Extension, Fault, Gateway, Reply, Socket, State, id::UserId, interceptor::from_fn,
};

use crate::{
    slow::log_slow,
    tasks::{Task, Tasks},
    team::{Team, admit},
};

pub(crate) fn tasks() -> Gateway {
    Gateway::new("/")
        .middleware(admit)
        .intercept(from_fn(log_slow))
        .refuse_unknown_events()
        .on_connect(enter)
        .on("task:list", list)
        .on("task:add", add)
}

async fn enter(socket: Socket, Extension(team): Extension<Team>) -> Result<(), Fault> {
    socket.join(team.room()).await
}

/// What a handler returns is its acknowledgement.
async fn list(State(tasks): State<Tasks>, Extension(team): Extension<Team>) -> Vec<Task> {
    tasks.of(&team).await
}

/// Or it returns replies, here two of them. An error is the acknowledgement `{ error: … }`.
async fn add(
    user: UserId,
    State(tasks): State<Tasks>,
    Extension(team): Extension<Team>,
    Data(title): Data<String>,
) -> Result<(Reply, Reply), Fault> {
    let title = title.trim();
    if title.is_empty() || title.chars().count() > 200 {
        return Err(Fault::bad_request("a title has 1 to 200 letters"));
    }
    let task = tasks.add(&team, title, &user).await?;
    let added = Reply::event("task:added", &task).to(team.room());
    Ok((added.except_sender(), Reply::ack(&task)))
}
