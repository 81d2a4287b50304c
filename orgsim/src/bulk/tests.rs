//! Jobs over real HTTP.

mod query;
