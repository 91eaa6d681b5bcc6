//! The PROXY protocol of HAProxy, versions 1 and 2. A proxy that passes bytes on without reading
//! them names the client before the first byte.
//!
//! It is read from trusted proxies only, whether or not they send it. So there is nothing to switch
//! on, and no other client can choose its address.
//! Source: <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>.

use std::{io, net::SocketAddr, time::Duration};

use ppp::{HeaderResult, v1, v2};
use tokio::{
    io::{AsyncReadExt, Interest},
    net::TcpStream,
    time::sleep,
};

const TEXT_START: &[u8] = b"PROXY ";
const BINARY_START: &[u8] = v2::PROTOCOL_PREFIX;

/// The longest header of version 1 (section 2.1), its end of line included.
const LONGEST_TEXT: usize = 107;

/// Bytes of a header of version 2 up to and with its length.
const BINARY_HEAD: usize = 16;

/// Longest accepted header of version 2, additions (TLVs) included. A proxy that names the client
/// and its TLS needs some hundred bytes.
const LONGEST_BINARY: usize = 4096;

/// The pause between two looks at a part of the first bytes.
const PIECES: Duration = Duration::from_millis(2);

/// Takes the header off the stream and returns the client's address. `None` without a header, or
/// with one that names no client, as health checks send it.
///
/// Waits for the first bytes, so it needs a timeout.
///
/// # Errors
/// If the stream ends, or starts like a header and is none.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; BINARY_HEAD];
    let seen = peek_until(stream, &mut start, |seen| {
        let may_be = |whole: &[u8]| seen.iter().zip(whole).all(|(byte, start)| byte == start);
        let is_text = may_be(TEXT_START) && seen.len() >= TEXT_START.len();
        let is_neither = !may_be(TEXT_START) && !may_be(BINARY_START);
        is_text || is_neither || seen.len() == BINARY_HEAD
    })
    .await?;
    let header = match &start[..seen] {
        text if text.starts_with(TEXT_START) => text_header(stream).await?,
        binary if binary.starts_with(BINARY_START) => binary_header(stream, &start).await?,
        _ => return Ok(None),
    };
    source(&header)
}

async fn text_header(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = [0; LONGEST_TEXT];
    let end_of = |line: &[u8]| line.windows(2).position(|pair| pair == b"\r\n");
    let seen =
        peek_until(stream, &mut line, |seen| end_of(seen).is_some() || seen.len() == LONGEST_TEXT)
            .await?;
    let end = end_of(&line[..seen]).ok_or_else(malformed)?;
    take(stream, end + 2).await
}

async fn binary_header(stream: &mut TcpStream, head: &[u8; BINARY_HEAD]) -> io::Result<Vec<u8>> {
    let len = BINARY_HEAD + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if len > LONGEST_BINARY {
        return Err(malformed());
    }
    take(stream, len).await
}

async fn take(stream: &mut TcpStream, len: usize) -> io::Result<Vec<u8>> {
    let mut header = vec![0; len];
    stream.read_exact(&mut header).await?;
    Ok(header)
}

/// Peeks at the stream until there is `enough`, and leaves the bytes there.
async fn peek_until(
    stream: &TcpStream,
    buffer: &mut [u8],
    enough: impl Fn(&[u8]) -> bool,
) -> io::Result<usize> {
    let mut before = 0;
    loop {
        let seen = stream.peek(buffer).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if enough(&buffer[..seen]) {
            return Ok(seen);
        }
        if seen == before {
            // A peek does not wait for more bytes, and does not report the end of the stream.
            if stream.ready(Interest::READABLE).await?.is_read_closed() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            sleep(PIECES).await;
        }
        before = seen;
    }
}

/// The source address in the header.
fn source(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
        }),
        // The proxy's own connection, a health check, names no client.
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(header)) => Ok(match header.addresses {
            v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
            v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a header of the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// What is read of `pieces`, each sent by itself, and what is left behind it.
    async fn sent(pieces: &[&[u8]]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let mut proxy =
            TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        proxy.set_nodelay(true).expect("set");
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let send = async {
            for piece in pieces {
                proxy.write_all(piece).await.expect("sent");
                tokio::task::yield_now().await;
            }
            proxy.shutdown().await.expect("closed");
        };
        let (read, ()) = tokio::join!(read(&mut stream), send);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("the rest");
        (read, rest)
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let len = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [BINARY_START, &[0x20 | command, family], &len, addresses].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_the_rest_alone() {
        let four = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 0x0b, 0xb8];
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 1]);
        six[15] = 7;
        six[32..34].copy_from_slice(&[0x12, 0x34]);
        let with_additions = [&four[..], &[0x02, 0, 3, b'a', b'b', b'c']].concat();
        for (header, client) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 3000\r\n".to_vec(), "203.0.113.7:4660"),
            (b"PROXY TCP6 2001::7 ::1 4660 3000\r\n".to_vec(), "[2001::7]:4660"),
            (binary(1, 0x11, &four), "203.0.113.7:4660"),
            (binary(1, 0x21, &six), "[2001::7]:4660"),
            (binary(1, 0x11, &with_additions), "203.0.113.7:4660"),
        ] {
            let bytes: Vec<&[u8]> = header.chunks(1).chain([&b"GET /"[..]]).collect();
            for pieces in [vec![&header[..], b"GET /"], bytes] {
                let (read, rest) = sent(&pieces).await;
                assert_eq!(read.expect("read").map(|it| it.to_string()).as_deref(), Some(client));
                assert_eq!(rest, b"GET /");
            }
        }
    }

    #[tokio::test]
    async fn what_speaks_of_no_client_is_passed_over() {
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            binary(0, 0, &[]),
            binary(1, 0, &[]),
            binary(0, 0x11, &[0; 12]),
        ] {
            let (read, rest) = sent(&[&header, b"GET /"]).await;
            assert_eq!(read.expect("read"), None);
            assert_eq!(rest, b"GET /");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_sends_no_header_is_served_as_it_is() {
        for first in
            [&b"GET / HTTP/1.1\r\n"[..], b"PUT", b"POST /", b"PRI * HTTP/2.0", b"\x16\x03\x01"]
        {
            let (read, rest) = sent(&[first, b"x"]).await;
            assert_eq!(read.expect("read"), None);
            assert_eq!(rest, [first, b"x"].concat());
        }
    }

    #[tokio::test]
    async fn what_starts_like_a_header_and_is_none_is_an_error() {
        let too_long = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        for start in [
            &b"PROXY TCP4 nonsense\r\n"[..],
            b"PROXY TCP4 203.0.113.7 10.0.0.1 99999 1\r\n",
            b"PROXY TCP4 203.0.113.7",
            b"PRO",
            &too_long,
            &binary(1, 0x11, &[1, 2, 3]),
            &binary(1, 0x11, &[0; 5000]),
            &[BINARY_START, &[0x31, 0x11, 0, 0]].concat(),
            b"",
        ] {
            assert!(sent(&[start]).await.0.is_err(), "{start:?}");
        }
    }
}
