//! A publishing connection.

use std::pin::pin;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{Cmd, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio_util::sync::CancellationToken;

use super::{
    super::Channel,
    Kind,
    other_nodes::{OtherNodes, count},
    outgoing::{Fate, Flight, Frame},
    output_limit::{Limit, Tells},
    place::{OpenError, Place, knows},
    pushes,
};
use crate::link::redis::{client::closed_by_redis, target::Target};

/// The number of frames that are answered together. When a connection is lost, unanswered frames
/// may not have arrived, so this is small.
const PIECE_FRAMES: usize = 128;
const PIECE_BYTES: usize = 64 << 10;

pub(super) struct Speaker {
    kind: Kind,
    pub(super) connection: MultiplexedConnection,
    /// Set for classic channels in a cluster.
    other_nodes: Option<OtherNodes>,
    pub(super) closed: CancellationToken,
    tells: Tells,
}

/// Redis's answer to a batch.
#[derive(Default)]
pub(super) struct BatchResult {
    /// The number of connections that Redis gave the frames to.
    pub(super) delivered: u64,
    /// Why the first frame was refused, and why the first has to be tried again.
    pub(super) refused: Option<RedisError>,
    pub(super) not_now: Option<RedisError>,
}

impl Speaker {
    pub(super) async fn open(
        target: &Target,
        kind: Kind,
        place: &Place,
    ) -> Result<Self, OpenError> {
        let closed = CancellationToken::new();
        let config = pushes::config(target, closed.clone(), |_| {});
        let mut opened = place.connect(target, &config).await?;
        knows(&mut opened.connection, kind).await?;
        let other_nodes = opened.own.map(|own| OtherNodes::new(target.clone(), own));
        Ok(Self {
            kind,
            connection: opened.connection,
            other_nodes,
            closed,
            tells: Tells::default(),
        })
    }

    /// Sends frames in order, and notes the fate of each.
    ///
    /// # Errors
    /// If an answer did not come. The connection has ended then.
    pub(super) async fn send(&self, flight: &mut Flight<'_>) -> RedisResult<BatchResult> {
        let mut said = BatchResult::default();
        let Flight { frames, fates, .. } = flight;
        let mut pieces = pieces(frames, fates);
        // Nearly always there is one.
        if pieces.len() < 2 {
            if let Some(piece) = pieces.pop() {
                let (piece, answers) = self.ask(frames, piece).await;
                note(&mut said, fates, piece, answers)?;
            }
            return Ok(said);
        }
        let mut lost = None;
        let mut waiting = FuturesUnordered::new();
        for piece in pieces {
            let mut asking = Box::pin(self.ask(frames, piece));
            // The first poll puts a piece in line, so this keeps their order.
            match futures_util::poll!(&mut asking) {
                std::task::Poll::Ready((piece, answers)) => {
                    lost = note(&mut said, fates, piece, answers).err().or(lost);
                }
                std::task::Poll::Pending => waiting.push(asking),
            }
        }
        while let Some((piece, answers)) = waiting.next().await {
            lost = note(&mut said, fates, piece, answers).err().or(lost);
        }
        match lost {
            Some(error) => Err(error),
            None => Ok(said),
        }
    }

    async fn ask(
        &self,
        frames: &[Frame],
        piece: Vec<usize>,
    ) -> (Vec<usize>, RedisResult<Vec<Value>>) {
        let mut pipeline = redis::Pipeline::with_capacity(piece.len());
        let command = self.kind.publish();
        for frame in piece.iter().map(|&at| &frames[at]) {
            let size = command.len() + frame.channel.len() + frame.payload.len();
            let mut publish = Cmd::with_capacity(3, size);
            publish.arg(command).arg(&*frame.channel).arg(&frame.payload[..]);
            pipeline.add_command(publish);
        }
        let answers = self.connection.clone().send_packed_commands(&pipeline, 0, piece.len()).await;
        (piece, answers)
    }

    /// The size at which Redis closes listening connections.
    ///
    /// # Errors
    /// If the connection has ended.
    pub(super) async fn limit(&self) -> RedisResult<Limit> {
        self.tells.ask(self.connection.clone()).await
    }

    /// How many nodes listen to each of the channels.
    ///
    /// # Errors
    /// If Redis does not tell, or the connection has ended.
    pub(super) async fn listeners(&self, channels: &[Channel]) -> RedisResult<Vec<usize>> {
        let question = match self.kind {
            Kind::Classic | Kind::Streams => "NUMSUB",
            Kind::Sharded => "SHARDNUMSUB",
        };
        let here = count(self.connection.clone(), question, channels);
        let other_nodes = async {
            match &self.other_nodes {
                None => Ok(Vec::new()),
                Some(nodes) => nodes.count(&self.connection, channels).await,
            }
        };
        let counting = pin!(async { tokio::try_join!(here, other_nodes) });
        let (mut sums, counts) = tokio::select! {
            // a question must not keep a lost connection alive
            () = self.closed.cancelled() => return Err(closed_by_redis()),
            counted = counting => counted?,
        };
        for counts in counts {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        Ok(sums)
    }
}

/// The frames to send, in pieces, by their places.
fn pieces(frames: &[Frame], fates: &[Fate]) -> Vec<Vec<usize>> {
    let mut pieces = vec![Vec::new()];
    let mut bytes = 0;
    for (at, frame) in frames.iter().enumerate().filter(|(at, _)| fates[*at] == Fate::Unsure) {
        let piece = pieces.last().map_or(0, Vec::len);
        if piece > 0 && (piece == PIECE_FRAMES || bytes + frame.payload.len() > PIECE_BYTES) {
            pieces.push(Vec::new());
            bytes = 0;
        }
        bytes += frame.payload.len();
        pieces.last_mut().into_iter().for_each(|piece| piece.push(at));
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn note(
    said: &mut BatchResult,
    fates: &mut [Fate],
    piece: Vec<usize>,
    answers: RedisResult<Vec<Value>>,
) -> RedisResult<()> {
    for (at, answer) in piece.into_iter().zip(answers?) {
        fates[at] = match answer.extract_error() {
            Ok(answer) => {
                if let Value::Int(number) = answer {
                    said.delivered += u64::try_from(number).unwrap_or(0);
                }
                Fate::Taken
            }
            Err(error) if is_not_now(&error) => {
                said.not_now.get_or_insert(error);
                Fate::NotNow
            }
            Err(error) => {
                said.refused.get_or_insert(error);
                Fate::Refused
            }
        };
    }
    Ok(())
}

/// Redis has not done it, and may do it a moment later, here or at the channel's new owner.
pub(super) fn is_not_now(error: &RedisError) -> bool {
    error.is_cluster_error() || matches!(error.code(), Some("BUSY" | "LOADING" | "MASTERDOWN"))
}
