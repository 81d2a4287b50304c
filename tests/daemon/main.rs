//! The program as its users meet it: the real binary, in folders of its own, against simulated orgs that see every call.
//!
//! Guarantees by name: *frozen* and *drained* in `signals`, *durable* and *once* in `durable`.

mod dead_letters;
mod demo;
mod durable;
mod models;
mod orgs;
mod shell;
mod signals;
mod stores;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use support::{Org, demo_org};

/// About a hundred objects: enough for a run to have a middle.
const SOME_OBJECTS: &str = "[schema]\ninclude = [\"A*\"]\n";

/// A handful.
const FEW_OBJECTS: &str = "[schema]\ninclude = [\"Account\", \"Asset\", \"Contact\", \"Opportunity\"]\n";

/// An org that answers slowly, and a configuration that asks it for two objects at a time, one call after the other: a
/// run of about a hundred calls and several seconds.
fn slow_org() -> (Org, String) {
    let org = Org::with_latency(Duration::from_millis(40));
    let sections = format!(
        "{}{SOME_OBJECTS}[actors.batcher]\nseal_items = 2\n",
        demo_org(&org.url(), "concurrency = 1")
    );
    (org, sections)
}
