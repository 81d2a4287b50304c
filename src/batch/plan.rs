//! In which order the operations of a batch run (contract, section 4).
//!
//! Promises: every operation comes after everything it depends on; of those that are ready, the first of the list runs
//! first, so a list that is in a valid order runs as it was written. Operations that wait for each other are told as a path.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// An order, and what it was made from. All numbers are places in the request's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every operation once.
    pub order: Vec<usize>,
    /// For each operation, those it waits for: sorted, once each.
    pub dependencies: Vec<Vec<usize>>,
    /// For each operation, those that wait for it: sorted, once each.
    pub dependents: Vec<Vec<usize>>,
    /// For each operation, how many operations the longest chain before it has.
    pub levels: Vec<usize>,
}

/// Operations that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the operations {} wait for each other", self.written)]
pub struct Cycle {
    /// Each depends on the next; the first is repeated at the end.
    pub path: Vec<usize>,
    /// The same as text: `a -> b -> a`.
    pub written: String,
}

/// Orders operations by their dependencies: Kahn's algorithm, the lowest place of the ready ones first.
///
/// `dependencies[i]` are the places that operation `i` waits for, in any order and as often as they were said.
pub fn plan(ids: &[Arc<str>], mut dependencies: Vec<Vec<usize>>) -> Result<Plan, Cycle> {
    debug_assert_eq!(ids.len(), dependencies.len(), "every operation has a list of dependencies");
    let count = ids.len();
    let mut dependents = vec![Vec::new(); count];
    for (operation, awaited) in dependencies.iter_mut().enumerate() {
        awaited.sort_unstable();
        awaited.dedup();
        for &one in awaited.iter() {
            // Ascending by itself, as `operation` only grows.
            dependents[one].push(operation);
        }
    }

    let mut missing: Vec<usize> = dependencies.iter().map(Vec::len).collect();
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..count).filter(|&operation| missing[operation] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(count);
    let mut levels = vec![0; count];
    while let Some(Reverse(operation)) = ready.pop() {
        order.push(operation);
        for &dependent in &dependents[operation] {
            levels[dependent] = levels[dependent].max(levels[operation] + 1);
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                ready.push(Reverse(dependent));
            }
        }
    }
    if order.len() < count {
        return Err(cycle(ids, &dependencies, &missing));
    }
    Ok(Plan { order, dependencies, dependents, levels })
}

impl Plan {
    /// Operations by level: those of one group wait for none of each other, only for earlier groups.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups = vec![Vec::new(); self.depth()];
        for (operation, &level) in self.levels.iter().enumerate() {
            groups[level].push(operation);
        }
        groups
    }

    /// Operations that wait for nothing.
    pub fn independent(&self) -> Vec<usize> {
        (0..self.order.len()).filter(|&operation| self.dependencies[operation].is_empty()).collect()
    }

    /// Operations of the longest chain.
    pub fn depth(&self) -> usize {
        self.levels.iter().max().map_or(0, |level| level + 1)
    }
}

/// A path around, starting at its lowest place. Whatever still misses something either is in a cycle or waits for one, so
/// going from dependency to dependency must come back to a place where we have been.
fn cycle(ids: &[Arc<str>], dependencies: &[Vec<usize>], missing: &[usize]) -> Cycle {
    let mut been_at = vec![None; ids.len()];
    let mut trail = Vec::new();
    let mut here = missing.iter().position(|&left| left > 0);
    let mut path = Vec::new();
    while let Some(operation) = here {
        if let Some(start) = been_at[operation] {
            path = trail.split_off(start);
            break;
        }
        been_at[operation] = Some(trail.len());
        trail.push(operation);
        here = dependencies[operation].iter().copied().find(|&awaited| missing[awaited] > 0);
    }
    let lowest = path.iter().enumerate().min_by_key(|&(_, operation)| operation).map_or(0, |(at, _)| at);
    path.rotate_left(lowest);
    path.extend(path.first().copied());
    let written = path.iter().map(|&operation| &*ids[operation]).collect::<Vec<_>>().join(" -> ");
    Cycle { path, written }
}
