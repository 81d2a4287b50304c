//! Operators of `query_params`: their names, and how a text of the client is split into operator and operands before any
//! reference is filled in.

use crate::batch::bind::planned::PatternPiece;
use crate::batch::operation::PatternPart;
use crate::batch::reference::{Template, TextPart};
use crate::batch::value::Value;

/// An operator with operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// One of.
    In,
    /// None of.
    NotIn,
    /// Between two, both included.
    Between,
    /// Not between.
    NotBetween,
    /// Matches a pattern.
    Like,
    /// Does not.
    NotLike,
}

/// All names, for messages.
pub const NAMES: &str = "eq, ne, lt, le, gt, ge, in, not-in, between, not-between, like, not-like";

impl Operator {
    /// The operator of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "lt" => Self::Lt,
            "le" => Self::Le,
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "in" => Self::In,
            "not-in" => Self::NotIn,
            "between" => Self::Between,
            "not-between" => Self::NotBetween,
            "like" => Self::Like,
            "not-like" => Self::NotLike,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::In => "in",
            Self::NotIn => "not-in",
            Self::Between => "between",
            Self::NotBetween => "not-between",
            Self::Like => "like",
            Self::NotLike => "not-like",
        }
    }

    /// Whether it takes a list.
    pub fn takes_list(self) -> bool {
        matches!(self, Self::In | Self::NotIn | Self::Between | Self::NotBetween)
    }

    /// Whether it takes exactly two.
    pub fn takes_two(self) -> bool {
        matches!(self, Self::Between | Self::NotBetween)
    }

    /// Whether it takes a pattern.
    pub fn takes_pattern(self) -> bool {
        matches!(self, Self::Like | Self::NotLike)
    }
}

/// A text of the client: an operator in front of the first `::`, or none.
#[derive(Debug, PartialEq)]
pub enum Divided {
    /// No `::` in what the client wrote.
    Plain,
    /// An operator and what is behind the first `::`.
    Operator(Operator, Vec<TextPart>),
    /// Something else is in front of the first `::`: as the client wrote it.
    Unknown(String),
}

/// Divides a text at the first `::` that the client wrote.
pub fn divide(parts: &[TextPart]) -> Divided {
    let found = parts.iter().enumerate().find_map(|(at, part)| match part {
        TextPart::Literal(text) => text.find("::").map(|byte| (at, text, byte)),
        TextPart::Reference(_) => None,
    });
    let Some((at, text, byte)) = found else {
        return Divided::Plain;
    };
    let operator = if at == 0 { Operator::named(&text[..byte]) } else { None };
    let Some(operator) = operator else {
        return Divided::Unknown(as_written(&parts[..at], &text[..byte]));
    };
    let behind = &text[byte + 2..];
    let first = (!behind.is_empty()).then(|| TextPart::Literal(behind.to_owned()));
    Divided::Operator(operator, first.into_iter().chain(parts[1..].iter().cloned()).collect())
}

fn as_written(before: &[TextPart], last: &str) -> String {
    let mut text = String::new();
    for part in before {
        match part {
            TextPart::Literal(literal) => text.push_str(literal),
            TextPart::Reference(reference) => {
                text.push_str("$ref:");
                text.push_str(&reference.written);
            }
        }
    }
    text.push_str(last);
    text
}

/// The parts of a text, whatever its form; `None`: it is no text.
pub fn text_parts(template: &Template) -> Option<Vec<TextPart>> {
    match template {
        Template::Value(Value::Text(text)) => Some(vec![TextPart::Literal(text.clone())]),
        Template::Text(parts) => Some(parts.clone()),
        _ => None,
    }
}

/// Splits at the commas that the client wrote: commas of a referenced value are part of the value.
pub fn split_list(parts: &[TextPart]) -> Vec<Vec<TextPart>> {
    let mut items = vec![Vec::new()];
    for part in parts {
        match part {
            TextPart::Reference(_) => push_last(&mut items, part.clone()),
            TextPart::Literal(text) => {
                for (at, piece) in text.split(',').enumerate() {
                    if at > 0 {
                        items.push(Vec::new());
                    }
                    if !piece.is_empty() {
                        push_last(&mut items, TextPart::Literal(piece.to_owned()));
                    }
                }
            }
        }
    }
    items
}

fn push_last(items: &mut [Vec<TextPart>], part: TextPart) {
    if let Some(last) = items.last_mut() {
        last.push(part);
    }
}

/// Text in one template: a constant where no reference is in it.
pub fn joined(mut parts: Vec<TextPart>) -> Template {
    match parts.as_mut_slice() {
        [] => Template::Value(Value::Text(String::new())),
        [TextPart::Literal(text)] => Template::Value(Value::Text(std::mem::take(text))),
        _ => Template::Text(parts),
    }
}

