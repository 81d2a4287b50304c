//! A handful of objects, until the whole catalogue takes this place.

use crate::model::{Field, OrgModel, SObject};
use std::path::PathBuf;

/// Why the org could not be made.
#[derive(Debug, thiserror::Error)]
#[error("read the project `{0}`")]
pub struct CatalogError(pub String);

/// Makes the org's metadata.
///
/// # Errors
/// When a project folder cannot be read.
pub fn build(_seed: u64, _sfdx: &[PathBuf]) -> Result<OrgModel, CatalogError> {
    let field = |name: &str, field_type: &str| Field {
        name: name.into(),
        label: name.into(),
        field_type: field_type.into(),
        length: 80,
        ..Field::default()
    };
    let object = |name: &str, prefix: &str| SObject {
        name: name.into(),
        label: name.into(),
        label_plural: format!("{name}s"),
        key_prefix: Some(prefix.into()),
        queryable: true,
        fields: vec![field("Id", "id"), field("Name", "string")],
        record_count: 10,
        ..SObject::default()
    };
    let mut model =
        OrgModel { objects: vec![object("Account", "001"), object("Lead", "00Q")], ..OrgModel::default() };
    model.finish();
    Ok(model)
}
