//! TLS to Postgres, by rustls.

use std::{path::PathBuf, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

use super::error::TargetError;
use crate::{any_certificate, pem::read_authorities};

/// How much is asked of the server's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Any certificate will do, so whoever stands between may read along.
    Anybody,
    /// One of these authorities, or else of the system's, vouches for the host's name.
    Authorities(Option<PathBuf>),
}

pub(super) fn client(trust: &Trust) -> Result<ClientConfig, TargetError> {
    let authorities = match trust {
        // `sslmode=require`: nobody listens in, but who is there is not known.
        Trust::Anybody => return Ok(any_certificate::client()),
        Trust::Authorities(Some(file)) => read_authorities(file)?,
        Trust::Authorities(None) => of_the_system()?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TargetError::Roots(error.to_string()))?;
    Ok(builder.with_root_certificates(authorities).with_no_client_auth())
}

fn of_the_system() -> Result<RootCertStore, TargetError> {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Some may be of a kind that is not understood.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map_or("there are none".into(), ToString::to_string);
        return Err(TargetError::Roots(format!("the system's authorities cannot be used: {why}")));
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    use test_kit::postgres::PostgresServer;

    use crate::store::postgres::Target;

    /// A server with a certificate for `localhost` of an authority in `ca.pem`.
    fn server(folder: &Path) -> PostgresServer {
        fs::create_dir_all(folder).expect("a folder");
        let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
            -keyout ca.key -out ca.pem -subj /CN=ca -addext basicConstraints=critical,CA:TRUE && \
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \
            -out req.pem -subj /CN=postgres && \
            printf 'subjectAltName=DNS:localhost' > ext && \
            openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
            -extfile ext -out cert.pem";
        let made = Command::new("sh").args(["-c", script]).current_dir(folder).output();
        let made = made.expect("openssl is installed");
        assert!(made.status.success(), "{made:?}");
        let server = PostgresServer::with(&[&format!("tls={}", folder.display())]);
        let only = "ALTER SYSTEM SET ssl_min_protocol_version = 'TLSv1.2'";
        server.psql(&server.url(), only).expect("it is set");
        server
    }

    #[tokio::test]
    async fn the_certificate_is_asked_for_as_much_as_the_url_says() {
        let folder =
            std::env::temp_dir().join(format!("switchboard-pg-tls-{}", std::process::id()));
        let server = server(&folder);
        let root = folder.join("ca.pem");
        let ask = async |host: &str, parameters: &str| {
            let port = server.port;
            let url = format!("postgres://postgres@{host}:{port}/postgres?{parameters}");
            let (client, connection) = Target::parse(&url).expect("a URL").connect().await?;
            tokio::spawn(connection);
            let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let row = client.query_typed_one(sql, &[]).await;
            row.map(|row| row.get::<_, bool>(0)).map_err(|error| super::super::store_error(&error))
        };
        let full = format!("sslmode=verify-full&sslrootcert={}", root.display());
        for (host, parameters, is_encrypted) in [
            ("127.0.0.1", "sslmode=disable", false),
            ("127.0.0.1", "", true),
            ("127.0.0.1", "sslmode=require", true),
            ("localhost", &full, true),
        ] {
            assert_eq!(ask(host, parameters).await, Ok(is_encrypted), "{host} {parameters}");
        }
        let other_name = ask("127.0.0.2", &full).await;
        let unknown = ask("localhost", "sslmode=verify-full").await;
        for refused in [other_name, unknown] {
            let said = refused.expect_err("it is not trusted").to_string();
            assert!(said.starts_with("the store cannot be reached"), "{said}");
        }
        fs::remove_dir_all(&folder).expect("it was made here");
    }
}
