//! The servers of lanes, and the opening of connections to them.

use rand::seq::SliceRandom as _;
use redis::{AsyncConnectionConfig, RedisError, RedisResult, Value, aio::MultiplexedConnection};

use super::{Kind, slots::Slots};
use crate::link::redis::{
    hello::hello, ranges::Address, refusal::is_of_rights, target::Target, wanted::Wanted,
};

/// The server of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The one Redis, or any master of a cluster. Classic channels are on all masters, and all
    /// frames go through one of them, since only that keeps their order.
    Any,
    /// This master of a cluster.
    Master(Address),
    /// No server: the slots that have no owner.
    Nowhere,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("{0}")]
    Unfit(String),
}

/// A connection, and its node in a cluster if any node would do.
pub(super) struct Opened {
    pub(super) connection: MultiplexedConnection,
    pub(super) own: Option<Address>,
}

impl Place {
    /// Opens a connection.
    ///
    /// # Errors
    /// If no server answers, or it is another kind of Redis than expected.
    pub(super) async fn connect(
        &self,
        target: &Target,
        config: &AsyncConnectionConfig,
    ) -> Result<Opened, OpenError> {
        let at = async |(host, port): &Address| target.connect_node(host, *port, config).await;
        match self {
            Self::Nowhere => Err(no_owner().into()),
            Self::Master(address) => Ok(Opened { connection: at(address).await?, own: None }),
            Self::Any if target.is_cluster() => {
                // any live one, but not the same for all our nodes
                let mut masters = slots(target).await?.masters;
                masters.shuffle(&mut rand::rng());
                let mut last = no_owner();
                for master in masters {
                    match at(&master).await {
                        Ok(connection) => return Ok(Opened { connection, own: Some(master) }),
                        Err(error) => last = error,
                    }
                }
                Err(last.into())
            }
            Self::Any => {
                let mut connection = target.connect(config).await?;
                fits(&mut connection, target).await?;
                Ok(Opened { connection, own: None })
            }
        }
    }
}

/// The requirements on the server of a connection.
pub(super) fn wanted(target: &Target, kind: Kind) -> Wanted {
    let wanted = Wanted::of(target.clone());
    match (kind, target.is_cluster()) {
        (Kind::Classic | Kind::Streams, true) => wanted.or_replica(),
        _ => wanted,
    }
}

/// Asks any node of the cluster.
pub(super) async fn slots(target: &Target) -> Result<Slots, OpenError> {
    let mut any = target.connect(&target.config()).await?;
    fits(&mut any, target).await?;
    Ok(Slots::read(&mut any).await?)
}

/// Whether the server is of the kind that the URL says.
async fn fits(connection: &mut MultiplexedConnection, target: &Target) -> Result<(), OpenError> {
    let unfit = |reason: &str| Err(OpenError::Unfit(reason.to_owned()));
    match (hello(connection).await?.mode.as_str(), target.is_cluster()) {
        ("sentinel", _) => unfit("it is a Sentinel; write redis+sentinel://…/master"),
        ("cluster", false) => {
            unfit("it is a node of a Redis Cluster; name several nodes, or add ?cluster=true")
        }
        ("standalone", true) => unfit("it is not a node of a Redis Cluster"),
        _ => Ok(()),
    }
}

/// Whether the server has the commands.
pub(super) async fn knows(
    connection: &mut MultiplexedConnection,
    kind: Kind,
) -> Result<(), OpenError> {
    if kind != Kind::Sharded {
        return Ok(());
    }
    // the command itself is tried, since forks of Redis number their versions differently
    let mut question = redis::cmd("PUBSUB");
    let answer: RedisResult<Value> = question.arg("SHARDNUMSUB").query_async(connection).await;
    match answer {
        Err(error) if error.is_io_error() => Err(error.into()),
        // It says nothing about the version. The trials of rights name what is refused.
        Err(error) if is_of_rights(&error) => Ok(()),
        Err(error) => {
            Err(OpenError::Unfit(format!("sharded channels need Redis 7 or later ({error})")))
        }
        Ok(_) => Ok(()),
    }
}

fn no_owner() -> RedisError {
    (redis::ErrorKind::Client, "these slots of the cluster have no owner").into()
}
