//! `POST /batch`: dependent reads and writes on a real database, in one answer and one transaction.
//!
//! Everything here decides and nothing acts: text in, plans, statements and answers out. The network, the clock and the
//! database are elsewhere ([`crate::database`], `http`, the gateway actor), so each rule of the contract is a table or a
//! property in a test.
//!
//! ```text
//! body -> request -> plan (edges, order) -> check (catalogue, permissions) -> run: bind -> flight -> ... -> answer
//!                                                                             ^      sql -> database
//! ```
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`request`] | what a body may say; every fault of it, with its pointer |
//! | [`mod@reference`] | what `$ref:` means, and what a path reads |
//! | [`plan`] | edges, order, cycles, groups |
//! | [`catalogue`] | which entities there are, from what a database says of itself and the config |
//! | [`access`] | who may do what to which columns and rows |
//! | [`check`] | one operation against catalogue and caller, before anything runs |
//! | [`bind`] | the same operation once its references have values |
//! | [`run`] | one batch as a state machine: flights out, replies in, envelope at the end |
//! | [`sql`] | statements for each kind of database |
//! | [`answer`] | envelope, problem, lines |

pub mod access;
pub mod answer;
pub mod bind;
pub mod catalogue;
pub mod check;
pub mod operation;
pub mod plan;
pub mod problem;
pub mod reference;
pub mod request;
pub mod run;
pub mod sql;
pub mod value;
