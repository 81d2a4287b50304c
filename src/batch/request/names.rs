//! Names that a body has again and again, each kept once: a batch of a hundred creates has the same entity, columns and paths
//! a hundred times.

use std::sync::Arc;

/// Names that are looked through: more would cost more than keeping a name twice.
const RECENT_MAX: usize = 32;

/// The names that were met last.
#[derive(Default)]
pub(super) struct RecentNames {
    names: Vec<Arc<str>>,
    oldest: usize,
}

impl RecentNames {
    /// The name to keep.
    pub fn keep(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.iter().find(|known| ***known == *name) {
            return Arc::clone(known);
        }
        let kept: Arc<str> = Arc::from(name);
        if self.names.len() < RECENT_MAX {
            self.names.push(Arc::clone(&kept));
        } else {
            self.names[self.oldest] = Arc::clone(&kept);
            self.oldest = (self.oldest + 1) % RECENT_MAX;
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_met_is_kept_once() {
        let mut names = RecentNames::default();
        let first = names.keep("a");
        assert!(Arc::ptr_eq(&first, &names.keep("a")));
        for at in 0..RECENT_MAX {
            assert_eq!(&*names.keep(&at.to_string()), at.to_string());
        }
        assert!(!Arc::ptr_eq(&first, &names.keep("a")), "the oldest is forgotten");
    }
}
