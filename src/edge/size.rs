//! How big a packet for a client is.

/// The size of a packet for a client: the number of it and its attachments, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
}
