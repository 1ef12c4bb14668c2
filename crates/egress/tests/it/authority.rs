//! A certificate authority of our own, and peers that present what it signs or speak other TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use busbar_egress::{Egress, Limits, Policy, Surroundings};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const HTTP_2: &[u8] = b"h2";

/// An authority with a certificate that is in a file as long as it lives.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    file: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        params.distinguished_name.push(DnType::CommonName, format!("Authority {number}"));
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let name = format!("busbar-authority-{}-{number}.pem", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, root.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), root: root.der().clone(), file }
    }

    /// A certificate for `name` that this authority has signed.
    pub(crate) fn signed(&self, name: &str) -> Arc<CertifiedKey> {
        self.signed_as(&CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    pub(crate) fn signed_as(&self, params: &CertificateParams) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        certified(certificate.der().clone(), &key)
    }

    /// A client that trusts this authority beside the system's and may reach this machine.
    pub(crate) fn trusting(&self, limits: Limits) -> Egress {
        let surroundings = Surroundings { ca_file: Some(self.file.clone()), ..Surroundings::default() };
        let policy = Policy::parse(&["127.0.0.0/8", "::1/128"].map(str::to_owned), &[], false).unwrap();
        Egress::with_surroundings(policy, limits, &surroundings).unwrap()
    }

    /// What a peer expects that lets only clients in whom this authority knows.
    pub(crate) fn demanding(
        &self,
        certificate: Arc<CertifiedKey>,
        version: &'static SupportedProtocolVersion,
    ) -> Identity {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
        let shown = Shown(Arc::new(Mutex::new(certificate)));
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = config.with_client_cert_verifier(clients).with_cert_resolver(Arc::new(shown.clone()));
        Identity { shown, config }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A certificate that nobody but its own key has signed.
pub(crate) fn self_signed(name: &str) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    certified(certificate.der().clone(), &key)
}

fn certified(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<CertifiedKey> {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    Arc::new(CertifiedKey::new(vec![certificate], key))
}

/// The certificate that a peer shows at the moment.
#[derive(Clone, Debug)]
pub(crate) struct Shown(Arc<Mutex<Arc<CertifiedKey>>>);

impl Shown {
    pub(crate) fn replace(&self, certificate: Arc<CertifiedKey>) {
        *self.0.lock().unwrap() = certificate;
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }
}

/// How a peer secures its connections.
pub(crate) struct Identity {
    shown: Shown,
    config: ServerConfig,
}

impl From<Arc<CertifiedKey>> for Identity {
    fn from(certificate: Arc<CertifiedKey>) -> Self {
        let shown = Shown(Arc::new(Mutex::new(certificate)));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_cert_resolver(Arc::new(shown.clone()));
        Self { shown, config }
    }
}

impl Identity {
    /// The same, with HTTP/2 and nothing else to speak.
    pub(crate) fn with_http_2(mut self) -> Self {
        self.config.alpn_protocols = vec![HTTP_2.to_vec()];
        self
    }
}

/// A peer that speaks TLS; dropping it stops it.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) shown: Shown,
    accepted: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Peer {
    pub(crate) async fn start(identity: impl Into<Identity>) -> Self {
        let Identity { shown, config } = identity.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (accepted, served) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, acceptor, Arc::clone(&accepted), Arc::clone(&served)));
        Self { addr, shown, accepted, served, _serving: serving }
    }

    /// How many connections were accepted, secured or not.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// How many requests were read.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/", self.addr.port())
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, accepted: Arc<AtomicUsize>, served: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::SeqCst);
        let (acceptor, served) = (acceptor.clone(), Arc::clone(&served));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            match stream.get_ref().1.alpn_protocol() {
                Some(HTTP_2) => serve_http_2(stream, served).await,
                _ => serve_once(stream, served).await,
            }
        });
    }
}

async fn serve_once(mut stream: TlsStream<TcpStream>, served: Arc<AtomicUsize>) {
    let mut buffer = vec![0; 16 * 1_024];
    if stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
        served.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(ANSWER).await;
        let _ = stream.shutdown().await;
    }
}

async fn serve_http_2(stream: TlsStream<TcpStream>, served: Arc<AtomicUsize>) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        served.fetch_add(1, Ordering::SeqCst);
        async move {
            assert_eq!(request.version(), hyper::Version::HTTP_2);
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            Ok::<_, hyper::Error>(hyper::Response::new(Full::new(Bytes::from_static(b"two"))))
        }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
