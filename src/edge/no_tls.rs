//! In the place of TLS, where the crate is built without it. The configuration refuses the files of
//! a certificate then, before anything here is asked.

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
};

use tokio::net::TcpStream;

use super::tcp::Stream;

/// There is none.
#[derive(Clone)]
pub(crate) struct Tls(Infallible);

fn needs_tls() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "TLS needs the cargo feature `tls`")
}

impl Tls {
    pub(crate) fn load(_: PathBuf, _: PathBuf) -> io::Result<Self> {
        Err(needs_tls())
    }

    pub(crate) fn problems(_: &Path, _: &Path) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    pub(crate) fn reload(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) async fn accept(&self, _: TcpStream) -> io::Result<Box<dyn Stream>> {
        match self.0 {}
    }
}

pub(super) async fn connect(_: &str, _: TcpStream) -> io::Result<Box<dyn Stream>> {
    Err(needs_tls())
}
