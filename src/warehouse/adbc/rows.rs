//! Rows to Arrow columns, and Arrow columns to rows.
//!
//! Promises: numbers stay exact, or the column is named whose value does not fit, never the value; a chunk becomes batches
//! one after the other, so that no second copy of it is in memory.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Decimal128Builder, Int64Builder, StringBuilder, Time32MillisecondBuilder,
    TimestampMillisecondBuilder,
};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, Int32Array, PrimitiveArray, RecordBatch, RecordBatchReader, StringArray,
    builder::ArrayBuilder as _,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::sync::{ColumnType, QueryColumn, TableColumn};
use crate::warehouse::{Cell, RowChunk, WarehouseError};

/// Rows of one batch: enough for a driver to work in columns, few enough to be small.
pub(crate) const BATCH_ROWS: usize = 4_096;

/// Digits that a decimal column has at least: describes tell 18, and a number of fewer digits takes no less room.
pub const DECIMAL_DIGITS_MIN: u8 = 18;

/// Time zone of every point in time.
const UTC: &str = "+00:00";

/// A column with one value in all rows, before those of the chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    /// Text.
    Text(&'static str, String),
    /// A number.
    Number(&'static str, i32),
}

impl Constant {
    fn field(&self) -> Field {
        match self {
            Self::Text(name, _) => Field::new(*name, DataType::Utf8, false),
            Self::Number(name, _) => Field::new(*name, DataType::Int32, false),
        }
    }

    fn array(&self, rows: usize) -> ArrayRef {
        match self {
            Self::Text(_, text) => Arc::new(StringArray::new_repeated(text, rows)),
            Self::Number(_, number) => Arc::new(Int32Array::from_value(*number, rows)),
        }
    }
}

/// A chunk's rows as batches, made when they are asked for.
pub struct ChunkReader {
    chunk: Arc<RowChunk>,
    columns: Vec<TableColumn>,
    constants: Vec<Constant>,
    schema: SchemaRef,
    next: usize,
    failure: Arc<Mutex<Option<WarehouseError>>>,
}

impl std::fmt::Debug for ChunkReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkReader").field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

/// What a [`ChunkReader`] could not make a column of, kept while the driver holds the reader.
#[derive(Debug, Clone, Default)]
pub struct ReadFailure(Arc<Mutex<Option<WarehouseError>>>);

impl ReadFailure {
    /// Our own error in place of what the driver made of it.
    pub fn or(&self, error: WarehouseError) -> WarehouseError {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(error)
    }
}

impl ChunkReader {
    /// Rows of `columns`, which are the chunk's first, with `constants` before them.
    pub fn new(chunk: Arc<RowChunk>, columns: &[TableColumn], constants: Vec<Constant>) -> Self {
        let own = columns.iter().map(|column| Field::new(&column.name, arrow_type(column.kind), true));
        let fields: Vec<Field> = constants.iter().map(Constant::field).chain(own).collect();
        Self {
            chunk,
            columns: columns.to_vec(),
            constants,
            schema: Arc::new(Schema::new(fields)),
            next: 0,
            failure: Arc::default(),
        }
    }

    /// Where a failure is found, once the driver has taken the reader.
    pub fn failure(&self) -> ReadFailure {
        ReadFailure(Arc::clone(&self.failure))
    }

    /// Some of the rows.
    pub(crate) fn batch(&self, rows: Range<usize>) -> Result<RecordBatch, WarehouseError> {
        let constants = self.constants.iter().map(|constant| Ok(constant.array(rows.len())));
        let own = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| array_of(&self.chunk, rows.clone(), at, column.kind, &column.name));
        let arrays = constants.chain(own).collect::<Result<Vec<_>, WarehouseError>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| WarehouseError::Engine(error.to_string()))
    }
}

