//! A simulated Salesforce org over plain HTTP, faithful enough for real clients.

pub mod catalog;
pub mod model;
pub mod rows;
pub mod rows_api;
pub mod sfdx;
