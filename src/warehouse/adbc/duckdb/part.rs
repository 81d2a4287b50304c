//! A staged part on its way into the engine.
//!
//! Promises: rows come in the order of their part, so that a row's place in the table that takes the parts in order tells
//! which is the later one; memory holds a batch of them.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

use crate::sync::TableColumn;
use crate::warehouse::adbc::rows::{BATCH_ROWS, ChunkReader, Constant};
use crate::warehouse::bytes::take_rows;
use crate::warehouse::staged::{Blocks, StagedPart};
use crate::warehouse::{RowChunk, WarehouseError};

/// What went wrong while the driver held the reader.
pub type Failure = Arc<Mutex<Option<WarehouseError>>>;

/// Rows of a staged part as batches, made when they are asked for.
pub struct PartReader {
    part: StagedPart,
    blocks: Option<Blocks>,
    columns: Vec<TableColumn>,
    constants: Vec<Constant>,
    schema: SchemaRef,
    failure: Failure,
    is_over: bool,
}

impl PartReader {
    /// Rows of `columns` out of `part`, with `constants` before them.
    pub fn new(part: StagedPart, columns: &[TableColumn], constants: Vec<Constant>) -> Self {
        let nothing = Arc::new(RowChunk::new(columns.len()));
        Self {
            part,
            blocks: None,
            columns: columns.to_vec(),
            schema: ChunkReader::new(nothing, columns, constants.clone()).schema(),
            constants,
            failure: Failure::default(),
            is_over: false,
        }
    }

    /// Where a failure is found, once the driver has taken the reader.
    pub fn failure(&self) -> Failure {
        Arc::clone(&self.failure)
    }

    /// About as many rows as a batch takes; none at the end.
    fn chunk(&mut self) -> Result<RowChunk, WarehouseError> {
        let width = self.columns.len();
        let mut chunk = RowChunk::new(width);
        let blocks = match &mut self.blocks {
            Some(blocks) => blocks,
            none => none.insert(self.part.blocks(width)?),
        };
        while chunk.rows() < BATCH_ROWS {
            let Some(block) = blocks.next()? else { break };
            let rows = take_rows(block, &mut chunk).ok_or_else(Blocks::damaged)?;
            blocks.took(rows)?;
        }
        Ok(chunk)
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, WarehouseError> {
        let chunk = self.chunk()?;
        let rows = chunk.rows();
        let reader = ChunkReader::new(Arc::new(chunk), &self.columns, self.constants.clone());
        if rows == 0 { Ok(None) } else { reader.batch(0..rows).map(Some) }
    }
}

impl Iterator for PartReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let batch = self.batch();
        self.is_over = !matches!(batch, Ok(Some(_)));
        match batch {
            Ok(batch) => batch.map(Ok),
            Err(error) => {
                let told = ArrowError::ExternalError(error.to_string().into());
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Some(Err(told))
            }
        }
    }
}

impl RecordBatchReader for PartReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