impl Iterator for ChunkReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.next..self.chunk.rows().min(self.next + BATCH_ROWS);
        if rows.is_empty() {
            return None;
        }
        self.next = rows.end;
        Some(self.batch(rows).map_err(|error| {
            self.next = self.chunk.rows();
            let told = ArrowError::InvalidArgumentError(error.to_string());
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            told
        }))
    }
}

impl RecordBatchReader for ChunkReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// What a column's values are to Arrow.
pub fn arrow_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Id | ColumnType::Text | ColumnType::Json => DataType::Utf8,
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Int => DataType::Int64,
        ColumnType::Decimal { precision, scale } => {
            DataType::Decimal128(precision.max(DECIMAL_DIGITS_MIN), scale.cast_signed())
        }
        ColumnType::Date => DataType::Date32,
        ColumnType::Time => DataType::Time32(TimeUnit::Millisecond),
        ColumnType::DateTime => DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into())),
    }
}

fn array_of(
    chunk: &RowChunk,
    rows: Range<usize>,
    at: usize,
    kind: ColumnType,
    name: &str,
) -> Result<ArrayRef, WarehouseError> {
    let bad =
        |message: &str| WarehouseError::BadValue { column: name.to_owned(), message: message.to_owned() };
    let length = rows.len();
    let cells = rows.filter_map(|row| chunk.row(row)).map(|row| row.cell(at));
    // One arm for each type: the value's own way into the builder of its column.
    macro_rules! build {
        ($builder:expr, $($cell:pat => $value:expr),+) => {{
            let mut builder = $builder;
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    $($cell => builder.append_value($value),)+
                    _ => return Err(bad("a value is of another type than its column")),
                }
            }
            debug_assert_eq!(builder.len(), length);
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match kind {
        ColumnType::Id | ColumnType::Text | ColumnType::Json => {
            build!(StringBuilder::with_capacity(length, length * 16),
                Cell::Text(text) | Cell::Json(text) | Cell::Decimal(text) => text)
        }
        ColumnType::Boolean => {
            build!(BooleanBuilder::with_capacity(length), Cell::Boolean(value) => value)
        }
        ColumnType::Int => build!(Int64Builder::with_capacity(length), Cell::Int(value) => value),
        ColumnType::Decimal { precision, scale } => {
            let digits = precision.max(DECIMAL_DIGITS_MIN);
            let fits = |value: Option<i128>| {
                value.ok_or_else(|| {
                    bad(&format!("a number has more than {digits} digits, {scale} of them behind the point"))
                })
            };
            build!(Decimal128Builder::with_capacity(length).with_data_type(arrow_type(kind)),
                Cell::Decimal(text) => fits(scaled(text, digits, scale))?,
                Cell::Int(value) => fits(scale_up(value.into(), digits, scale))?)
        }
        ColumnType::Date => build!(Date32Builder::with_capacity(length), Cell::Date(days) => days),
        ColumnType::Time => {
            build!(Time32MillisecondBuilder::with_capacity(length), Cell::Time(ms) => ms.cast_signed())
        }
        ColumnType::DateTime => {
            build!(TimestampMillisecondBuilder::with_capacity(length).with_timezone(UTC), Cell::DateTime(ms) => ms)
        }
    })
}

fn scale_up(value: i128, digits: u8, scale: u8) -> Option<i128> {
    let value = value.checked_mul(10i128.checked_pow(scale.into())?)?;
    let limit = 10u128.checked_pow(digits.into())?;
    (value.unsigned_abs() < limit).then_some(value)
}

/// A plain decimal number as a whole one of so many digits behind the point; `None` when it has more of them, or more than
/// `digits` in all.
fn scaled(text: &str, digits: u8, scale: u8) -> Option<i128> {
    let (is_negative, plain) = match text.strip_prefix('-') {
        Some(plain) => (true, plain),
        None => (false, text),
    };
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let fraction = fraction.trim_end_matches('0');
    let missing = usize::from(scale).checked_sub(fraction.len())?;
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(digit.into())?;
    }
    let value = scale_up(value, digits, missing as u8)?;
    Some(if is_negative { -value } else { value })
}

