//! The names of the TLS files: from the settings, and from the URL.

use std::path::PathBuf;

use super::target_error::TargetError;

/// The files that the configuration names: `redis.ca_file` and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl TlsFiles {
    /// These files, and those of the URL.
    ///
    /// # Errors
    /// If both name different files of one kind, or if there is a certificate without a key, or the
    /// reverse.
    pub(super) fn with(&self, url: [Option<String>; 3]) -> Result<Self, TargetError> {
        let [ca, cert, key] = url.map(|path| path.map(PathBuf::from));
        let one = |name, setting: &Option<PathBuf>, url: Option<PathBuf>| match (setting, url) {
            (Some(setting), Some(url)) if *setting != url => Err(TargetError::TwoFiles(name)),
            (setting, url) => Ok(setting.clone().or(url)),
        };
        let files = Self {
            ca: one("ca", &self.ca, ca)?,
            cert: one("cert", &self.cert, cert)?,
            key: one("key", &self.key, key)?,
        };
        match files.cert.is_some() == files.key.is_some() {
            true => Ok(files),
            false => Err(TargetError::HalfPair),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
