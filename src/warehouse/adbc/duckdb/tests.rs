//! DuckDB keeps what every warehouse promises, and its own promises, with the real library.
//!
//! The library is what PENSTOCK_TEST_DUCKDB names, or what `tests/warehouse/drivers.py` has fetched. With
//! PENSTOCK_TEST_SERVERS=1 a missing one is a failure instead of skipped tests.

mod library;
mod promises;
mod speed;

use library::DuckDbGround;

use crate::warehouse::contract;

macro_rules! with_the_library {
    (() $($family:ident: [$($promise:ident),* $(,)?])*) => {
        $($(
            #[test]
            fn $promise() {
                if let Some(mut ground) = DuckDbGround::make() {
                    contract::$family::$promise(&mut ground);
                }
            }
        )*)*
    };
}

contract::all_promises!(with_the_library, ());
