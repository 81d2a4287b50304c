//! Idempotency keys: rows of `penstock_batch_key`, written in the batch's own transaction.
//!
//! Whether another transaction holds a key is told by a named lock (`GET_LOCK`, not waited for): an INSERT of a row that
//! another transaction has inserted and not committed would wait. The lock belongs to the session and is released after
//! COMMIT or ROLLBACK, or by the server when the connection is gone; between a COMMIT and the release a repeat is told
//! "in flight" once more, which is harmless. Named locks are of one server: on a cluster that writes on several, the row's
//! primary key still keeps a key from being used twice.

use mysql_async::Value as Wire;
use mysql_async::prelude::Queryable;
use sha2::{Digest as _, Sha256};

use super::connection::{Connection, Done, count_of, refused};
use super::error::Failure;
use crate::database::{DbErrorCode, Reply, StoredAnswer};

/// Creates the table where it is missing.
pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS penstock_batch_key (\
     scope CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, \
     fingerprint BINARY(32) NOT NULL, \
     status SMALLINT UNSIGNED NULL, \
     body LONGBLOB NOT NULL, \
     created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
     KEY penstock_batch_key_created_at (created_at)) ENGINE = InnoDB";

/// Forgets keys that are older than a day, some at a time.
const FORGET_OLD: &str =
    "DELETE FROM penstock_batch_key WHERE created_at < CURRENT_TIMESTAMP(6) - INTERVAL 24 HOUR LIMIT 1000";

impl Connection {
    pub(super) async fn take_key(&mut self, scope: &str, fingerprint: &[u8; 32]) -> Done<Reply> {
        let name = lock_name(scope);
        let asked = self
            .first("SELECT GET_LOCK(CONCAT(LEFT(SHA1(DATABASE()), 16), ?), 0)", vec![bytes(&name)])
            .await?;
        if asked.into_iter().flatten().next().map_or(0, count_of) != 1 {
            return Err(refused(DbErrorCode::KeyInFlight, "GET_LOCK"));
        }
        self.key_lock = Some(name);
        let inserted = self
            .first(
                "INSERT INTO penstock_batch_key (scope, fingerprint, body) VALUES (?, ?, '')",
                vec![bytes(scope), Wire::Bytes(fingerprint.to_vec())],
            )
            .await;
        match inserted {
            Ok(_) => return Ok(Reply::Done),
            Err(Failure::Statement(error)) if error.code == DbErrorCode::UniqueViolation => {}
            // Somebody who does not take the lock: another server of a cluster.
            Err(Failure::Statement(error)) if error.code == DbErrorCode::LockTimeout => {
                return Err(refused(DbErrorCode::KeyInFlight, &error.native_code));
            }
            Err(other) => return Err(other),
        }
        // The row that is in the way, whatever snapshot the transaction has.
        let row = self
            .first(
                "SELECT fingerprint, status, body, created_at < CURRENT_TIMESTAMP(6) - INTERVAL 24 HOUR \
                 FROM penstock_batch_key WHERE scope = ? FOR UPDATE",
                vec![bytes(scope)],
            )
            .await?;
        match row.and_then(stored_answer) {
            Some((answer, false)) => Ok(Reply::Key(answer)),
            // A key of more than a day ago counts as one that was never seen.
            Some((_, true)) => {
                let sql = "UPDATE penstock_batch_key SET fingerprint = ?, status = NULL, body = '', \
                     created_at = CURRENT_TIMESTAMP(6) WHERE scope = ?";
                self.first(sql, vec![Wire::Bytes(fingerprint.to_vec()), bytes(scope)]).await?;
                Ok(Reply::Done)
            }
            None => Err(refused(DbErrorCode::SerializationFailure, "key row")),
        }
    }

    pub(super) async fn keep_answer(&mut self, scope: &str, answer: &StoredAnswer) -> Done<()> {
        let status = answer.status.map_or(Wire::NULL, |status| Wire::UInt(u64::from(status)));
        self.first(
            "UPDATE penstock_batch_key SET fingerprint = ?, status = ?, body = ? WHERE scope = ?",
            vec![
                Wire::Bytes(answer.fingerprint.to_vec()),
                status,
                Wire::Bytes(answer.body.clone()),
                bytes(scope),
            ],
        )
        .await
        .map(drop)
    }

    pub(super) async fn drop_key(&mut self, scope: &str) -> Done<()> {
        self.first("DELETE FROM penstock_batch_key WHERE scope = ?", vec![bytes(scope)]).await.map(drop)
    }

    /// Forgets keys that are of no more use to anybody. What fails here is done the next time.
    pub(super) async fn forget_old_keys(&mut self) {
        loop {
            match self.conn.query_drop(FORGET_OLD).await {
                Ok(()) if self.conn.affected_rows() > 0 => {}
                Ok(()) => return,
                Err(_) => {
                    tracing::debug!("old idempotency keys were not removed");
                    return;
                }
            }
        }
    }

    /// Lets go of the named lock. What fails here changes nothing of what was committed.
    pub(super) async fn release_key(&mut self) {
        if let Some(name) = self.key_lock.take() {
            let sql = "DO RELEASE_LOCK(CONCAT(LEFT(SHA1(DATABASE()), 16), ?))";
            if self.first(sql, vec![bytes(&name)]).await.is_err() {
                tracing::debug!("a named lock was not released; it ends with its connection");
                self.key_lock = Some(name);
            }
        }
    }
}

/// Names of locks have at most 64 characters and no case; the database's part is put before it by the server.
fn lock_name(scope: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(scope.as_bytes());
    digest.iter().take(20).fold(String::from("penstock"), |mut name, byte| {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
        name
    })
}

fn bytes(text: &str) -> Wire {
    Wire::Bytes(text.as_bytes().to_vec())
}

/// The answer of a row, and whether it is too old.
fn stored_answer(row: Vec<Wire>) -> Option<(StoredAnswer, bool)> {
    let mut cells = row.into_iter();
    let (fingerprint, status, body, old) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    let (Wire::Bytes(fingerprint), Wire::Bytes(body)) = (fingerprint, body) else { return None };
    let status = match status {
        Wire::NULL => None,
        status => Some(u16::try_from(count_of(status)).ok()?),
    };
    Some((StoredAnswer { fingerprint: fingerprint.try_into().ok()?, status, body }, count_of(old) != 0))
}
