//! Compression of answers to polls, as in Node.js: from 1 kB on, by what the client accepts.
//!
//! The handshake, which holds the session's id, is shorter than that and never compressed. Short
//! answers are compressed at once. A large one is compressed on another thread, and few at a time:
//! other connections do not wait, and compressors take little memory. While all are busy, answers
//! leave uncompressed.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder, write::ZlibEncoder};
use http::{HeaderMap, HeaderValue, Response, header};
use tokio::sync::Semaphore;

/// Shorter answers are not worth it.
const THRESHOLD: usize = 1024;

/// Longer answers would hold up the other connections of a thread.
const INLINE: usize = 32 * 1024;

/// Large answers that are compressed at one time. Each takes about 300 kB, besides the answer.
const AT_ONCE: usize = 4;

/// The encoding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    pub(super) const fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        })
    }
}

/// Compresses the answers of one edge.
#[derive(Debug)]
pub(super) struct Compression {
    places: Semaphore,
}

impl Default for Compression {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE) }
    }
}

impl Compression {
    /// The answer to a request with these headers, compressed if the client takes it and it gets
    /// shorter.
    pub(super) async fn apply(
        &self,
        answer: Response<Bytes>,
        request: &HeaderMap,
    ) -> Response<Bytes> {
        let length = answer.body().len();
        if length < THRESHOLD {
            return answer;
        }
        let Some(encoding) = accepted(request).first().copied() else { return answer };
        let packed = if length <= INLINE {
            compress(encoding, answer.body())
        } else {
            let Ok(_place) = self.places.try_acquire() else { return answer };
            let body = answer.body().clone();
            let packing = tokio::task::spawn_blocking(move || compress(encoding, &body));
            packing.await.ok().flatten()
        };
        let Some(packed) = packed else { return answer };
        let (mut head, _) = answer.into_parts();
        head.headers.insert(header::CONTENT_ENCODING, encoding.name());
        head.headers.insert(header::CONTENT_LENGTH, packed.len().into());
        Response::from_parts(head, packed.into())
    }
}

/// The compressed body, if it is shorter.
pub(super) fn compress(encoding: Encoding, body: &[u8]) -> Option<Vec<u8>> {
    let out = Vec::with_capacity(body.len() / 4);
    let packed = match encoding {
        Encoding::Gzip => {
            let mut packer = GzEncoder::new(out, Level::fast());
            packer.write_all(body).and_then(|()| packer.finish())
        }
        Encoding::Deflate => {
            let mut packer = ZlibEncoder::new(out, Level::fast());
            packer.write_all(body).and_then(|()| packer.finish())
        }
    };
    packed.ok().filter(|packed| packed.len() < body.len())
}

/// The encodings that a client takes (RFC 9110, section 12.5.3), its favourite first.
pub(super) fn accepted(headers: &HeaderMap) -> Vec<Encoding> {
    let mut weights = [(Encoding::Gzip, None, 0), (Encoding::Deflate, None, 1)];
    let mut any = None;
    let said =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|said| said.to_str().ok());
    for (place, item) in said.flat_map(|said| said.split(',')).enumerate() {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let weight = parameters
            .split(';')
            .find_map(|parameter| parameter.trim().strip_prefix("q="))
            .map_or(1.0, |weight| weight.trim().parse::<f32>().unwrap_or(0.0));
        match name.trim().to_ascii_lowercase().as_str() {
            "*" => any = Some(weight),
            name => {
                for (encoding, known, order) in &mut weights {
                    if encoding.name() == name {
                        (*known, *order) = (Some(weight), place);
                    }
                }
            }
        }
    }
    let mut taken: Vec<_> = weights
        .into_iter()
        .filter_map(|(encoding, weight, order)| Some((encoding, weight.or(any)?, order)))
        .filter(|(_, weight, _)| *weight > 0.0)
        .collect();
    taken.sort_by(|(_, a, first), (_, b, second)| b.total_cmp(a).then(first.cmp(second)));
    taken.into_iter().map(|(encoding, ..)| encoding).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::{GzDecoder, ZlibDecoder};

    use super::*;

    fn accepting(said: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, said.parse().expect("a header value"));
        headers
    }

    #[test]
    fn the_client_chooses() {
        use Encoding::{Deflate, Gzip};
        assert_eq!(accepted(&HeaderMap::new()), []);
        for (said, taken) in [
            ("gzip", &[Gzip][..]),
            ("gzip, deflate, br", &[Gzip, Deflate]),
            ("deflate, gzip", &[Deflate, Gzip]),
            ("deflate;q=0.5, GZIP;q=0.8", &[Gzip, Deflate]),
            ("*", &[Gzip, Deflate]),
            ("*, gzip;q=0", &[Deflate]),
            ("br, identity", &[]),
            ("gzip;q=0", &[]),
            ("gzip;q=x", &[]),
            ("", &[]),
        ] {
            assert_eq!(accepted(&accepting(said)), taken, "{said}");
        }
    }

    async fn applied(length: usize, said: &str) -> Response<Bytes> {
        let body: Vec<u8> = (0..length).map(|at| b'a' + (at % 7) as u8).collect();
        Compression::default().apply(Response::new(body.into()), &accepting(said)).await
    }

    #[tokio::test]
    async fn what_is_packed_unpacks_to_the_same() {
        for length in [1024, INLINE, INLINE + 1, 1_000_000] {
            let plain = applied(length, "identity").await.into_body();
            assert_eq!(plain.len(), length);
            let gzip = applied(length, "gzip").await;
            assert_eq!(gzip.headers()[header::CONTENT_ENCODING], "gzip");
            assert_eq!(gzip.headers()[header::CONTENT_LENGTH], gzip.body().len().to_string());
            let (mut one, mut other) = (Vec::new(), Vec::new());
            GzDecoder::new(&**gzip.body()).read_to_end(&mut one).expect("gzip");
            let deflate = applied(length, "deflate").await.into_body();
            ZlibDecoder::new(&*deflate).read_to_end(&mut other).expect("zlib");
            assert!(one == plain && other == plain, "{length}");
        }
    }

    #[tokio::test]
    async fn what_is_short_or_does_not_shrink_stays() {
        assert_eq!(applied(1023, "gzip").await.body().len(), 1023);
        let noise: Vec<u8> = (0..2000).map(|_| rand::random()).collect();
        let answer = Response::new(noise.into());
        let answer = Compression::default().apply(answer, &accepting("gzip")).await;
        assert!(answer.headers().is_empty() && answer.body().len() == 2000);
    }

    #[tokio::test]
    async fn while_all_places_are_taken_large_answers_leave_as_they_are() {
        let busy = Compression { places: Semaphore::new(0) };
        for (length, is_packed) in [(INLINE, true), (INLINE + 1, false)] {
            let answer = Response::new(vec![b'a'; length].into());
            let answer = busy.apply(answer, &accepting("gzip")).await;
            assert_eq!(answer.headers().contains_key(header::CONTENT_ENCODING), is_packed);
        }
    }
}
