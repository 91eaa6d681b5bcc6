//! The rules of the Admin UI.

use super::Check;
use crate::config::Config;
#[cfg(feature = "admin-ui")]
use crate::config::password;

/// Whether a configured namespace can be the hidden one.
///
/// # Errors
/// The rule that it breaks.
pub(crate) fn check_namespace(namespace: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | ',' | '{' | '}');
    match namespace.len() > 1 && namespace.starts_with('/') && namespace.chars().all(is_plain) {
        true => Ok(()),
        false => Err("must be one of its own such as /admin, without blanks and `?#,{}`".into()),
    }
}

impl Config {
    /// Checks the section. Nothing is checked while the Admin UI is off.
    pub(super) fn check_admin_ui(&self, check: &mut Check) {
        let ui = &self.admin_ui;
        if !ui.enabled {
            return;
        }
        check.rule(
            &["admin_ui.enabled"],
            cfg!(feature = "admin-ui"),
            "needs the cargo feature `admin-ui`, which this build does not have",
        );
        check.rule(
            &["admin_ui.enabled", "admin_ui.username", "admin_ui.password"],
            ui.username.is_some() && ui.password.is_some(),
            "is true, so admin_ui.username and admin_ui.password must be set",
        );
        let namespace = check_namespace(&ui.namespace);
        let reason = namespace.as_ref().err().cloned().unwrap_or_default();
        check.rule(&["admin_ui.namespace"], namespace.is_ok(), reason);
        check.rule(&["admin_ui.session_ttl"], !ui.session_ttl.is_zero(), "must be more than 0");
        if let Some(password) = &ui.password {
            #[cfg(feature = "admin-ui")]
            {
                let checked = password::check(password);
                let reason = checked.as_ref().err().map(ToString::to_string).unwrap_or_default();
                check.rule(&["admin_ui.password"], checked.is_ok(), reason);
            }
            check.advice(
                &["admin_ui.password"],
                password.expose().len() >= 12,
                "has fewer than 12 bytes, which can be guessed",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{AdminUi, Config, Secret};

    /// The rules that an Admin UI breaks after this change.
    fn broken(change: impl FnOnce(&mut AdminUi)) -> Vec<String> {
        let mut config =
            Config { admin_ui: AdminUi::new("admin", "a long password"), ..Config::default() };
        change(&mut config.admin_ui);
        let check = config.check();
        check.errors.iter().map(|found| format!("{}: {}", found.keys[0], found.message)).collect()
    }

    #[test]
    fn an_enabled_one_needs_credentials_and_a_namespace_of_its_own() {
        assert_eq!(broken(|_| {}), [""; 0]);
        assert!(broken(|ui| ui.username = None)[0].starts_with("admin_ui.enabled: is true, so"));
        assert!(broken(|ui| ui.password = None)[0].starts_with("admin_ui.enabled: is true, so"));
        assert_eq!(broken(|ui| (ui.password, ui.enabled) = (None, false)), [""; 0]);
        for namespace in ["", "/", "admin", "/a b", "/{any}", "/a,b", "/a?b"] {
            let found = broken(|ui| ui.namespace = namespace.into());
            assert!(found[0].starts_with("admin_ui.namespace: "), "{namespace}: {found:?}");
        }
        assert!(broken(|ui| ui.session_ttl = Duration::ZERO)[0].contains("session_ttl"));
    }

    #[test]
    fn a_broken_hash_is_no_password() {
        let found = broken(|ui| ui.password = Some(Secret::new("$2b$10$broken")));
        assert!(found[0].starts_with("admin_ui.password: looks like a bcrypt hash"), "{found:?}");
        let mut config = Config { admin_ui: AdminUi::new("admin", "short"), ..Config::default() };
        assert_eq!(config.check().warnings.len(), 1);
        config.admin_ui.enabled = false;
        assert_eq!(config.check().warnings.len(), 0);
    }
}
