//! What is wrong with a certificate, in words for an operator.

use std::io;

use rustls::{AlertDescription, CertificateError, pki_types::UnixTime};

/// The fault of a certificate, ours or the server's.
pub(in crate::link::redis) fn of_certificate(error: &io::Error) -> Option<String> {
    let tls: &rustls::Error = error.get_ref()?.downcast_ref()?;
    Some(match tls {
        rustls::Error::InvalidCertificate(error) => of_theirs(error),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            format!(
                "it wants a certificate of its clients, redis.cert_file and redis.key_file ({tls})"
            )
        }
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => format!("it does not take the certificate of redis.cert_file ({tls})"),
        // TLS 1.2 reports it so.
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => format!(
            "perhaps it wants a certificate of its clients, redis.cert_file and redis.key_file \
             ({tls})"
        ),
        _ => return None,
    })
}

fn of_theirs(error: &CertificateError) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext, UnknownIssuer,
    };
    let apart = |a: UnixTime, b: UnixTime| {
        let hours = a.as_secs().abs_diff(b.as_secs()) / 3600;
        format!("{} d {} h", hours / 24, hours % 24)
    };
    match error {
        // The driver's own text would give seconds since 1970.
        ExpiredContext { time, not_after } => {
            format!("its certificate has expired {} ago", apart(*time, *not_after))
        }
        NotValidYetContext { time, not_before } => {
            format!("its certificate is not valid yet, for {}", apart(*time, *not_before))
        }
        Expired => "its certificate has expired".to_owned(),
        NotValidYet => "its certificate is not valid yet".to_owned(),
        NotValidForName | NotValidForNameContext { .. } => {
            format!("its certificate is for another name than the one in redis.url ({error})")
        }
        UnknownIssuer => "its certificate is of no authority that is trusted here; redis.ca_file \
                          names others"
            .to_owned(),
        _ => format!("its certificate is not trusted ({error})"),
    }
}
