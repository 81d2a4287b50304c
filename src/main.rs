//! The penstock daemon and its command line. Everything that decides lives in the library.

fn main() {}
