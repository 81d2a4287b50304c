//! Writing JSON straight into bytes: answers are large and short-lived, a tree of values would double them.

use serde::Serialize;
use std::io::Write;

/// Appends `value` as JSON.
pub fn push(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("writing plain values to memory cannot fail");
}

/// Appends `"key":`, after a comma when something stands before it in the object.
pub fn key(out: &mut Vec<u8>, name: &str) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
    push(out, name);
    out.push(b':');
}

/// Appends `"name":value`.
pub fn field(out: &mut Vec<u8>, name: &str, value: &(impl Serialize + ?Sized)) {
    key(out, name);
    push(out, value);
}

/// Appends a number the way the org writes doubles: `125000.0`, never an exponent for usual sizes.
pub fn double(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        write!(out, "{value:?}").expect("writing to memory cannot fail");
    } else {
        out.extend_from_slice(b"null");
    }
}