/// The columns of an answer; what is beyond our types is text.
pub fn columns_of(schema: &Schema) -> Vec<QueryColumn> {
    let column = |field: &Arc<Field>| QueryColumn {
        name: field.name().clone(),
        kind: kind_of(field.data_type()).unwrap_or(ColumnType::Text),
    };
    schema.fields().iter().map(column).collect()
}

/// What a type of Arrow's is to us; `None`: nothing that a cell can hold.
pub fn kind_of(data_type: &DataType) -> Option<ColumnType> {
    Some(match data_type {
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Null
        | DataType::Float32
        | DataType::Float64 => ColumnType::Text,
        DataType::Boolean => ColumnType::Boolean,
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => ColumnType::Int,
        DataType::UInt64 => ColumnType::Decimal { precision: 20, scale: 0 },
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            ColumnType::Decimal { precision: *precision, scale: scale.cast_unsigned() }
        }
        DataType::Date32 | DataType::Date64 => ColumnType::Date,
        DataType::Time32(_) | DataType::Time64(_) => ColumnType::Time,
        DataType::Timestamp(..) => ColumnType::DateTime,
        _ => return None,
    })
}

/// Writes the number of a row.
type WriteNumber<'a> = Box<dyn Fn(usize, &mut String) + 'a>;

