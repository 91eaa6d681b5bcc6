//! Devices and their streams: who delivers what, and what has been acknowledged.

use tokio_postgres::types::Type;

use super::{Postgres, get, names, number, signed};
use crate::store::{
    StoreError,
    inbox::{Attached, MAX_DEVICES, StreamKey},
};

/// Streams as the columns of their keys.
struct Columns {
    users: Vec<String>,
    devices: Vec<String>,
    namespaces: Vec<String>,
}

impl Columns {
    fn of<'a>(streams: impl Iterator<Item = &'a StreamKey>) -> Self {
        let (mut users, mut devices, mut namespaces) = (vec![], vec![], vec![]);
        for stream in streams {
            users.push(names::key(&stream.user));
            devices.push(names::key(&stream.device));
            namespaces.push(names::key(&stream.namespace));
        }
        Self { users, devices, namespaces }
    }
}

pub(super) async fn attach(
    database: &Postgres,
    stream: &StreamKey,
    run: &str,
) -> Result<Attached, StoreError> {
    let StreamKey { user, device, namespace } = stream;
    let keys = (names::key(user), names::key(device), names::key(namespace));
    let fulls =
        (names::full(user, &keys.0), names::full(device, &keys.1), names::full(namespace, &keys.2));
    let run = names::key(run);
    let max_devices = i32::try_from(MAX_DEVICES).unwrap_or(i32::MAX);
    let row = database
        .query_one(
            "SELECT outcome, after, last
             FROM switchboard.inbox_attach($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                (&keys.0, Type::TEXT),
                (&fulls.0, Type::TEXT),
                (&keys.1, Type::TEXT),
                (&fulls.1, Type::TEXT),
                (&keys.2, Type::TEXT),
                (&fulls.2, Type::TEXT),
                (&run, Type::TEXT),
                (&max_devices, Type::INT4),
            ],
        )
        .await?;
    Ok(match get::<&str>(&row, "outcome")? {
        "held" => Attached::Held { after: number(&row, "after")?, last: number(&row, "last")? },
        "waits" => Attached::Waits,
        _ => Attached::TooMany,
    })
}

pub(super) async fn detach(
    database: &Postgres,
    streams: Vec<StreamKey>,
    run: &str,
) -> Result<Vec<(String, StreamKey)>, StoreError> {
    let Columns { users, devices, namespaces } = Columns::of(streams.iter());
    let run = names::key(run);
    let rows = database
        .query(
            "SELECT node, place FROM switchboard.inbox_detach($1, $2, $3, $4) ORDER BY place",
            &[
                (&users, Type::TEXT_ARRAY),
                (&devices, Type::TEXT_ARRAY),
                (&namespaces, Type::TEXT_ARRAY),
                (&run, Type::TEXT),
            ],
        )
        .await?;
    let mut told = Vec::with_capacity(rows.len());
    for row in &rows {
        let place = usize::try_from(number(row, "place")?).unwrap_or(usize::MAX);
        // Places in Postgres begin with 1.
        let stream = place.checked_sub(1).and_then(|place| streams.get(place));
        told.extend(stream.map(|stream| Ok((get(row, "node")?, stream.clone()))));
    }
    told.into_iter().collect()
}

pub(super) async fn retire(
    database: &Postgres,
    run: &str,
) -> Result<Vec<(String, StreamKey)>, StoreError> {
    let run = names::key(run);
    let sql = "SELECT node, user_id, device, namespace FROM switchboard.inbox_retire($1)";
    let rows = database.query(sql, &[(&run, Type::TEXT)]).await?;
    let told = rows.iter().map(|row| {
        let stream = StreamKey {
            user: get::<&str>(row, "user_id")?.into(),
            device: get::<&str>(row, "device")?.into(),
            namespace: get::<&str>(row, "namespace")?.into(),
        };
        Ok((get(row, "node")?, stream))
    });
    told.collect()
}

pub(super) async fn acknowledge(
    database: &Postgres,
    streams: Vec<(StreamKey, u64)>,
) -> Result<(), StoreError> {
    if streams.is_empty() {
        return Ok(());
    }
    let Columns { users, devices, namespaces } = Columns::of(streams.iter().map(|(key, _)| key));
    let seqs: Vec<i64> = streams.iter().map(|(_, seq)| signed(*seq)).collect();
    database
        .query(
            "SELECT switchboard.inbox_acknowledge($1, $2, $3, $4)",
            &[
                (&users, Type::TEXT_ARRAY),
                (&devices, Type::TEXT_ARRAY),
                (&namespaces, Type::TEXT_ARRAY),
                (&seqs, Type::INT8_ARRAY),
            ],
        )
        .await
        .map(drop)
}
