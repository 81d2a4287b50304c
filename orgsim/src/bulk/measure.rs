//! Lets the benchmark write result pages without a server around them.

use super::{
    csv::Dialect,
    page::{Flaws, Pieces, RowSet},
    query,
};
use crate::{body::Body, catalog, org::OrgData, rows::SeededRows};
use std::sync::Arc;

/// An org of which one object has `rows` records.
pub struct Bench {
    org: Arc<OrgData>,
}

impl Bench {
    /// The built-in org.
    ///
    /// # Panics
    /// When the org cannot be made.
    pub fn new(object: &str, rows: u64) -> Self {
        let mut model = catalog::build(7, &[]).expect("the built-in org needs no files");
        let at = model.by_name[&object.to_ascii_lowercase()];
        model.objects[at].record_count = rows;
        let source = Box::new(SeededRows::new(7, &model));
        Self { org: Arc::new(OrgData::new(model, source)) }
    }

    /// Names of the fields that Bulk can read, at most `most`.
    ///
    /// # Panics
    /// When there is no such object.
    pub fn fields(&self, object: &str, most: usize) -> Vec<String> {
        let object = self.org.model.object(object).expect("the object is there");
        let fields = object.fields.iter();
        let readable = fields.filter(|f| !matches!(f.field_type.as_str(), "address" | "location" | "base64"));
        readable.take(most).map(|field| field.name.clone()).collect()
    }

    /// Writes all rows of a statement in pieces and gives each to `take`.
    ///
    /// # Panics
    /// When Bulk refuses the statement.
    pub fn pages(&self, statement: &str, take: &mut dyn FnMut(&[u8])) {
        let (_, picked, writer) = query::prepare(&self.org, statement, false, 0).expect("Bulk reads it");
        let rows = 0..picked.len();
        let set = Arc::new(RowSet { writer, picked, dialect: Dialect::default() });
        let mut pieces = Pieces::new(self.org.clone(), set, Flaws::default(), rows);
        let mut piece = Vec::new();
        while pieces.push_next(&mut piece) {
            take(&piece);
            piece.clear();
        }
    }

    /// As a client that takes gzip gets it.
    pub fn gzipped(piece: &[u8]) -> usize {
        Body::from(piece.to_vec()).gzipped().len()
    }
}
