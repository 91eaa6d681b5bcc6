//! Keeps messages: one statement for all of them.

use tokio_postgres::types::Type;

use super::{Postgres, get, millis, names, number, signed};
use crate::store::{
    StoreError,
    inbox::{InboxRules, Kept, NewMessage},
};

const KEEP: &str = "SELECT outcome, number, holders FROM switchboard.inbox_keep(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

pub(super) async fn keep(
    database: &Postgres,
    rules: &InboxRules,
    messages: Vec<NewMessage>,
) -> Result<Vec<Kept>, StoreError> {
    fn all<'a, T>(messages: &'a [NewMessage], of: impl Fn(&'a NewMessage) -> T) -> Vec<T> {
        messages.iter().map(of).collect()
    }
    if messages.is_empty() {
        return Ok(vec![]);
    }
    let of = &messages;
    let users = all(of, |it| names::key(&it.user));
    let namespaces = all(of, |it| names::key(&it.namespace));
    let fulls = |texts: Vec<&'_ str>, keys: &[String]| -> Vec<Option<String>> {
        let both = texts.into_iter().zip(keys);
        both.map(|(text, key)| names::full(text, key).map(str::to_owned)).collect()
    };
    let user_fulls = fulls(all(of, |it| &*it.user), &users);
    let namespace_fulls = fulls(all(of, |it| &*it.namespace), &namespaces);
    let ids = all(of, |it| &*it.id);
    let id_keys = all(of, |it| names::key(&it.id));
    let events = all(of, |it| &*it.event);
    let args = all(of, |it| &*it.args);
    let sizes = all(of, |it| signed(it.size()));
    let ttls = all(of, |it| millis(it.ttl));
    let collapses = all(of, |it| it.collapse.as_deref().map(names::key));
    let id_ttl = millis(rules.ttl);
    let (max_messages, max_bytes) = (signed(rules.max_messages), signed(rules.max_bytes));
    let rows = database
        .query(
            KEEP,
            &[
                (&users, Type::TEXT_ARRAY),
                (&user_fulls, Type::TEXT_ARRAY),
                (&ids, Type::TEXT_ARRAY),
                (&id_keys, Type::TEXT_ARRAY),
                (&namespaces, Type::TEXT_ARRAY),
                (&namespace_fulls, Type::TEXT_ARRAY),
                (&events, Type::TEXT_ARRAY),
                (&args, Type::BYTEA_ARRAY),
                (&sizes, Type::INT8_ARRAY),
                (&ttls, Type::INT8_ARRAY),
                (&collapses, Type::TEXT_ARRAY),
                (&id_ttl, Type::INT8),
                (&max_messages, Type::INT8),
                (&max_bytes, Type::INT8),
            ],
        )
        .await?;
    let kept = rows.iter().map(|row| {
        let seq = number(row, "number")?;
        Ok(match get::<&str>(row, "outcome")? {
            "new" => {
                let holders: Option<Vec<String>> = get(row, "holders")?;
                Kept::New { seq, holders: holders.unwrap_or_default() }
            }
            "known" => Kept::Known { seq },
            _ => Kept::Full,
        })
    });
    kept.collect()
}
