//! Penstock's own tables: loads that are over, columns, parts that wait.

use jiff::Timestamp;

use super::faults::Fault;
use super::names::{lock_number, quote};
use super::session::Session;
use crate::sync::{CommitReceipt, LoadId, LoadMode, LoadPlan, Origin, Watermark};

/// Names of the tables, as in statements.
pub(super) struct OwnTables {
    pub(super) loads: String,
    pub(super) columns: String,
    pub(super) tables: String,
    pub(super) parts: String,
    pub(super) owner: String,
}

impl OwnTables {
    pub(super) fn of(schema: &str) -> Self {
        let table = |name: &str| format!("{}.{}", quote(schema), quote(name));
        Self {
            loads: table("_penstock_loads"),
            columns: table("_penstock_columns"),
            tables: table("_penstock_tables"),
            parts: table("_penstock_parts"),
            owner: table("_penstock_owner"),
        }
    }

    /// Makes what is missing. Several connections may do so at once.
    pub(super) fn make(&self, session: &Session, schema: &str) -> Result<(), Fault> {
        let Self { loads, columns, tables, parts, owner } = self;
        let has_schema: bool =
            session.row("SELECT to_regnamespace($1) IS NOT NULL", &[&quote(schema)])?.try_get(0)?;
        // Only where it is missing: the right to make schemas is one that few logins have.
        let make_schema = if has_schema {
            String::new()
        } else {
            format!("CREATE SCHEMA IF NOT EXISTS {};", quote(schema))
        };
        // Only where they are missing: a table is altered by its owner alone, and waits for everybody who reads it.
        let lacks: bool = session
            .row(
                "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1)) AND NOT EXISTS (
                   SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'chosen_by')",
                &[tables],
            )?
            .try_get(0)?;
        let add_origin = if lacks {
            format!(
                "ALTER TABLE {tables} ADD COLUMN IF NOT EXISTS organization text,
                   ADD COLUMN IF NOT EXISTS chosen_by text;"
            )
        } else {
            String::new()
        };
        session.batch(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock({lock}); {make_schema}
             CREATE TABLE IF NOT EXISTS {loads} (
                 load_id text PRIMARY KEY, org text NOT NULL, object text NOT NULL, target_table text NOT NULL,
                 mode text NOT NULL, from_mark timestamptz, to_mark timestamptz,
                 mark_after timestamptz, rows_staged bigint NOT NULL,
                 inserted bigint NOT NULL, updated bigint NOT NULL, unchanged bigint NOT NULL,
                 deleted bigint NOT NULL, schema_version bigint NOT NULL, making bigint NOT NULL,
                 finished_at timestamptz NOT NULL DEFAULT clock_timestamp());
             CREATE INDEX IF NOT EXISTS _penstock_loads_mark ON {loads} (target_table, org, object, to_mark);
             CREATE TABLE IF NOT EXISTS {tables} (
                 target_table text PRIMARY KEY, org text NOT NULL, object text NOT NULL,
                 schema_version bigint NOT NULL, making bigint NOT NULL DEFAULT 0, key_column text,
                 made_at timestamptz NOT NULL DEFAULT clock_timestamp(), organization text, chosen_by text);
             {add_origin}
             CREATE TABLE IF NOT EXISTS {columns} (
                 target_table text NOT NULL, column_name text NOT NULL, field text, type text NOT NULL,
                 is_active boolean NOT NULL, added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                 retired_at timestamptz, position integer NOT NULL, PRIMARY KEY (target_table, column_name));
             CREATE TABLE IF NOT EXISTS {parts} (
                 load_id text NOT NULL, part bigint NOT NULL, is_keys boolean NOT NULL, rows bigint NOT NULL,
                 PRIMARY KEY (load_id, part));
             CREATE TABLE IF NOT EXISTS {owner} (
                 one boolean PRIMARY KEY DEFAULT true CHECK (one), owner text NOT NULL, epoch bigint NOT NULL,
                 since timestamptz NOT NULL DEFAULT clock_timestamp());
             COMMIT",
            lock = lock_number("own tables", schema),
        ))
    }

    /// What a load did, if it is over.
    pub(super) fn receipt(&self, session: &Session, load: &LoadPlan) -> Result<Option<CommitReceipt>, Fault> {
        let sql = format!(
            "SELECT rows_staged, inserted, updated, unchanged, deleted, {} FROM {} WHERE load_id = $1",
            micros_of("mark_after"),
            self.loads
        );
        let rows = session.rows(&sql, &[&load.id.as_str()])?;
        let Some(row) = rows.first() else { return Ok(None) };
        let count = |index: usize| row.try_get::<_, i64>(index).map(|count| count.max(0) as u64);
        Ok(Some(CommitReceipt {
            staged: count(0)?,
            inserted: count(1)?,
            updated: count(2)?,
            unchanged: count(3)?,
            deleted: count(4)?,
            // Where it was then, whatever came later.
            watermark: watermark_of(row.try_get(5)?)?,
        }))
    }

    /// The furthest that any load of the object into the table has come.
    pub(super) fn watermark(
        &self,
        session: &Session,
        org: &str,
        object: &str,
        table: &str,
    ) -> Result<Option<Watermark>, Fault> {
        let sql = format!(
            "SELECT {} FROM {} WHERE target_table = $1 AND org = $2 AND object = $3 AND making = {}",
            micros_of("max(to_mark)"),
            self.loads,
            self.making()
        );
        watermark_of(session.row(&sql, &[&table, &org, &object])?.try_get(0)?)
    }

    /// How often the table of parameter 1 was made: what is known of one that somebody dropped says nothing of its successor.
    fn making(&self) -> String {
        format!("coalesce((SELECT making FROM {} WHERE target_table = $1), 0)", self.tables)
    }

    /// Writes down what a load did. The primary key refuses a second time.
    pub(super) fn enter(
        &self,
        session: &Session,
        load: &LoadPlan,
        table: &str,
        receipt: &CommitReceipt,
    ) -> Result<(), Fault> {
        let sql = format!(
            "INSERT INTO {} (target_table, load_id, org, object, mode, from_mark, to_mark, rows_staged, inserted,
                             updated, unchanged, deleted, schema_version, making, mark_after)
             VALUES ($1, $2, $3, $4, $5, $6::text::timestamptz, $7::text::timestamptz, $8, $9, $10, $11, $12, $13, {},
                     $14::text::timestamptz)",
            self.loads,
            self.making()
        );
        let mark = |at: Option<Timestamp>| at.map(|at| kept(at).to_string());
        let counts = [receipt.staged, receipt.inserted, receipt.updated, receipt.unchanged, receipt.deleted];
        let [staged, inserted, updated, unchanged, deleted] = counts.map(|count| count as i64);
        session.execute(
            &sql,
            &[
                &table,
                &load.id.as_str(),
                &load.org.as_str(),
                &load.object.as_str(),
                &mode_text(load.mode),
                &mark(load.from),
                &mark(load.to),
                &staged,
                &inserted,
                &updated,
                &unchanged,
                &deleted,
                &(load.schema_version as i64),
                &mark(receipt.watermark.map(|watermark| watermark.at)),
            ],
        )?;
        Ok(())
    }

    /// Writes down whose rows a table has; what is not known stays as it was.
    pub(super) fn write_origin(
        &self,
        session: &Session,
        org: &str,
        table: &str,
        origin: &Origin,
    ) -> Result<(), Fault> {
        let sql = format!(
            "UPDATE {} SET org = $2, object = coalesce($3, object), organization = coalesce($4, organization),
                 chosen_by = coalesce($5, chosen_by) WHERE target_table = $1",
            self.tables
        );
        let Origin { object, organization, chosen_by } = origin;
        session.execute(&sql, &[&table, &org, object, organization, chosen_by])?;
        Ok(())
    }

    /// Forgets the parts of a load.
    pub(super) fn forget_parts(&self, session: &Session, load: &LoadId) -> Result<(), Fault> {
        session.execute(&format!("DELETE FROM {} WHERE load_id = $1", self.parts), &[&load.as_str()])?;
        Ok(())
    }
}

