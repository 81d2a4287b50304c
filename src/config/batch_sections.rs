//! The sections of `POST /batch`: its door, its limits, its databases. `config.toml` explains them to the operator.
//!
//! What is said of an entity has forms of its own (a rule may be a pattern, a table or a switch); such keys hold
//! [`Free`] values here and become the catalogue's settings in `batch_settings.rs`, which tells every mistake by its line.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::problems::Problems;
use super::spec::{KeyLine, Part, describe_list, read_list, section, words};
use super::tree::Node;
use super::values::{ByteSize, Free, Period, Secret};

words! {
    /// Whether callers without a token may use `/batch`.
    pub enum Anonymous {
        /// Allowed on loopback when no issuer is given, denied otherwise.
        Auto = "auto",
        /// Allowed; entities with permissions grant them what `public` has.
        Allow = "allow",
        /// Denied.
        Deny = "deny",
    }
}

words! {
    /// What becomes of claims that an operation carries.
    pub enum OperationClaimsMode {
        /// The batch is refused.
        Refuse = "refuse",
        /// They may narrow what the caller has.
        Narrow = "narrow",
    }
}

words! {
    /// How a token is signed.
    pub enum TokenAlgorithm {
        /// RSA with SHA-256.
        Rs256 = "RS256",
        /// P-256 with SHA-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
        /// A shared secret with SHA-256.
        Hs256 = "HS256",
    }
}

section! {
    /// The door of `POST /batch`.
    pub struct ApiConfig {
        /// Address and port; `None` switches it off. It is open only when there is a database.
        listen: Option<SocketAddr> = Some(SocketAddr::from(([127, 0, 0, 1], 8088)));
        /// Whether an address other than loopback is meant.
        allow_remote: bool = false;
        /// Whether callers without a token are let in.
        anonymous: Anonymous = Anonymous::Auto;
        /// What becomes of claims that an operation carries.
        operation_claims: OperationClaimsMode = OperationClaimsMode::Refuse;
        /// Who signs tokens that are taken.
        issuer: Vec<IssuerConfig> = Vec::new();
    }
}

impl ApiConfig {
    /// Whether a caller without a token is let in.
    pub fn allows_anonymous(&self) -> bool {
        match self.anonymous {
            Anonymous::Allow => true,
            Anonymous::Deny => false,
            Anonymous::Auto => {
                self.issuer.is_empty() && self.listen.is_none_or(|listen| listen.ip().is_loopback())
            }
        }
    }
}

section! {
    /// Who signs tokens that are taken.
    pub struct IssuerConfig {
        /// Our name for it, in logs and variables of the environment.
        name: String = String::new();
        /// What `iss` must say.
        issuer: String = String::new();
        /// What `aud` must say: one of these.
        audience: Vec<String> = Vec::new();
        /// How tokens may be signed; none given: HS256 with a secret, RS256, ES256 and EdDSA with keys.
        algorithms: Vec<TokenAlgorithm> = Vec::new();
        /// Where its public keys are.
        jwks_url: Option<String> = None;
        /// Secret of HS256: 32 bytes or more.
        secret: Option<Secret> = None;
        /// File that holds `secret`.
        secret_file: Option<PathBuf> = None;
        /// Claim that holds the roles; `a.b` goes into an object.
        roles_claim: String = "roles".to_owned();
        /// PEM file of certificates that are trusted beside the built-in roots, for `jwks_url`.
        ca_file: Option<PathBuf> = None;
    }
}

impl IssuerConfig {
    /// How its tokens may be signed.
    pub fn allowed_algorithms(&self) -> Vec<TokenAlgorithm> {
        match (self.algorithms.as_slice(), &self.secret) {
            ([], Some(_)) => vec![TokenAlgorithm::Hs256],
            ([], None) => vec![TokenAlgorithm::Rs256, TokenAlgorithm::Es256, TokenAlgorithm::EdDsa],
            (given, _) => given.to_vec(),
        }
    }
}

section! {
    /// Limits of a batch; all are checked before the cost is paid.
    pub struct BatchConfig {
        /// Bytes of a body, after decompression.
        max_body_bytes: ByteSize = ByteSize::mib(1), ByteSize::kib(1)..=ByteSize::mib(64);
        /// Lists and objects inside one another.
        max_json_depth: u32 = 32, 4..=128;
        /// Operations of a batch.
        max_operations: u32 = 100, 1..=10_000;
        /// Operations that wait for one another in a row.
        max_depth: u32 = 32, 1..=10_000;
        /// References of a batch.
        max_references: u32 = 2_000, 0..=1_000_000;
        /// Rows of one create.
        max_rows_per_create: u32 = 1_000, 1..=100_000;
        /// Rows of a read without a limit.
        default_read_rows: u32 = 100, 1..=1_000_000;
        /// Rows of a read.
        max_read_rows: u32 = 1_000, 1..=1_000_000;
        /// Rows of one update or delete.
        max_affected_rows: u32 = 1_000, 1..=1_000_000;
        /// Values of one list in a selector.
        max_in_list: u32 = 1_000, 1..=30_000;
        /// Bytes of all values once references are filled in.
        max_resolved_bytes: ByteSize = ByteSize::mib(4), ByteSize::kib(1)..=ByteSize::mib(256);
        /// Bytes of an answer.
        max_result_bytes: ByteSize = ByteSize::mib(8), ByteSize::kib(1)..=ByteSize::mib(256);
        /// One statement.
        statement_timeout_ms: u64 = 5_000, 1..=600_000;
        /// Waiting for one lock.
        lock_timeout_ms: u64 = 2_000, 1..=600_000;
        /// The batch as a whole.
        batch_timeout_ms: u64 = 15_000, 1..=600_000;
        /// A transaction in which nothing happens.
        idle_in_transaction_timeout_ms: u64 = 10_000, 1..=600_000;
        /// Batches that wait for one database.
        queue_depth: u32 = 64, 1..=10_000;
        /// Batches of one caller at once.
        max_inflight_per_subject: u32 = 8, 1..=10_000;
        /// How long answers are kept for repeated idempotency keys.
        keep_answers: Period = Period::hours(24);
    }
}