/// A column of a batch, told apart once and not for each of its rows.
enum Column<'a> {
    Nothing,
    Text(Box<dyn Fn(usize) -> &'a str + 'a>),
    Boolean(&'a arrow_array::BooleanArray),
    Int(Box<dyn Fn(usize) -> i64 + 'a>),
    /// Written into the row's room first; whether it is exact, or text.
    Number(WriteNumber<'a>, bool),
    Date(Box<dyn Fn(usize) -> i32 + 'a>),
    DateTime(Box<dyn Fn(usize) -> i64 + 'a>),
    Time(Box<dyn Fn(usize) -> i64 + 'a>),
}

fn values<T: arrow_array::types::ArrowPrimitiveType>(array: &dyn Array) -> &PrimitiveArray<T> {
    array.as_primitive::<T>()
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        macro_rules! each {
            ($kind:ident, $type:ty, $value:ident => $made:expr) => {{
                let array = values::<$type>(array);
                Self::$kind(Box::new(move |row| {
                    let $value = array.value(row);
                    $made
                }))
            }};
        }
        Some(match array.data_type() {
            DataType::Null => Self::Nothing,
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                Self::Text(Box::new(move |row| array.value(row)))
            }
            DataType::LargeUtf8 => {
                let array = array.as_string::<i64>();
                Self::Text(Box::new(move |row| array.value(row)))
            }
            DataType::Utf8View => {
                let array = array.as_string_view();
                Self::Text(Box::new(move |row| array.value(row)))
            }
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int8 => each!(Int, Int8Type, value => value.into()),
            DataType::Int16 => each!(Int, Int16Type, value => value.into()),
            DataType::Int32 => each!(Int, Int32Type, value => value.into()),
            DataType::Int64 => each!(Int, Int64Type, value => value),
            DataType::UInt8 => each!(Int, UInt8Type, value => value.into()),
            DataType::UInt16 => each!(Int, UInt16Type, value => value.into()),
            DataType::UInt32 => each!(Int, UInt32Type, value => value.into()),
            DataType::UInt64 => {
                let array = values::<UInt64Type>(array);
                Self::Number(Box::new(move |row, room| plain_number(array.value(row), room)), true)
            }
            DataType::Decimal128(_, scale) if *scale >= 0 => {
                let (array, scale) = (values::<Decimal128Type>(array), usize::from(scale.cast_unsigned()));
                Self::Number(Box::new(move |row, room| plain_decimal(array.value(row), scale, room)), true)
            }
            DataType::Float32 => {
                let array = values::<Float32Type>(array);
                Self::Number(Box::new(move |row, room| plain_number(array.value(row), room)), false)
            }
            DataType::Float64 => {
                let array = values::<Float64Type>(array);
                Self::Number(Box::new(move |row, room| plain_number(array.value(row), room)), false)
            }
            DataType::Date32 => each!(Date, Date32Type, days => days),
            DataType::Date64 => each!(Date, Date64Type, ms => ms.div_euclid(86_400_000) as i32),
            DataType::Time32(TimeUnit::Second) => each!(Time, Time32SecondType, s => i64::from(s) * 1_000),
            DataType::Time32(_) => each!(Time, Time32MillisecondType, ms => ms.into()),
            DataType::Time64(TimeUnit::Microsecond) => each!(Time, Time64MicrosecondType, us => us / 1_000),
            DataType::Time64(_) => each!(Time, Time64NanosecondType, ns => ns / 1_000_000),
            DataType::Timestamp(TimeUnit::Second, _) => {
                each!(DateTime, TimestampSecondType, s => s.saturating_mul(1_000))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                each!(DateTime, TimestampMillisecondType, ms => ms)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                each!(DateTime, TimestampMicrosecondType, us => us.div_euclid(1_000))
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                each!(DateTime, TimestampNanosecondType, ns => ns.div_euclid(1_000_000))
            }
            _ => return None,
        })
    }

    fn write(&self, row: usize, room: &mut String) {
        if let Self::Number(write, _) = self {
            room.clear();
            write(row, room);
        }
    }

    fn cell<'r>(&self, row: usize, room: &'r str) -> Cell<'r>
    where
        'a: 'r,
    {
        match self {
            Self::Nothing => Cell::Null,
            // Text of a chunk has no NUL and is never empty.
            Self::Text(text) => match text(row).split('\0').next() {
                None | Some("") => Cell::Null,
                Some(text) => Cell::Text(text),
            },
            Self::Boolean(array) => Cell::Boolean(array.value(row)),
            Self::Int(value) => Cell::Int(value(row)),
            Self::Number(_, true) => Cell::Decimal(room),
            Self::Number(_, false) => Cell::Text(room),
            Self::Date(days) => Cell::Date(days(row)),
            Self::DateTime(ms) => Cell::DateTime(ms(row)),
            Self::Time(ms) => Cell::Time(ms(row).clamp(0, 86_399_999) as u32),
        }
    }
}

fn plain_number(value: impl std::fmt::Display, room: &mut String) {
    // Writing to a `String` does not fail.
    let _written = write!(room, "{value}");
}

fn plain_decimal(value: i128, scale: usize, room: &mut String) {
    let digits = value.unsigned_abs();
    let Some(unit) = 10u128.checked_pow(scale as u32) else { return };
    if value < 0 {
        room.push('-');
    }
    plain_number(digits / unit, room);
    if !digits.is_multiple_of(unit) {
        let _written = write!(room, ".{:0scale$}", digits % unit);
        room.truncate(room.trim_end_matches('0').len());
    }
}

/// Adds a batch's rows to a chunk of as many columns.
///
/// # Errors
/// A column whose type no cell can hold.
pub fn append_rows(batch: &RecordBatch, rows: &mut RowChunk) -> Result<(), WarehouseError> {
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let column = Column::of(array).ok_or_else(|| {
            WarehouseError::Engine(format!(
                "column `{}` is of a type that is not read: cast it to text",
                field.name()
            ))
        })?;
        columns.push((array.as_ref(), column, String::new()));
    }
    for row in 0..batch.num_rows() {
        for (_, column, room) in &mut columns {
            column.write(row, room);
        }
        rows.push(columns.iter().map(
            |(array, column, room)| {
                if array.is_null(row) { Cell::Null } else { column.cell(row, room) }
            },
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
