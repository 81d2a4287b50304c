//! Short ways through metadata XML, whatever its namespace.

use roxmltree::{Document, Node};

/// Parses a file; the error names line and column.
pub fn parse(text: &str) -> Result<Document<'_>, String> {
    Document::parse(text.trim_start_matches('\u{feff}')).map_err(|error| error.to_string())
}

/// The children of a name.
pub fn all<'a, 'input: 'a>(
    node: Node<'a, 'input>,
    name: &'a str,
) -> impl Iterator<Item = Node<'a, 'input>> + 'a {
    node.children().filter(move |child| child.tag_name().name() == name)
}

/// The first child of a name.
pub fn one<'a, 'input: 'a>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// The text of the first child of a name, trimmed; `None` when it is missing or empty.
pub fn text(node: Node, name: &str) -> Option<String> {
    let text = one(node, name)?.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether the first child of a name says `true`.
pub fn flag(node: Node, name: &str) -> bool {
    text(node, name).as_deref() == Some("true")
}

/// The number in the first child of a name; 0 when there is none.
pub fn number(node: Node, name: &str) -> u32 {
    text(node, name).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
