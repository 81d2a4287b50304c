//! Refresh tokens that the org replaces: the newest one is on disk before it counts.
//!
//! Promises: a token is kept in a file that only its owner may read, replaced atomically; a token that the
//! operator has put into the config since wins over a kept one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::atomic_file;

/// Where the newest refresh token of one org is kept.
pub trait TokenKeeper: fmt::Debug + Send + Sync {
    /// The token kept last that came from `configured`; `None` when there is none.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    fn kept(&self, configured: &SecretString) -> io::Result<Option<SecretString>>;
    /// Keeps `token`, which came from `configured` by one or more replacements. Durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses; the token kept before then still stands.
    fn keep(&self, configured: &SecretString, token: &SecretString) -> io::Result<()>;
}

/// Keeps the token in a file of its own.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// SHA-256 of the configured token, in hex: the token itself needs no second copy.
    configured: String,
    refresh_token: String,
}

impl TokenFile {
    /// A keeper in `path`, whose folder is made when needed.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

impl TokenKeeper for TokenFile {
    fn kept(&self, configured: &SecretString) -> io::Result<Option<SecretString>> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // The reader's complaint may quote the token: it is not passed on.
        let kept: Kept = serde_json::from_slice(&text).map_err(|_| {
            let path = self.path.display();
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{path}` is damaged; remove it to start from the token in the config"),
            )
        })?;
        let is_ours = kept.configured == fingerprint(configured);
        Ok(is_ours.then(|| SecretString::from(kept.refresh_token)))
    }

    fn keep(&self, configured: &SecretString, token: &SecretString) -> io::Result<()> {
        let kept =
            Kept { configured: fingerprint(configured), refresh_token: token.expose_secret().to_owned() };
        let text = serde_json::to_string(&kept).map_err(io::Error::other)?;
        std::fs::create_dir_all(self.folder())?;
        atomic_file::write_private(&self.path, &text).map_err(|error| error.source)
    }
}

fn fingerprint(token: &SecretString) -> String {
    use std::fmt::Write;
    Sha256::digest(token.expose_secret()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_newest_token_is_given_back_to_the_config_it_came_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens").join("acme.json");
        let keeper = TokenFile::new(path.clone());
        let (first, other) = (SecretString::from("first"), SecretString::from("another"));
        assert!(keeper.kept(&first).unwrap().is_none());
        keeper.keep(&first, &"second".into()).unwrap();
        keeper.keep(&first, &"third".into()).unwrap();
        assert_eq!(keeper.kept(&first).unwrap().unwrap().expose_secret(), "third");
        assert!(keeper.kept(&other).unwrap().is_none(), "the config was changed since");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme.json");
        std::fs::write(&path, r#"{"configured":"x","refresh_token":12"#).unwrap();
        let error = TokenFile::new(path).kept(&"first".into()).unwrap_err().to_string();
        assert!(error.contains("acme.json") && error.contains("remove it"), "{error}");
    }
}
