//! Authorities and certificates of the tests' own, and both ends of a TLS connection that use them.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio_rustls::TlsAcceptor;

use crate::harness::WAIT_MAX;

/// A connection of a peer over TLS.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and a folder for its certificate and all that it issues.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: TempDir,
}

/// From when until when, in days from now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Days(pub(crate) i64, pub(crate) i64);

/// A certificate with its key, in files and at hand.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    certificate: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two of one name would be taken for each other until a signature is looked at.
        let name = format!("authority {:016x} of a test", fastrand::u64(..));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let certificate = certificate.der().clone();
        Self { issuer: Issuer::new(params, key), certificate, folder }
    }

    /// The file of its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Issues a certificate with these names, written as `DNS:localhost`, `IP:127.0.0.1` or
    /// `URI:spiffe://fleet/room`, valid now. Its files are `NAME.pem` and `NAME-key.pem`; of one name
    /// they are the latest.
    pub(crate) fn issue(&self, name: &str, names: &[&str]) -> Issued {
        self.issue_for(name, names, Days(-1, 365))
    }

    /// The same with another validity.
    pub(crate) fn issue_for(&self, name: &str, names: &[&str], days: Days) -> Issued {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = names.iter().map(|name| alternative(name)).collect();
        let ymd = |(year, month, day)| rcgen::date_time_ymd(year, month, day);
        params.not_before = ymd(day(days.0));
        params.not_after = ymd(day(days.1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |end: &str| self.folder.path().join(format!("{name}{end}"));
        let (cert_file, key_file) = (path(".pem"), path("-key.pem"));
        fs::write(&cert_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        Issued {
            cert: cert_file,
            key: key_file,
            certificate: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    fn trusted(&self) -> RootCertStore {
        let mut trusted = RootCertStore::empty();
        trusted.add(self.certificate.clone()).unwrap();
        trusted
    }

    /// A client that trusts this authority, and shows a certificate if it has one.
    pub(crate) fn client(&self, own: Option<&Issued>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.trusted());
        Arc::new(match own {
            Some(own) => builder.with_client_auth_cert(own.chain(), own.key_der()).unwrap(),
            None => builder.with_no_client_auth(),
        })
    }
}

impl Issued {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()))
    }

    /// `cert = "…", key = "…"`, as it stands in a `tls` table.
    pub(crate) fn keys(&self) -> String {
        format!("cert = {:?}, key = {:?}", self.cert, self.key)
    }

    /// Puts the files of `other` in the place of these.
    pub(crate) fn replace_by(&self, other: &Self) {
        for (from, to) in [(&other.cert, &self.cert), (&other.key, &self.key)] {
            let draft = to.with_extension("draft");
            fs::copy(from, &draft).unwrap();
            fs::rename(&draft, to).unwrap();
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn alternative(name: &str) -> SanType {
    match name.split_once(':').unwrap() {
        ("DNS", name) => SanType::DnsName(Ia5String::try_from(name).unwrap()),
        ("URI", name) => SanType::URI(Ia5String::try_from(name).unwrap()),
        ("IP", address) => SanType::IpAddress(address.parse().unwrap()),
        (kind, _) => panic!("no such kind of name: {kind}"),
    }
}

/// Year, month and day.
fn day(from_today: i64) -> (i32, u8, u8) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let date = today.checked_add(jiff::Span::new().days(from_today)).unwrap();
    let part = |part: i8| u8::try_from(part).unwrap();
    (date.year().into(), part(date.month()), part(date.day()))
}

/// Connects and shakes hands; the error is that of the handshake, or of the first thing said after it.
pub(crate) fn connect(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<TlsStream> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(WAIT_MAX))?;
    socket.set_write_timeout(Some(WAIT_MAX))?;
    let mut session = ClientConnection::new(Arc::clone(client), name).map_err(io::Error::other)?;
    let mut socket = socket;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// TLS before a service that speaks in the clear: it ends with each of its connections, and with the
/// test.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    shared: Arc<Shown>,
    _runtime: tokio::runtime::Runtime,
}

/// What clients showed.
#[derive(Default)]
struct Shown {
    names: Mutex<Vec<Vec<String>>>,
    failures: AtomicUsize,
}

impl Front {
    /// Presents `own` to whoever comes for `service`; if there is `demanded`, nobody gets through
    /// without a certificate from it.
    pub(crate) fn before(service: SocketAddr, own: &Issued, demanded: Option<&Authority>) -> Self {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match demanded {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let trusted = Arc::new(authority.trusted());
                let verifier = WebPkiClientVerifier::builder_with_provider(trusted, provider());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_single_cert(own.chain(), own.key_der()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shown>::default());
        let relay = relay(listener, service, TlsAcceptor::from(Arc::new(config)), shared.clone());
        runtime.spawn(relay);
        Self { address, shared, _runtime: runtime }
    }

    /// Handshakes that came to an end, each with the names in the certificate that was shown.
    pub(crate) fn shown(&self) -> Vec<Vec<String>> {
        self.shared.names.lock().unwrap().clone()
    }

    /// Handshakes that failed.
    pub(crate) fn failures(&self) -> usize {
        self.shared.failures.load(SeqCst)
    }
}

async fn relay(
    listener: TcpListener,
    service: SocketAddr,
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shown) = (acceptor.clone(), Arc::clone(&shown));
        #[expect(clippy::disallowed_methods, reason = "it ends with the runtime of its own")]
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                shown.failures.fetch_add(1, SeqCst);
                return;
            };
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let names = stated::tls::names(certificates);
            shown.names.lock().unwrap().push(names.iter().map(ToString::to_string).collect());
            if let Ok(mut service) = tokio::net::TcpStream::connect(service).await {
                // How a connection ends is its peers' business.
                drop(copy_bidirectional(&mut stream, &mut service).await);
            }
        });
    }
}
