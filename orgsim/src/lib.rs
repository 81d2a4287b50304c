//! A simulated Salesforce org over plain HTTP, faithful enough for real clients.

pub mod model;