words! {
    /// Which kind of database.
    pub enum DatabaseKindWord {
        /// A file.
        Sqlite = "sqlite",
        /// PostgreSQL.
        Postgres = "postgres",
        /// MariaDB or MySQL.
        Mysql = "mysql",
    }
}

words! {
    /// Who decides about rows and columns.
    pub enum EnforcementWord {
        /// The permissions given here.
        Rules = "rules",
        /// PostgreSQL's own roles and policies, beside the permissions given here.
        Database = "database",
    }
}

words! {
    /// How the connection to a server is secured.
    pub enum TlsWord {
        /// Required, but not to this machine.
        Auto = "auto",
        /// Never.
        Disable = "disable",
        /// Always, with certificate and name checked.
        Require = "require",
    }
}

section! {
    /// One database that batches may use.
    pub struct DatabaseConfig {
        /// Its name in metrics, logs and variables of the environment.
        name: String = String::new();
        /// Kind.
        kind: DatabaseKindWord = DatabaseKindWord::Sqlite;
        /// SQLite: the file; `None`: `NAME.sqlite` in the state folder.
        path: Option<PathBuf> = None;
        /// PostgreSQL, MariaDB: where, with user and password.
        url: Option<Secret> = None;
        /// File that holds `url`.
        url_file: Option<PathBuf> = None;
        /// SQLite: file of SQL that is run once when the database is new, or `example:shop`.
        init_sql: Option<String> = None;
        /// Connections; for SQLite, readers beside the one writer.
        connections: u32 = 8, 1..=256;
        /// Who decides about rows and columns.
        enforcement: EnforcementWord = EnforcementWord::Rules;
        /// `enforcement = "database"`: claim that names the role to take.
        role_claim: Option<String> = None;
        /// `enforcement = "database"`: role of callers without a token; `None` refuses them.
        anonymous_role: Option<String> = None;
        /// PostgreSQL: schemas whose tables are exposed; none given: `public`.
        schemas: Vec<String> = Vec::new();
        /// How the connection is secured.
        tls: TlsWord = TlsWord::Auto;
        /// PEM file of certificates that are trusted beside the built-in roots.
        ca_file: Option<PathBuf> = None;
        /// SQLite: at most so many batches share one COMMIT,
        group_commit_batches: u32 = 64, 1..=1_024;
        /// or as many as arrive in so long.
        group_commit_window_ms: u64 = 20, 0..=1_000;
        /// What the database does not know of its tables.
        entity: Vec<EntityConfig> = Vec::new();
        /// Read-only statements that requests call by name.
        statement: Vec<StatementConfig> = Vec::new();
    }
}

section! {
    /// What the database does not know of one table.
    pub struct EntityConfig {
        /// Name in requests: the table's, or `schema.table` when several schemas are exposed.
        name: String = String::new();
        /// Whether requests may name it.
        expose: bool = true;
        /// Columns that requests may not name.
        hidden: Vec<String> = Vec::new();
        /// How the primary key gets its value.
        key: Option<Free> = None;
        /// Version column.
        version: Option<Free> = None;
        /// What penstock stores by itself, by column.
        inject: Option<Free> = None;
        /// What a delete stores instead of removing the row.
        soft_delete: Option<Free> = None;
        /// Columns that a soft delete sets from the caller's `sub`.
        audit: Vec<String> = Vec::new();
        /// Who may do what, by action and role.
        permissions: Option<Free> = None;
        /// Relations beside those of the foreign keys, by name.
        relations: Option<Free> = None;
    }
}

section! {
    /// A read-only statement that requests call by name.
    pub struct StatementConfig {
        /// Name in requests.
        name: String = String::new();
        /// SQL with `:name` parameters.
        sql: String = String::new();
        /// Types of the parameters by name.
        parameters: Option<Free> = None;
        /// Roles that may call it; none given: everybody who may use `/batch`.
        roles: Vec<String> = Vec::new();
    }
}

macro_rules! list_of_sections {
    ($($section:ty),*) => { $(
        impl Part for Vec<$section> {
            fn read(self, node: Option<&Node>, key: &str, problems: &mut Problems) -> Self {
                read_list(self, node, key, problems)
            }

            fn describe(&self, key: &str, out: &mut Vec<KeyLine>) {
                describe_list(self, key, out);
            }
        }
    )* };
}
list_of_sections!(IssuerConfig, DatabaseConfig, EntityConfig, StatementConfig);