/// The pieces of a pattern: `*` and `?` of what the client wrote are wildcards, of a referenced value they are not.
pub fn pattern(parts: &[TextPart]) -> Vec<PatternPiece> {
    let mut pieces = Vec::new();
    for part in parts {
        match part {
            TextPart::Reference(reference) => pieces.push(PatternPiece::Reference(reference.clone())),
            TextPart::Literal(text) => {
                let mut rest = text.as_str();
                while let Some(at) = rest.find(['*', '?']) {
                    push_literal(&mut pieces, &rest[..at]);
                    let wildcard =
                        if rest[at..].starts_with('*') { PatternPart::Any } else { PatternPart::One };
                    pieces.push(PatternPiece::Part(wildcard));
                    rest = &rest[at + 1..];
                }
                push_literal(&mut pieces, rest);
            }
        }
    }
    pieces
}

fn push_literal(pieces: &mut Vec<PatternPiece>, text: &str) {
    if !text.is_empty() {
        pieces.push(PatternPiece::Part(PatternPart::Literal(text.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::batch::reference::{PathStep, Reference};

    fn reference() -> TextPart {
        TextPart::Reference(Reference {
            target: 0,
            target_id: "a".into(),
            steps: vec![PathStep::Name("b".into())],
            braced: false,
            written: "a.b".into(),
        })
    }

    fn text(text: &str) -> TextPart {
        TextPart::Literal(text.to_owned())
    }

    #[rstest]
    #[case::no_operator(vec![text("a:b")], Divided::Plain)]
    #[case::empty(vec![text("")], Divided::Plain)]
    #[case::reference_alone(vec![reference(), text(" x")], Divided::Plain)]
    #[case::equal(vec![text("eq::5")], Divided::Operator(Operator::Eq, vec![text("5")]))]
    #[case::only_the_first(vec![text("eq::fe80::1")], Divided::Operator(Operator::Eq, vec![text("fe80::1")]))]
    #[case::nothing_behind(vec![text("eq::")], Divided::Operator(Operator::Eq, vec![]))]
    #[case::with_reference(vec![text("gt::"), reference()], Divided::Operator(Operator::Gt, vec![reference()]))]
    #[case::later(vec![text("in::"), reference(), text(",x::y")], Divided::Operator(Operator::In, vec![reference(), text(",x::y")]))]
    #[case::unknown(vec![text("zz::x")], Divided::Unknown("zz".into()))]
    #[case::address(vec![text("fe80::1")], Divided::Unknown("fe80".into()))]
    #[case::nothing_in_front(vec![text("::1")], Divided::Unknown(String::new()))]
    #[case::other_case(vec![text("EQ::1")], Divided::Unknown("EQ".into()))]
    #[case::reference_in_front(vec![reference(), text("::1")], Divided::Unknown("$ref:a.b".into()))]
    #[case::reference_between(vec![text("e"), reference(), text("q::1")], Divided::Unknown("e$ref:a.bq".into()))]
    fn a_text_is_divided_at_the_first_pair_of_colons_the_client_wrote(
        #[case] parts: Vec<TextPart>,
        #[case] want: Divided,
    ) {
        assert_eq!(divide(&parts), want);
    }

    #[rstest]
    #[case::one(vec![text("a")], vec![vec![text("a")]])]
    #[case::two(vec![text("a,b")], vec![vec![text("a")], vec![text("b")]])]
    #[case::empty_items(vec![text("a,,")], vec![vec![text("a")], vec![], vec![]])]
    #[case::nothing(vec![], vec![vec![]])]
    #[case::reference_first(vec![reference(), text(",1")], vec![vec![reference()], vec![text("1")]])]
    #[case::reference_inside(vec![text("1,x"), reference(), text("y,2")], vec![vec![text("1")], vec![text("x"), reference(), text("y")], vec![text("2")]])]
    fn a_list_is_split_at_commas_the_client_wrote(
        #[case] parts: Vec<TextPart>,
        #[case] want: Vec<Vec<TextPart>>,
    ) {
        assert_eq!(split_list(&parts), want);
    }

    #[test]
    fn a_pattern_has_wildcards_only_where_the_client_wrote_them() {
        let pieces = pattern(&[text("a*b?"), reference(), text("%_\\*")]);
        let shapes: Vec<String> = pieces
            .iter()
            .map(|piece| match piece {
                PatternPiece::Part(PatternPart::Literal(text)) => format!("={text}"),
                PatternPiece::Part(PatternPart::Any) => "*".into(),
                PatternPiece::Part(PatternPart::One) => "?".into(),
                PatternPiece::Reference(reference) => format!("${}", reference.written),
            })
            .collect();
        assert_eq!(shapes, ["=a", "*", "=b", "?", "$a.b", "=%_\\", "*"]);
    }

    #[test]
    fn every_operator_has_its_name() {
        for name in NAMES.split(", ") {
            assert_eq!(Operator::named(name).map(Operator::name), Some(name));
        }
        for name in ["is-null", "not-null", "", "Eq", " eq"] {
            assert_eq!(Operator::named(name), None);
        }
    }
}
