//! How a bulk job is known to be ours, although the org tells neither its query nor a name of our choosing.
//!
//! The one thing of a query that its job shows is the order of its columns, in the header of its results. So a load asks for
//! its columns in an order of its own, shuffled by its id: with eight columns there are 40,320 orders, with thirty more than
//! anybody will count. A job of the same object and operation, made since we were about to ask, with this very order, is ours.

use crate::salesforce::rows::{Columns, RowsError};
use crate::sync::LoadId;

/// With fewer columns there are too few orders to tell jobs apart.
pub(super) const COLUMNS_MIN: usize = 8;

/// The columns in the load's own order.
pub(super) fn marked(columns: &Columns, load: &LoadId) -> Result<Columns, RowsError> {
    let mut order = columns.as_slice().to_vec();
    if order.len() < COLUMNS_MIN {
        return Ok(columns.clone());
    }
    let mut seed = seed_of(load);
    for last in (1..order.len()).rev() {
        let other = next(&mut seed) % (last as u64 + 1);
        order.swap(last, other as usize);
    }
    Ok(Columns::new(order)?.keeping_bad())
}

/// Whether a header has these columns in this order.
pub(super) fn is_order_of(columns: &Columns, header: &[String]) -> bool {
    let columns = columns.as_slice();
    columns.len() == header.len()
        && columns.iter().zip(header).all(|(column, name)| column.name.eq_ignore_ascii_case(name))
}

/// The id's bytes, mixed; the same in every version of ours, because a load may outlive an update.
fn seed_of(load: &LoadId) -> u64 {
    load.as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The next number of splitmix64.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::salesforce::rows::{Column, ColumnKind};

    fn columns(count: usize) -> Columns {
        Columns::new((0..count).map(|index| Column::new(format!("C{index}"), ColumnKind::Text)).collect())
            .unwrap()
    }

    fn names(columns: &Columns) -> Vec<String> {
        columns.as_slice().iter().map(|column| column.name.clone()).collect()
    }

    #[test]
    fn loads_of_one_moment_have_orders_of_their_own() {
        let columns = columns(30);
        let orders: HashSet<Vec<String>> = (0..1_000)
            .map(|random| names(&marked(&columns, &LoadId::new(1_800_000_000_000, random)).unwrap()))
            .collect();
        assert_eq!(orders.len(), 1_000);
    }

    #[test]
    fn an_order_is_the_same_each_time_and_holds_every_column_once() {
        let (columns, load) = (columns(8), LoadId::new(7, 7));
        let order = marked(&columns, &load).unwrap();
        assert_eq!(order, marked(&columns, &load).unwrap());
        let mut sorted = names(&order);
        sorted.sort();
        assert_eq!(sorted, names(&columns));
        assert!(is_order_of(&order, &names(&order)));
        assert!(!is_order_of(&order, &names(&columns)));
    }

    #[test]
    fn few_columns_stay_as_they_are() {
        let columns = columns(7);
        assert_eq!(marked(&columns, &LoadId::new(7, 7)).unwrap(), columns);
    }
}
