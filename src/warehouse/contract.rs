//! What every warehouse promises, as tests that each engine runs against itself.
//!
//! An engine gives a [`Ground`] and calls `warehouse_contract!(ground)` in a test module of its own, which makes one test of
//! each promise; where a ground costs seconds to make, [`check`] runs all of them on one. Each promise works on a table of
//! its own, so that they do not meet on a shared ground.

pub mod bench;
pub mod commits;
pub mod ledger;
pub mod model;
pub mod parts;
pub mod schema;
pub mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Warehouse;
use crate::sync::TableName;

/// A database that a warehouse is tested on.
pub trait Ground {
    /// One more connection to it, not opened yet; several may be there at a time.
    fn connect(&mut self) -> Box<dyn Warehouse>;

    /// Runs a statement as somebody else would, beside penstock.
    fn execute(&mut self, sql: &str);

    /// A table in a statement.
    fn table(&self, table: &TableName) -> String {
        let above = table.above().iter().map(|part| self.column(part) + ".");
        above.collect::<String>() + &self.column(table.name())
    }

    /// A column in a statement.
    fn column(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    /// A name that somebody else gave, as the engine keeps it.
    fn kept(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Whether other connections can read while one writes, so that what they see can be tested.
    fn has_readers(&self) -> bool {
        true
    }
}

/// A promise and its name.
pub type Promise = (&'static str, fn(&mut dyn Ground));

/// Checks every promise, and tells all that are broken.
///
/// # Panics
/// When one is.
pub fn check(ground: &mut dyn Ground) {
    let broken: Vec<&str> = promises()
        .into_iter()
        .filter(|(_, promise)| catch_unwind(AssertUnwindSafe(|| promise(ground))).is_err())
        .map(|(name, _)| name)
        .collect();
    assert!(broken.is_empty(), "broken promises: {broken:#?}");
}

/// Calls a macro with all promises, by family.
macro_rules! all_promises {
    ($callback:path, $with:tt) => {
        $callback! {
            $with
            schema: [
                a_table_is_made_once,
                a_column_more_is_empty_in_old_rows,
                a_wider_type_takes_longer_values,
                a_retired_column_keeps_its_values,
                a_revived_column_is_written_again,
                a_changed_type_stands_beside_the_old_one,
                a_column_somebody_took_out_is_told,
                a_column_somebody_retyped_is_told,
                foreign_columns_are_left_alone,
                a_foreign_table_is_not_taken,
                a_table_made_anew_has_no_watermark,
                nine_hundred_columns_are_no_matter,
                odd_names_are_names,
                an_object_without_a_deleted_field_has_the_column,
            ]
            parts: [
                a_part_staged_twice_counts_once,
                parts_come_in_any_order,
                a_load_without_rows_moves_the_watermark,
                missing_parts_are_not_committed,
                a_null_key_is_refused,
                the_state_tells_what_is_staged,
                an_abandoned_load_is_unknown,
                loads_side_by_side_do_not_meet,
                another_connection_goes_on,
                an_empty_part_is_a_part,
            ]
            commits: [
                rows_are_counted_by_what_became_of_them,
                an_older_row_loses,
                the_same_stamp_with_other_content_wins,
                a_target_without_a_stamp_takes_any,
                without_a_stamp_the_last_row_wins,
                of_duplicates_the_newest_wins,
                the_newest_of_duplicates_wins_over_a_row_that_is_there,
                duplicates_count_as_one_key,
                replace_deletes_what_is_not_staged,
                replace_spares_rows_whose_keys_alone_are_staged,
                replace_with_nothing_empties_the_table,
                replace_mends_rows_that_are_newer_than_the_orgs,
                readers_see_the_old_table_until_the_commit,
                refresh_touches_only_its_columns,
                deleted_keys_are_flagged,
                deleted_keys_are_removed,
                all_but_the_kept_keys_are_flagged,
                all_but_the_kept_keys_are_removed,
                all_but_the_kept_keys_of_a_filter_leave_whatever_the_policy,
                rows_of_another_org_leave_whatever_the_policy,
                a_deleted_row_is_flagged,
                a_deleted_row_is_removed,
                an_older_deletion_loses,
                a_row_that_left_the_filter_leaves_the_table,
                a_row_that_did_not_fit_has_not_left_the_filter,
                a_row_that_is_back_is_no_longer_flagged,
                keys_tell_capitals_apart,
                a_count_leaves_out_the_deleted,
            ]
            ledger: [
                a_second_commit_changes_nothing,
                a_committed_load_stays_committed,
                the_watermark_is_of_org_object_and_table,
                the_watermark_never_goes_back,
                whose_rows_a_table_has_is_known_from_its_loads,
                a_warehouse_made_before_learns_whose_its_rows_are,
                two_owners_do_not_meet,
                one_owner_has_many_connections,
                a_log_is_appended_once,
            ]
            model: [
                loads_by_chance_flag_what_is_deleted,
                loads_by_chance_remove_what_is_deleted,
            ]
            values: [
                values_come_back_as_they_went_in,
                long_text_comes_back_whole,
                the_same_values_are_unchanged,
                a_query_that_writes_is_refused,
                a_bad_query_is_refused_and_harms_nothing,
                a_query_tells_its_columns,
                a_sink_ends_a_query,
            ]
        }
    };
}

macro_rules! as_list {
    (() $($family:ident: [$($promise:ident),* $(,)?])*) => {
        /// All of them.
        pub fn promises() -> Vec<Promise> {
            vec![$($((stringify!($promise), $family::$promise as fn(&mut dyn Ground))),*),*]
        }
    };
}

macro_rules! as_tests {
    (($ground:expr) $($family:ident: [$($promise:ident),* $(,)?])*) => {
        $($(
            #[test]
            fn $promise() {
                $crate::warehouse::contract::$family::$promise(&mut $ground);
            }
        )*)*
    };
}

/// One test of each promise, each on a ground that the expression makes.
macro_rules! warehouse_contract {
    ($ground:expr) => {
        $crate::warehouse::contract::all_promises!($crate::warehouse::contract::as_tests, ($ground));
    };
}

pub(crate) use all_promises;
pub(crate) use as_tests;
pub(crate) use warehouse_contract;

all_promises!(as_list, ());
