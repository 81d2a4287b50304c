//! Workbooks of Excel 97 to 2003.
use super::cell::RowBuffer;
use super::error::SheetError;
use std::fs::File;
pub(super) struct XlsBook;
pub(super) struct XlsRows<'a>(&'a XlsBook);
impl XlsBook {
    pub(super) fn open(_file: File) -> Result<Self, SheetError> {
        Err(SheetError::NoSheets)
    }
    pub(super) fn sheet_names(&self) -> Vec<String> {
        Vec::new()
    }
    pub(super) fn first_visible(&self) -> usize {
        0
    }
    pub(super) fn kind_without_rows(&self, _wanted: &str) -> Option<&'static str> {
        None
    }
    pub(super) fn rows(&mut self, _place: usize) -> Result<XlsRows<'_>, SheetError> {
        Ok(XlsRows(self))
    }
}
impl XlsRows<'_> {
    pub(super) fn read(&mut self, _row: &mut RowBuffer) -> Option<u64> {
        let _ = self.0;
        None
    }
    pub(super) fn number_formats(&self) -> &[String] {
        &[]
    }
}
