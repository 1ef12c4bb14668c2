//! How connections are secured: TLS 1.2 or 1.3, and certificates that lead to an authority of the
//! operating system or of the operator.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

/// TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the authorities in {} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error("{} holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("the certificate authorities cannot be used")]
    Authorities(#[from] rustls::Error),
}

/// Secures connections, trusting the system's authorities and those in `ca_file`.
pub(crate) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let further = ca_file.map_or(Ok(Vec::new()), authorities)?;
    let verifier = Verifier::new_with_extra_roots(further, Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous() // So named since a verifier is passed in; this one checks all there is to check.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled(); // A resumed session would not show its certificate again.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = path.to_owned();
    match CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(found) if found.is_empty() => Err(TlsError::Empty { path }),
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Unreadable { path, source }),
    }
}
