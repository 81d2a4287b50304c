//! The truth about an object's rows, for who compares it with what arrived elsewhere: `GET /__sim/rows?object=Lead`.
//!
//! One row a line, every field that the user may see in the spelling of REST, rows of the recycle bin included; no API call.

use crate::{
    dml::overlay::Scope,
    json,
    query::render,
    site::Site,
    tables::{self, ColumnRef},
};

/// The lines for a query string.
///
/// # Errors
/// What is wrong with the query string, in words.
pub fn lines(site: &Site, query: &str) -> Result<Vec<u8>, String> {
    let parameters = form_urlencoded::parse(query.as_bytes());
    let named = parameters.into_iter().find(|(name, _)| name == "object");
    let (_, name) = named.ok_or("`object` is missing")?;
    site.settle();
    let _reading = site.data.enter();
    let org = &site.org;
    let at = org.position(&name).ok_or_else(|| format!("no object `{name}`"))?;
    let fields = &org.model.objects[at].fields;
    let shown: Vec<usize> = (0..fields.len()).filter(|field| org.is_visible(at, *field)).collect();
    let table = tables::Table::Object(at);
    let mut out = Vec::new();
    for row in org.rows.spans(at, Scope::All).iter() {
        let open = table.open(org, row);
        out.push(b'{');
        for &field in &shown {
            json::key(&mut out, &fields[field].name);
            render::value(&mut out, &open.value(ColumnRef::Field(field)), tables::kind_of(&fields[field]));
        }
        out.extend_from_slice(b"}\n");
    }
    Ok(out)
}
