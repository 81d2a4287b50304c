//! Number formats of a sheet, for as long as its rows are read; and its dates as text, where a report has no formats.

use std::collections::HashMap;

use crate::sheets::Rows;
use crate::sheets::cell::FormatId;
use crate::sheets::number_format::{Shows, iso_of_serial, shows};

/// Every number format of a workbook but `General`.
pub(super) fn formats<'r>(rows: &'r Rows<'_>) -> impl Iterator<Item = (FormatId, &'r str)> {
    // There can be no more of them; one that is not there is told as `General`.
    (0..=u16::MAX).map(FormatId).map(|id| (id, rows.number_format(id))).filter(|(_, code)| *code != "General")
}

/// The number formats that show a date or a time.
#[derive(Debug, Default)]
pub(super) struct Dates(HashMap<FormatId, String>);

impl Dates {
    pub(super) fn of(rows: &Rows<'_>) -> Self {
        let of_time = formats(rows).filter(|(_, code)| shows(code) != Shows::Number);
        Self(of_time.map(|(id, code)| (id, code.to_owned())).collect())
    }

    /// The number as the date that it is.
    pub(super) fn shown(&self, number: f64, format: FormatId) -> Option<String> {
        iso_of_serial(number, self.0.get(&format)?)
    }
}
