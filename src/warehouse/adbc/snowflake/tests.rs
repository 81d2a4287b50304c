//! Snowflake's real driver against fakesnow, a server that is not ours: the contract of warehouses, and promises of its own.
//!
//! `tests/warehouse/fakesnow.py COMMAND` starts the server and says in PENSTOCK_TEST_SNOWFLAKE where it is; `./test
//! --snowflake` runs these tests so. Without it they are skipped, which each says.

mod losses;
mod promises;
mod server;

use server::SnowflakeGround;

use crate::warehouse::contract;

/// Promises that the stand-in cannot keep, with the reason; what of them is Snowflake's own is in [`promises`].
const LEFT_OUT: [(&str, &str); 1] = [(
    "values_come_back_as_they_went_in",
    "the stand-in tells a null of a point in time as 1970, also to Snowflake's own Python client",
)];

macro_rules! with_the_server {
    (() $($family:ident: [$($promise:ident),* $(,)?])*) => {
        $($(
            #[test]
            fn $promise() {
                let Some(mut ground) = SnowflakeGround::make() else { return };
                if let Some((_, why)) = LEFT_OUT.iter().find(|(name, _)| *name == stringify!($promise)) {
                    server::say(&format!("left out: {why}"));
                    return;
                }
                contract::$family::$promise(&mut ground);
            }
        )*)*
    };
}

contract::all_promises!(with_the_server, ());
