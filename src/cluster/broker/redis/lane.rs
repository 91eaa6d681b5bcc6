//! A lane: where some of the channels are, and how connections to it are opened.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rand::seq::SliceRandom as _;
use redis::{AsyncConnectionConfig, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio_util::sync::CancellationToken;

use super::{Kind, slots::Slots, sound::Sound, speaker::Speaker};
use crate::link::{probe, target::Target, whereabouts::Wanted};

/// Host, empty if the cluster does not announce it, and port.
pub(super) type Address = (String, u16);

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The one Redis, or any master of a cluster: there classic channels are everywhere, and all go
    /// through one master, since only then the order of frames is kept.
    Any,
    /// This master of a cluster.
    Master(Address),
    /// The slots that have no owner.
    Nowhere,
}

pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) place: Place,
    /// While there is a link for publishing.
    pub(super) speaker: ArcSwapOption<Speaker>,
    /// Up to when everything was heard; none if it never was.
    pub(super) sound: Mutex<Option<Sound>>,
    /// When the link that listens was lost the last time.
    pub(super) deaf_since: Mutex<Option<Instant>>,
    /// Nothing is on this lane any more.
    pub(super) over: CancellationToken,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("{0}")]
    Unfit(String),
}

/// A connection, and to which node of a cluster it goes if any would do.
pub(super) struct Opened {
    pub(super) connection: MultiplexedConnection,
    pub(super) own: Option<Address>,
}

impl Lane {
    pub(super) fn new(number: usize, place: Place) -> Arc<Self> {
        let (speaker, sound, deaf_since, over) = Default::default();
        Arc::new(Self { number, place, speaker, sound, deaf_since, over })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// If nobody answers, or it is no Redis of the kind that is meant.
    pub(super) async fn connect(
        &self,
        target: &Target,
        config: &AsyncConnectionConfig,
    ) -> Result<Opened, OpenError> {
        let at = async |(host, port): &Address| target.connect_node(host, *port, config).await;
        match &self.place {
            Place::Nowhere => Err(no_owner().into()),
            Place::Master(address) => Ok(Opened { connection: at(address).await?, own: None }),
            Place::Any if target.is_cluster() => {
                // any living one, and not the same for all nodes of ours
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
            Place::Any => {
                let mut connection = target.connect(config).await?;
                fits(&mut connection, target).await?;
                Ok(Opened { connection, own: None })
            }
        }
    }
}

/// What the server of a connection has to be.
pub(super) fn wanted(target: &Target, kind: Kind) -> Wanted {
    match (kind, target.is_cluster()) {
        (Kind::Classic, true) => target.wanted().or_replica(),
        _ => target.wanted(),
    }
}

/// Asks any node of the cluster.
pub(super) async fn slots(target: &Target) -> Result<Slots, OpenError> {
    let mut any = target.connect(&target.config()).await?;
    fits(&mut any, target).await?;
    Ok(Slots::read(&mut any).await?)
}

/// Whether it is what the URL says.
async fn fits(connection: &mut MultiplexedConnection, target: &Target) -> Result<(), OpenError> {
    let unfit = |reason: &str| Err(OpenError::Unfit(reason.to_owned()));
    match (probe::hello(connection).await?.mode.as_str(), target.is_cluster()) {
        ("sentinel", _) => unfit("it is a Sentinel; write redis+sentinel://…/master"),
        ("cluster", false) => {
            unfit("it is a node of a Redis Cluster; name several nodes, or add ?cluster=true")
        }
        ("standalone", true) => unfit("it is not a node of a Redis Cluster"),
        _ => Ok(()),
    }
}

/// Whether it has the commands.
pub(super) async fn knows(
    connection: &mut MultiplexedConnection,
    kind: Kind,
) -> Result<(), OpenError> {
    if kind != Kind::Sharded {
        return Ok(());
    }
    // the question itself, since forks of Redis count their versions in other ways
    let mut question = redis::cmd("PUBSUB");
    let answer: RedisResult<Value> = question.arg("SHARDNUMSUB").query_async(connection).await;
    match answer {
        Err(error) if error.is_io_error() => Err(error.into()),
        Err(error) => {
            Err(OpenError::Unfit(format!("sharded channels need Redis 7 or later ({error})")))
        }
        Ok(_) => Ok(()),
    }
}

fn no_owner() -> RedisError {
    (redis::ErrorKind::Client, "these slots of the cluster have no owner").into()
}
