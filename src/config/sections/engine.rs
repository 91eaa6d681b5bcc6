//! Values of `[engine]` that are more than a number or a switch.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// How clients of Engine.IO 3 (Socket.IO 1 and 2) may connect.
///
/// ```
/// use switchboard::{Config, config::Legacy};
///
/// let config = Config::with(|config| config.engine.legacy = Legacy::All);
/// assert_eq!(Config::default().engine.legacy, Legacy::Websocket);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Legacy {
    /// Not at all, as in Node.js without `allowEIO3`.
    Off,
    /// By websocket. Those that begin with polling are refused.
    Websocket,
    /// By both transports, as in Node.js with `allowEIO3`. A polling client of this kind takes the
    /// session id, which is a secret, for the public id of its socket.
    All,
}

impl Legacy {
    /// Also takes the former values of `legacy_polling`: true or false.
    pub(super) fn deserialize_former<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Self, D::Error> {
        struct Former;
        impl de::Visitor<'_> for Former {
            type Value = Legacy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("off, websocket or all")
            }

            fn visit_bool<E: de::Error>(self, polling: bool) -> Result<Legacy, E> {
                Ok(if polling { Legacy::All } else { Legacy::Websocket })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Legacy, E> {
                match text {
                    "off" => Ok(Legacy::Off),
                    "websocket" | "false" => Ok(Legacy::Websocket),
                    "all" | "true" => Ok(Legacy::All),
                    _ => Err(E::custom(format!("`{text}` is not one of off, websocket, all"))),
                }
            }
        }
        deserializer.deserialize_any(Former)
    }
}
