//! Looks whether a website answers.
