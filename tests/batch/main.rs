//! Batches as their users meet them: the real daemon over HTTP, on an SQLite file, a real PostgreSQL and a real MariaDB.
//!
//! The servers come from Debian's packages `postgresql` and `mariadb-server`; each test starts its own on a free port.

mod away;
mod conformance;
mod exactly_once;
mod manual;
mod permissions;
mod property;
mod refusals;
mod service;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod tables;
