//! Certificates for tests, made by `openssl`.

use crate::{Failure, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An authority with a server on loopback and a client, as PEM files in a folder.
#[derive(Clone, Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes everything in `folder`, over what is there.
    ///
    /// # Errors
    /// There is no `openssl`, or it fails.
    pub fn make(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let made = Self {
            folder: folder.to_owned(),
        };
        made.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem")?;
        made.leaf("server", "subjectAltName=IP:127.0.0.1,DNS:control-plane")?;
        made.leaf("client", "subjectAltName=DNS:client,DNS:envoy")?;
        made.leaf("other", "subjectAltName=DNS:other")?;
        Ok(made)
    }

    fn leaf(&self, name: &str, extension: &str) -> Result<()> {
        std::fs::write(self.folder.join("extensions"), extension)?;
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ))?;
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ))
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        let done = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::from(error).during("starting openssl"))?;
        if done.status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!(
                "openssl {arguments}: {}",
                String::from_utf8_lossy(&done.stderr)
            )))
        }
    }

    /// How an Envoy reaches a server that asks for the client's certificate.
    #[must_use]
    pub fn transport_socket(&self) -> String {
        self.transport_socket_of("client")
    }

    /// The same with another certificate of the authority.
    #[must_use]
    pub fn transport_socket_of(&self, name: &str) -> String {
        format!(
            r#"transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    sni: control-plane
    common_tls_context:
      alpn_protocols: [h2]
      tls_certificates: [{{ certificate_chain: {{ filename: "{}" }}, private_key: {{ filename: "{}" }} }}]
      validation_context: {{ trusted_ca: {{ filename: "{}" }} }}"#,
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.key")),
            self.file("ca.pem")
        )
    }

    /// A file: `ca.pem`, and `.pem` and `.key` of `server`, of `client`, who is `envoy` as well, and of `other`.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}
