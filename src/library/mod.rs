//! The schema library: what becomes of described objects.
//!
//! [`compose()`] turns one describe and the org-wide families into documents; [`project`] turns stored
//! documents into the text of files for people. Both are pure: the same input gives the same bytes, no
//! clock is read, nothing is written.

pub mod compose;
pub mod families;
pub mod plan;
pub mod project;

mod automation;
mod draft;
mod fields;
mod glossary;
mod overview;
mod relationships;
mod security;
mod usage;

pub use compose::{companion_of, compose};
pub use families::FamilyIndex;
pub use plan::SchemaPlan;
