//! Wires the line.
