//! `[admin_ui]`: the official Socket.IO Admin UI.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    config::{serde_with, units},
    secret::Secret,
};

/// `[admin_ui]`: the official Socket.IO Admin UI, which connects to a namespace of its own.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.admin_ui.enabled = true);
/// assert_eq!(config.check().errors[0].keys[1], "admin_ui.username");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdminUi {
    /// Default false.
    pub enabled: bool,
    /// The namespace that the page connects to. Default `/admin`, the page's own default.
    pub namespace: String,
    /// The name to log in with. Default unset; obligatory.
    #[serde(with = "serde_with::unset")]
    pub username: Option<String>,
    /// The password, or its bcrypt hash (`$2a$`, `$2b$` or `$2y$`). Default unset; obligatory, and
    /// the same on every node, so that a login on one holds on all.
    #[serde(with = "serde_with::unset")]
    pub password: Option<Secret>,
    /// How much is shown. Default `production`.
    pub mode: AdminUiMode,
    /// Whether the page can only look. Default false.
    pub read_only: bool,
    /// The name of this node on the page. Default unset: its name in the cluster.
    #[serde(with = "serde_with::unset")]
    pub server_id: Option<String>,
    /// How long a login lasts, after which the page asks for the password again. Default 12 h;
    /// more than 0.
    #[serde(with = "units::duration")]
    pub session_ttl: Duration,
}

impl Default for AdminUi {
    fn default() -> Self {
        Self {
            enabled: false,
            namespace: "/admin".into(),
            username: None,
            password: None,
            mode: AdminUiMode::Production,
            read_only: false,
            server_id: None,
            session_ttl: Duration::from_secs(12 * 3600),
        }
    }
}

impl AdminUi {
    /// Enabled, with this login. The password may be a bcrypt hash.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, config::AdminUi};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .gateway(Gateway::new("/"))
    ///     .admin_ui(AdminUi::new("ops", "a long password"))
    ///     .build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            enabled: true,
            username: Some(username.into()),
            password: Some(Secret::new(password)),
            ..Self::default()
        }
    }
}

/// How much the Admin UI shows.
///
/// ```
/// use switchboard::{Config, config::AdminUiMode};
///
/// let config = Config::with(|config| config.admin_ui.mode = AdminUiMode::Development);
/// assert_eq!(Config::default().admin_ui.mode, AdminUiMode::Production);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminUiMode {
    /// The servers, the numbers of their clients and sockets, and their traffic.
    Production,
    /// As `Production`, and each socket with its rooms, data and events as they happen. While a
    /// page is open this about doubles the cost of everything it shows.
    Development,
}
