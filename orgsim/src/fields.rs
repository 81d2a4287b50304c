//! The fields of an object, which may be others later: a list that grows by whole versions.
//!
//! Promises: who reads holds one version for as long as it likes, without a lock; a field keeps its position in every
//! later version, so that positions in cursors, jobs and written rows stay good.

use crate::model::Field;
use std::{ops::Deref, sync::OnceLock};

/// Fields in order.
#[derive(Debug, Default)]
pub struct Fields {
    own: Vec<Field>,
    next: OnceLock<Box<Self>>,
}

impl Fields {
    fn newest(&self) -> &Self {
        let mut newest = self;
        while let Some(next) = newest.next.get() {
            newest = next;
        }
        newest
    }

    fn newest_mut(&mut self) -> &mut Vec<Field> {
        if let Some(next) = self.next.get_mut() {
            return next.newest_mut();
        }
        &mut self.own
    }

    /// Adds a field while nobody else looks.
    pub fn push(&mut self, field: Field) {
        self.newest_mut().push(field);
    }

    /// The fields while nobody else looks.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Field> {
        self.newest_mut().iter_mut()
    }

    /// From now on these. Callers take turns: of two at once the second would be lost, and is refused.
    ///
    /// # Errors
    /// Somebody else was quicker.
    pub(crate) fn replace(&self, fields: Vec<Field>) -> Result<(), ()> {
        let next = Box::new(Self { own: fields, next: OnceLock::new() });
        self.newest().next.set(next).map_err(drop)
    }
}

impl Deref for Fields {
    type Target = [Field];

    fn deref(&self) -> &[Field] {
        &self.newest().own
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        self.to_vec().into()
    }
}

impl From<Vec<Field>> for Fields {
    fn from(own: Vec<Field>) -> Self {
        Self { own, next: OnceLock::new() }
    }
}

impl FromIterator<Field> for Fields {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        fields.into_iter().collect::<Vec<_>>().into()
    }
}

impl Extend<Field> for Fields {
    fn extend<I: IntoIterator<Item = Field>>(&mut self, fields: I) {
        self.newest_mut().extend(fields);
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Fields {
    type Item = &'a mut Field;
    type IntoIter = std::slice::IterMut<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
