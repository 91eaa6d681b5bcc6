//! Reads messages.

use bytes::Bytes;
use tokio_postgres::{Row, types::Type};

use super::{Postgres, get, names, number, signed};
use crate::{
    id::UserId,
    store::{
        StoreError,
        inbox::{Depth, Listing, Message, StreamKey},
    },
};

/// Sums are made before what is too much leaves the database.
const PENDING: &str = "
    SELECT seq, id, coalesce(namespace_full, namespace) AS namespace, event, args, created, expires
    FROM (
        SELECT *, sum(octet_length(event) + octet_length(args)) OVER (ORDER BY seq) AS bytes,
            row_number() OVER (ORDER BY seq) AS place
        FROM (
            SELECT * FROM switchboard.inbox_message
            WHERE user_id = $1 AND namespace = $2 AND seq > $3 AND expires > clock_timestamp()
            ORDER BY seq LIMIT $4
        ) next
    ) counted
    WHERE bytes <= $5 OR place = 1 ORDER BY seq";

const LIST: &str = "
    SELECT seq, id, coalesce(namespace_full, namespace) AS namespace, event, args, created, expires
    FROM switchboard.inbox_message
    WHERE user_id = $1 AND seq > $2 AND expires > clock_timestamp() ORDER BY seq LIMIT $3";

const DEVICES: &str = "
    SELECT coalesce(d.device_full, d.device) AS device, coalesce((
        SELECT min(m.seq) - 1 FROM switchboard.inbox_message m
        LEFT JOIN switchboard.inbox_stream s
            ON s.user_id = m.user_id AND s.device = d.device AND s.namespace = m.namespace
        WHERE m.user_id = d.user_id AND m.expires > clock_timestamp()
            AND m.seq > coalesce(s.acked, d.base)
    ), u.last) AS number
    FROM switchboard.inbox_device d JOIN switchboard.inbox_user u ON u.user_id = d.user_id
    WHERE d.user_id = $1";

pub(super) async fn pending(
    database: &Postgres,
    stream: &StreamKey,
    after: u64,
    count: usize,
    bytes: usize,
) -> Result<Vec<Message>, StoreError> {
    let (user, namespace) = (names::key(&stream.user), names::key(&stream.namespace));
    let (after, count, bytes) = (signed(after), signed(count as u64), signed(bytes as u64));
    let params = [
        (&user as _, Type::TEXT),
        (&namespace as _, Type::TEXT),
        (&after as _, Type::INT8),
        (&count as _, Type::INT8),
        (&bytes as _, Type::INT8),
    ];
    database.query(PENDING, &params).await?.iter().map(message).collect()
}

pub(super) async fn list(
    database: &Postgres,
    user: &str,
    after: u64,
    limit: usize,
) -> Result<Listing, StoreError> {
    let user = names::key(user);
    let (after, one_more) = (signed(after), signed(limit as u64 + 1));
    let params =
        [(&user as _, Type::TEXT), (&after as _, Type::INT8), (&one_more as _, Type::INT8)];
    let rows = database.query(LIST, &params).await?;
    let mut messages = rows.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    let next = messages.last().filter(|_| has_more).map(|message| message.seq);
    let rows = database.query(DEVICES, &[(&user, Type::TEXT)]).await?;
    let device = |row| Ok((get(row, "device")?, number(row, "number")?));
    let devices = rows.iter().map(device).collect::<Result<_, StoreError>>()?;
    Ok(Listing { messages, devices, next })
}

pub(super) async fn last(database: &Postgres, users: Vec<UserId>) -> Result<Vec<u64>, StoreError> {
    let users: Vec<String> = users.iter().map(|user| names::key(user)).collect();
    let sql = "SELECT coalesce(u.last, 0) AS number
         FROM unnest($1) WITH ORDINALITY AS asked (user_id, place)
         LEFT JOIN switchboard.inbox_user u ON u.user_id = asked.user_id ORDER BY asked.place";
    let rows = database.query(sql, &[(&users, Type::TEXT_ARRAY)]).await?;
    rows.iter().map(|row| number(row, "number")).collect()
}

pub(super) async fn depth(database: &Postgres) -> Result<Depth, StoreError> {
    let sql = "SELECT count(*) AS messages, coalesce(sum(size), 0)::int8 AS bytes,
             min(created) AS oldest
         FROM switchboard.inbox_message WHERE expires > clock_timestamp()";
    let row = database.query_one(sql, &[]).await?;
    Ok(Depth {
        messages: number(&row, "messages")?,
        bytes: number(&row, "bytes")?,
        oldest: get(&row, "oldest")?,
    })
}

fn message(row: &Row) -> Result<Message, StoreError> {
    Ok(Message {
        seq: number(row, "seq")?,
        id: get(row, "id")?,
        namespace: get(row, "namespace")?,
        event: get(row, "event")?,
        args: Bytes::from(get::<Vec<u8>>(row, "args")?),
        created: get(row, "created")?,
        expires: get(row, "expires")?,
    })
}
