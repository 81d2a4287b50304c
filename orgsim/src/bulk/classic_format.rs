//! The three formats of Bulk API 1.0. Pure: facts in, text out, and the few facts a client sends in.
//!
//! Job requests are answered in the format they come in; what is about batches follows the job's content type, and
//! there JSON is JSON while XML and CSV are both XML. Rows come in the content type itself.

use crate::{rows_api::Value as Cell, soql::dates, tables::Kind};
use serde_json::{Map, Value};

/// The namespace of every element.
const NAMESPACE: &str = "http://www.force.com/2009/06/asyncapi/dataload";

/// A content type of jobs, or of requests about jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Xml,
    Csv,
}

impl Format {
    /// The content type of this name in a job.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "JSON" => Some(Self::Json),
            "XML" => Some(Self::Xml),
            "CSV" => Some(Self::Csv),
            _ => None,
        }
    }

    /// Its name in a job.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Xml => "XML",
            Self::Csv => "CSV",
        }
    }

    /// The format of a request with this header: JSON if it says so, else XML.
    pub fn of_request(content_type: Option<&str>) -> Self {
        match content_type {
            Some(text) if text.to_ascii_lowercase().contains("json") => Self::Json,
            _ => Self::Xml,
        }
    }

    /// The format in which batches of a job of this content type are talked about.
    pub fn of_batches(self) -> Self {
        if self == Self::Json { Self::Json } else { Self::Xml }
    }

    /// The header of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => crate::answer::JSON,
            Self::Xml => "application/xml",
            Self::Csv => "text/csv",
        }
    }
}

/// Facts of one thing: a job, a batch, an error. `null` is left out in XML.
pub fn facts(format: Format, element: &str, facts: &Map<String, Value>) -> Vec<u8> {
    match format {
        Format::Json => Value::from(facts.clone()).to_string().into_bytes(),
        _ => document(element, &elements(facts)).into_bytes(),
    }
}

/// Several things of one kind: `{"batchInfo":[..]}` or `<batchInfoList><batchInfo>..`.
pub fn list(format: Format, element: &str, all: &[Map<String, Value>]) -> Vec<u8> {
    match format {
        Format::Json => {
            let all: Vec<Value> = all.iter().cloned().map(Value::from).collect();
            Value::from(Map::from_iter([(element.to_owned(), Value::from(all))])).to_string().into_bytes()
        }
        _ => {
            let inner: String =
                all.iter().map(|one| format!("<{element}>{}</{element}>", elements(one))).collect();
            document(&format!("{element}List"), &inner).into_bytes()
        }
    }
}

/// Ids of results.
pub fn result_list(format: Format, ids: &[String]) -> Vec<u8> {
    match format {
        Format::Json => Value::from(ids.to_vec()).to_string().into_bytes(),
        _ => {
            let inner: String = ids.iter().map(|id| format!("<result>{}</result>", escaped(id))).collect();
            document("result-list", &inner).into_bytes()
        }
    }
}

fn document(element: &str, inner: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{element} xmlns=\"{NAMESPACE}\">{inner}</{element}>")
}

fn elements(facts: &Map<String, Value>) -> String {
    let one = |(name, value): (&String, &Value)| {
        let text = match value {
            Value::Null => return String::new(),
            // JSON writes a moment the REST way, XML with a Z.
            Value::String(text) if name.ends_with("Date") || name == "systemModstamp" => {
                text.strip_suffix("+0000").map_or(text.clone(), |moment| format!("{moment}Z"))
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        format!("<{name}>{}</{name}>", escaped(&text))
    };
    facts.iter().map(one).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What a request about a job says, by name; `None` when it is not what its header says.
pub fn read(format: Format, body: &[u8]) -> Option<Map<String, Value>> {
    if format == Format::Json {
        return serde_json::from_slice(body).ok();
    }
    let text = std::str::from_utf8(body).ok()?;
    let document = roxmltree::Document::parse(text.trim_start()).ok()?;
    let children = document.root_element().children().filter(roxmltree::Node::is_element);
    let named = children
        .map(|node| (node.tag_name().name().to_owned(), Value::from(node.text().unwrap_or_default().trim())));
    Some(named.collect())
}

/// Appends one record as JSON; moments are milliseconds since 1970.
pub fn push_json_record<'a>(
    out: &mut Vec<u8>,
    kind_and_url: (&str, Option<String>),
    cells: impl Iterator<Item = (&'a str, Kind, Cell)>,
) {
    let mut record = Map::new();
    let mut attributes = Map::from_iter([("type".to_owned(), Value::from(kind_and_url.0))]);
    if let Some(url) = kind_and_url.1 {
        attributes.insert("url".to_owned(), Value::from(url));
    }
    record.insert("attributes".to_owned(), Value::from(attributes));
    for (name, kind, cell) in cells {
        let parts: Vec<&str> = name.split('.').collect();
        insert(&mut record, &parts, json_cell(&cell, kind));
    }
    out.extend_from_slice(Value::from(record).to_string().as_bytes());
}

/// Puts a value below its parents; a parent of whom nothing is known is null.
fn insert(record: &mut Map<String, Value>, parts: &[&str], value: Value) {
    let [first, rest @ ..] = parts else { return };
    if rest.is_empty() {
        record.insert((*first).to_owned(), value);
        return;
    }
    let parent = record.entry(*first).or_insert(Value::Null);
    if parent.is_null() && !value.is_null() {
        *parent = Value::from(Map::new());
    }
    if let Value::Object(parent) = parent {
        insert(parent, rest, value);
    }
}

fn json_cell(cell: &Cell, kind: Kind) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(value) => (*value).into(),
        Cell::Int(value) if kind == Kind::Double => (*value as f64).into(),
        Cell::Int(value) => (*value).into(),
        Cell::Double(value) => (*value).into(),
        Cell::Text(text) | Cell::Date(text) => text.as_str().into(),
        Cell::DateTime(millis) => (*millis).into(),
    }
}

/// Before the records of an XML result.
pub fn xml_records_start() -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><queryResult xmlns=\"{NAMESPACE}\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">"
    )
}

/// Appends one record as XML; `Owner.Name` becomes an element within an element.
pub fn push_xml_record<'a>(
    out: &mut Vec<u8>,
    kind: &str,
    cells: impl Iterator<Item = (&'a str, Kind, Cell)>,
) {
    let mut text = format!("<records xsi:type=\"sObject\"><type>{}</type>", escaped(kind));
    for (name, _, cell) in cells {
        let parts: Vec<&str> = name.split('.').collect();
        parts[..parts.len() - 1].iter().for_each(|part| text.push_str(&format!("<{part}>")));
        let last = parts[parts.len() - 1];
        match xml_cell(&cell) {
            Some(value) => text.push_str(&format!("<{last}>{}</{last}>", escaped(&value))),
            None => text.push_str(&format!("<{last} xsi:nil=\"true\"/>")),
        }
        parts[..parts.len() - 1].iter().rev().for_each(|part| text.push_str(&format!("</{part}>")));
    }
    text.push_str("</records>");
    out.extend_from_slice(text.as_bytes());
}

fn xml_cell(cell: &Cell) -> Option<String> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Bool(value) => value.to_string(),
        Cell::Int(value) => value.to_string(),
        Cell::Double(value) => format!("{value:?}"),
        Cell::Text(text) | Cell::Date(text) => text.clone(),
        Cell::DateTime(millis) => dates::soql_datetime(*millis),
    })
}