fn micros_of(mark: &str) -> String {
    format!("(extract(epoch FROM {mark}) * 1000000)::bigint")
}

fn watermark_of(micros: Option<i64>) -> Result<Option<Watermark>, Fault> {
    let at = micros.map(Timestamp::from_microsecond).transpose();
    let at = at.map_err(|_| Fault::Ours("the ledger has a watermark that is no time".to_owned()))?;
    Ok(at.map(|at| Watermark { at }))
}

/// Cut to what PostgreSQL keeps, never rounded up: a watermark must not run ahead.
pub(super) fn kept(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_nanosecond().div_euclid(1_000) as i64).unwrap_or(at)
}

fn mode_text(mode: LoadMode) -> &'static str {
    match mode {
        LoadMode::Upsert => "upsert",
        LoadMode::Replace => "replace",
        LoadMode::Refresh => "refresh",
        LoadMode::DeleteKeys => "delete_keys",
        LoadMode::KeepKeys => "keep_keys",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_cut_to_the_microsecond_before_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(kept(at("2026-01-02T03:04:05.123456999Z")), at("2026-01-02T03:04:05.123456Z"));
        assert_eq!(kept(at("1969-12-31T23:59:59.9999999Z")), at("1969-12-31T23:59:59.999999Z"));
    }
}
