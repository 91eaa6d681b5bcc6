//! The memory of request bodies while they are read and handled: all together, and those from one
//! address. A client that never finishes its body does not take it all.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;

use super::{admission::customer, refusal::Refusal};

/// Largest body that is not counted, in bytes. It takes no more than its connection takes anyway.
const UNCOUNTED: usize = 16 * 1024;

/// Bytes that bodies may take. 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BodyLimits {
    /// On the whole node.
    pub(crate) node: usize,
    /// For clients of one address (IPv6: of one /64).
    pub(crate) address: usize,
}

#[derive(Debug, Default)]
struct Taken {
    node: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The memory in use, shared by all requests.
#[derive(Debug)]
pub(super) struct Bodies {
    limits: BodyLimits,
    /// Bytes of one body.
    largest: usize,
    taken: Mutex<Taken>,
}

impl Bodies {
    /// `largest`: bytes of one body. This much is always allowed, whatever the limits are.
    pub(super) fn new(limits: BodyLimits, largest: u64) -> Arc<Self> {
        let largest = usize::try_from(largest).unwrap_or(usize::MAX);
        Arc::new(Self { limits, largest, taken: Mutex::default() })
    }

    /// Reads a whole body. It counts until the returned guard is dropped.
    pub(super) async fn read<B>(
        self: &Arc<Self>,
        mut body: B,
        address: IpAddr,
    ) -> Result<(Bytes, Share), Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let mut share = Share { bodies: self.clone(), address: customer(address), bytes: 0 };
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.largest {
            return Err(Refusal::TooLarge);
        }
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame.map_err(|_| Refusal::BadRequest)?.into_data() else { continue };
            let length = whole.len() + chunk.len();
            if length > self.largest {
                return Err(Refusal::TooLarge);
            }
            if whole.is_empty() && body.is_end_stream() {
                return Ok((chunk, share)); // it has come in one piece, as most do
            }
            if length > whole.capacity() {
                let room = (2 * whole.capacity()).clamp(length, self.largest);
                // no more than was announced, unless more comes
                let room = if announced >= length { room.min(announced) } else { room };
                share.grow_to(room)?;
                whole.reserve_exact(room - whole.len());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok((whole.into(), share))
    }
}

/// One body's part of the memory in use.
#[derive(Debug)]
pub(super) struct Share {
    bodies: Arc<Bodies>,
    address: IpAddr,
    bytes: usize,
}

impl Share {
    fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= UNCOUNTED {
            return Ok(());
        }
        let Bodies { limits, largest, taken } = &*self.bodies;
        let more = bytes - self.bytes;
        let over = |limit: usize, now: usize| limit > 0 && now + more > limit.max(*largest);
        let mut taken = taken.lock();
        let here = taken.by_address.get(&self.address).copied().unwrap_or(0);
        if over(limits.address, here) || over(limits.node, taken.node) {
            return Err(Refusal::Busy);
        }
        taken.node += more;
        *taken.by_address.entry(self.address).or_default() += more;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut taken = self.bodies.taken.lock();
        taken.node -= self.bytes;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= self.bytes;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::Ipv4Addr};

    use futures_util::{FutureExt, stream};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    const ADA: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    /// A body in pieces, of a length that nobody has announced.
    fn pieces(
        sizes: &[usize],
    ) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + use<> {
        let frames: Vec<_> =
            sizes.iter().map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; *size])))).collect();
        StreamBody::new(stream::iter(frames))
    }

    fn read(
        bodies: &Arc<Bodies>,
        sizes: &[usize],
        address: IpAddr,
    ) -> Result<(Bytes, Share), Refusal> {
        bodies.read(pieces(sizes), address).now_or_never().expect("nothing to wait for")
    }

    fn taken(bodies: &Bodies) -> (usize, usize) {
        let taken = bodies.taken.lock();
        (taken.node, taken.by_address.len())
    }

    #[test]
    fn a_body_is_the_sum_of_its_pieces() {
        let bodies = Bodies::new(BodyLimits::default(), 100_000);
        for sizes in [&[][..], &[3], &[1, 2, 0, 3], &[16_384, 1], &[50_000, 50_000]] {
            let (body, _) = read(&bodies, sizes, ADA).expect("no limits");
            assert_eq!(body.len(), sizes.iter().sum::<usize>());
        }
        for sizes in [&[100_001][..], &[100_000, 1]] {
            assert_eq!(read(&bodies, sizes, ADA).err(), Some(Refusal::TooLarge));
        }
        let announced = bodies.read(Full::from(vec![b'x'; 100_001]), ADA).now_or_never();
        assert_eq!(announced.expect("nothing to wait for").err(), Some(Refusal::TooLarge));
        assert_eq!(taken(&bodies), (0, 0));
    }

    #[test]
    fn what_one_address_takes_is_not_there_for_it_but_for_others() {
        let bodies = Bodies::new(BodyLimits { node: 0, address: 250_000 }, 100_000);
        let two = [0; 2].map(|_| read(&bodies, &[50_000, 50_000], ADA).expect("room"));
        assert_eq!(read(&bodies, &[50_000, 50_000], ADA).err(), Some(Refusal::Busy));
        read(&bodies, &[50_000, 50_000], BOB).expect("somebody else");
        read(&bodies, &[8_000, 8_000], ADA).expect("a small one is not counted");
        drop(two);
        assert_eq!(taken(&bodies), (0, 0));
        read(&bodies, &[50_000, 50_000], ADA).expect("room again");
    }

    #[test]
    fn the_node_has_a_limit_of_its_own() {
        let bodies = Bodies::new(BodyLimits { node: 250_000, address: 0 }, 100_000);
        let _ada = read(&bodies, &[50_000, 50_000], ADA).expect("room");
        let _bob = read(&bodies, &[50_000, 50_000], BOB).expect("room");
        assert_eq!(read(&bodies, &[50_000, 50_000], BOB).err(), Some(Refusal::Busy));
        assert_eq!(taken(&bodies), (200_000, 2), "a refused one gives back what it had");
    }

    #[test]
    fn a_limit_below_one_body_allows_one() {
        let bodies = Bodies::new(BodyLimits { node: 1, address: 1 }, 100_000);
        let _one = read(&bodies, &[50_000, 50_000], ADA).expect("one");
        assert_eq!(read(&bodies, &[50_000, 50_000], BOB).err(), Some(Refusal::Busy));
    }

    #[test]
    fn tiny_pieces_take_no_more_than_a_large_one() {
        let bodies = Bodies::new(BodyLimits { node: 0, address: 0 }, 1_000_000);
        let (body, share) = read(&bodies, &[1; 100_000], ADA).expect("no limits");
        assert_eq!(body.len(), 100_000);
        assert!(share.bytes <= 200_000, "{}", share.bytes);
    }
}
