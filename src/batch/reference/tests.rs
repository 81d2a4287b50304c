use std::borrow::Cow;
use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;

use super::parse::{TextFault, escape, parse_text};
use super::*;

/// Results of the operations `op0`, `op1` and so on; `op0` is `customer`.
type Answers = Vec<Option<OperationResult>>;

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn number(digits: &str) -> Value {
    Value::Number(digits.into())
}

fn rows(names: &[&str], rows: Vec<Vec<Value>>) -> Option<OperationResult> {
    let names = names.iter().map(|name| Arc::from(*name)).collect();
    Some(OperationResult { names, rows, count: None, associations: Vec::new() })
}

fn answers() -> Answers {
    let customer = rows(
        &["id", "name", "total", "active", "note", "doc", "id_long", "since"],
        vec![vec![
            Value::Int(42),
            text("Ada"),
            number("12.50"),
            Value::Bool(true),
            Value::Null,
            Value::Json(r#"{"tags":["a","b"],"size":{"w":3,"w_unit":"mm"},"none":null,"7":"seven"}"#.into()),
            Value::Int(43),
            text("2026-01-02T03:04:05Z"),
        ]],
    );
    let lines =
        rows(&["id", "depot_id"], (1..=3).map(|id| vec![Value::Int(id), Value::Int(id * 10)]).collect());
    let empty = rows(&["id"], Vec::new());
    let counted = Some(OperationResult {
        names: Arc::from([]),
        rows: Vec::new(),
        count: Some(7),
        associations: Vec::new(),
    });
    let with_relations = Some(OperationResult {
        names: Arc::from([Arc::from("id"), Arc::from("codes"), Arc::from("scalar")]),
        rows: vec![vec![
            Value::Int(1),
            Value::Array(vec![text("x"), text("y")]),
            Value::Json("\"ne::x $ref:op0.id\"".into()),
        ]],
        count: None,
        associations: vec![
            (Arc::from("depot"), vec![Value::Object(vec![(Arc::from("city"), text("Oslo"))])]),
            (Arc::from("parent"), vec![Value::Null]),
            (
                Arc::from("lines"),
                vec![Value::Array(vec![
                    Value::Object(vec![(Arc::from("sku"), text("s1"))]),
                    Value::Object(vec![(Arc::from("sku"), text("s2"))]),
                ])],
            ),
        ],
    });
    vec![customer, lines, empty, counted, with_relations, None]
}

fn place_of(id: &str) -> Option<(usize, Arc<str>)> {
    let place = match id {
        "customer" => 0,
        _ => id.strip_prefix("op")?.parse().ok()?,
    };
    Some((place, Arc::from(id)))
}

fn parsed(written: &str) -> Template {
    parse_text(Cow::Borrowed(written), &mut place_of).unwrap_or_else(|fault| panic!("{written}: {fault}"))
}

fn resolved(written: &str) -> Result<(String, Vec<Warning>), BadReference> {
    let mut warnings = Vec::new();
    let value = resolve(&parsed(written), &answers(), &mut warnings)?;
    Ok((value.to_json(), warnings))
}

/// The fifteen cases of the resolver that is replaced, and what became of each.
#[rstest]
#[case::simple("$ref:op0.id", "42")]
#[case::nested("$ref:op0.doc.size.w", "3")]
#[case::inside_text("customer $ref:op0.id!", r#""customer 42!""#)]
#[case::two_in_one_text("$ref:op0.name/$ref:op0.id", r#""Ada/42""#)]
#[case::one_a_prefix_of_the_other("$ref:op0.id/$ref:op0.id_long", r#""42/43""#)]
#[case::list_index("$ref:op1.1.depot_id", "20")]
#[case::no_reference("plain", r#""plain""#)]
#[case::empty("", r#""""#)]
#[case::decimal_keeps_its_digits("$ref:op0.total", "12.50")]
#[case::boolean_keeps_its_type("$ref:op0.active", "true")]
fn what_the_resolver_did_is_still_so(#[case] written: &str, #[case] expected: &str) {
    assert_eq!(resolved(written), Ok((expected.to_owned(), Vec::new())));
}

#[test]
fn several_references_in_maps_and_lists_are_filled_in_with_their_types() {
    let template = Template::Object(vec![
        (Arc::from("id"), parsed("$ref:op0.id")),
        (Arc::from("list"), Template::Array(vec![parsed("$ref:op0.active"), Template::Value(Value::Null)])),
        (Arc::from("deep"), Template::Object(vec![(Arc::from("name"), parsed("x $ref:op0.name"))])),
    ]);
    let value = resolve(&template, &answers(), &mut Vec::new()).expect("all are there");
    assert_eq!(value.to_json(), r#"{"id":42,"list":[true,null],"deep":{"name":"x Ada"}}"#);
    let targets: Vec<usize> = template.references().map(|reference| reference.target).collect();
    assert_eq!(targets, [0, 0, 0]);
}

#[rstest]
#[case::no_result("$ref:op5.id", "op5.id", "the operation has no result")]
#[case::missing("$ref:op0.nope", "op0.nope", "the result has no `nope` that may be read")]
#[case::missing_in_text("$ref:op0.xyz/", "op0.xyz", "the result has no `xyz` that may be read")]
#[case::no_rows("$ref:op2.id", "op2.id", "the operation returned no rows")]
#[case::no_rows_in_text("a $ref:op2.id_x", "op2.id_x", "the operation returned no rows")]
#[case::no_row_0("$ref:op2.0.id", "op2.0.id", "the operation returned no rows, there is no row 0")]
#[case::rows("$ref:op1.id", "op1.id", "the operation returned 3 rows, use an index or `*`")]
#[case::past_the_end("$ref:op1.5.id", "op1.5.id", "the operation returned 3 rows, there is no row 5")]
#[case::past_one("$ref:op0.5.id", "op0.5.id", "the operation returned 1 row, there is no row 5")]
#[case::no_list_is_that_long(
    "$ref:op1.99999999999999999999999.id",
    "op1.99999999999999999999999.id",
    "the operation returned 3 rows, there is no row 18446744073709551615"
)]
#[case::through_null("$ref:op0.note.x", "op0.note.x", "`note` is null, nothing is below it")]
#[case::through_null_in_text("a $ref:op0.note.x", "op0.note.x", "`note` is null, nothing is below it")]
#[case::through_null_association(
    "$ref:op4.parent.x",
    "op4.parent.x",
    "`parent` is null, nothing is below it"
)]
#[case::into_scalar("$ref:op0.id.x", "op0.id.x", "`id` has no `x`")]
#[case::index_of_scalar("$ref:op0.id.0", "op0.id.0", "`id` is not a list, there is no element 0")]
#[case::index_of_row("$ref:op0.0.0", "op0.0.0", "row 0 is not a list, there is no element 0")]
#[case::every_of_scalar("$ref:op0.id.*", "op0.id.*", "`id` is not a list, `*` has no meaning")]
#[case::name_of_list("$ref:op4.lines.sku", "op4.lines.sku", "`lines` is a list, use an index or `*`")]
#[case::element_past_the_end("$ref:op4.codes.2", "op4.codes.2", "the list at `codes` has no element 2")]
#[case::null_in_text("a $ref:op0.note", "op0.note", "the value is null, which has no meaning inside text")]
#[case::object_in_text(
    "a $ref:op4.depot",
    "op4.depot",
    "the value is an object, which has no meaning inside text"
)]
#[case::row_in_text("a $ref:op1.0", "op1.0", "the value is a row, which has no meaning inside text")]
#[case::list_in_text(
    "a $ref:op4.codes",
    "op4.codes",
    "the value is a list, which has no meaning inside text"
)]
#[case::document_in_text(
    "a $ref:op0.doc",
    "op0.doc",
    "the value is a document, which has no meaning inside text"
)]
#[case::whole_is_not_trimmed(
    "$ref:op0.id_suffix",
    "op0.id_suffix",
    "the result has no `id_suffix` that may be read"
)]
#[case::braced_is_not_trimmed(
    "a $ref:{op0.id_suffix}",
    "op0.id_suffix",
    "the result has no `id_suffix` that may be read"
)]
#[case::index_is_not_trimmed("a $ref:op0.idx.0", "op0.idx.0", "the result has no `idx` that may be read")]
#[case::column_of_a_count("$ref:op3.id", "op3.id", "the result has no `id` that may be read")]
fn a_reference_without_a_value_is_told_by_its_path(
    #[case] written: &str,
    #[case] path: &str,
    #[case] why: &str,
) {
    assert_eq!(resolved(written), Err(BadReference { written: Arc::from(path), why: why.to_owned() }));
}

#[rstest]
#[case::one_row_by_index("$ref:op0.0.name", r#""Ada""#)]
#[case::brackets("$ref:op1[2].id", "3")]
#[case::list_of_a_column("$ref:op1.*.depot_id", "[10,20,30]")]
#[case::list_of_one("$ref:op0.*.id", "[42]")]
#[case::list_of_none("$ref:op2.*.id", "[]")]
#[case::row("$ref:op1.1", r#"{"id":2,"depot_id":20}"#)]
#[case::all_rows("$ref:op1.*", r#"[{"id":1,"depot_id":10},{"id":2,"depot_id":20},{"id":3,"depot_id":30}]"#)]
#[case::no_rows("$ref:op2.*", "[]")]
#[case::count("$ref:op3.count", "7")]
#[case::counted_row("$ref:op3.0", r#"{"count":7}"#)]
#[case::null("$ref:op0.note", "null")]
#[case::document(
    "$ref:op0.doc",
    r#"{"tags":["a","b"],"size":{"w":3,"w_unit":"mm"},"none":null,"7":"seven"}"#
)]
#[case::list_in_a_document("$ref:op0.doc.tags", r#"["a","b"]"#)]
#[case::element_in_a_document("$ref:op0.doc.tags.1", r#""b""#)]
#[case::numeric_key("$ref:op0.doc.7", r#""seven""#)]
#[case::null_in_a_document("$ref:op0.doc.none", "null")]
#[case::association("$ref:op4.depot.city", r#""Oslo""#)]
#[case::associations("$ref:op4.lines.0.sku", r#""s1""#)]
#[case::every_association("$ref:op4.lines.*.sku", r#"["s1","s2"]"#)]
#[case::every_of_every("$ref:op4.*.lines.*.sku", r#"[["s1","s2"]]"#)]
#[case::list_column("$ref:op4.codes", r#"["x","y"]"#)]
#[case::braced("$ref:{op0.id}", "42")]
#[case::quoted("$ref:{op0.\"id\"}", "42")]
#[case::moment_in_text("at $ref:op0.since", r#""at 2026-01-02T03:04:05Z""#)]
#[case::decimal_in_text("= $ref:op0.total", r#""= 12.50""#)]
#[case::boolean_in_text("armed=$ref:op0.active", r#""armed=true""#)]
#[case::scalar_document_in_text("<$ref:op4.scalar>", r#""<ne::x $ref:op0.id>""#)]
fn a_path_reads_what_the_table_says(#[case] written: &str, #[case] expected: &str) {
    assert_eq!(resolved(written), Ok((expected.to_owned(), Vec::new())));
}

#[rstest]
#[case::point("Invoice $ref:op0.id.", "Invoice 42.")]
#[case::two_points("Invoice $ref:op0.id..", "Invoice 42..")]
#[case::bracket("$ref:op0.id[x]", "42[x]")]
#[case::open_bracket("$ref:op0.id[", "42[")]
#[case::empty_brackets("$ref:op0.id[]", "42[]")]
#[case::leading_zero("$ref:op0.id[01]", "42[01]")]
#[case::hyphen("pre_$ref:op0.id-post", "pre_42-post")]
#[case::letters_beyond("$ref:op0.idé", "42é")]
#[case::adjacent("$ref:op0.id$ref:op0.name", "42Ada")]
#[case::braced_before_letters("$ref:{op0.id}_suffix", "42_suffix")]
#[case::escape("$$ref:a.b", "$ref:a.b")]
#[case::escape_of_what_is_malformed("$$ref:", "$ref:")]
#[case::dollar_and_value("$$$ref:op0.id", "$42")]
#[case::two_dollars("$$$$ref:op0.id", "$$ref:op0.id")]
#[case::dollars_elsewhere("$5 and $$6, $ ref:x", "$5 and $$6, $ ref:x")]
#[case::other_case("$REF:op0.id", "$REF:op0.id")]
#[case::without_dollar("ref:op0.id", "ref:op0.id")]
#[case::escape_then_value("$$ref:$ref:op0.id", "$ref:42")]
#[case::value_then_dollars("$ref:op0.id$$ref:x", "42$ref:x")]
fn text_around_a_reference_stays(#[case] written: &str, #[case] expected: &str) {
    assert_eq!(resolved(written), Ok((text(expected).to_json(), Vec::new())));
}

#[rstest]
#[case::suffix("prefix_$ref:op0.id_suffix", "prefix_42_suffix", "$ref:{op0.id}_suffix")]
#[case::longest("$ref:op0.id_longer ", "43er ", "$ref:{op0.id_long}er")]
#[case::file("f $ref:op0.id.tar.gz", "f 42.tar.gz", "$ref:{op0.id}.tar.gz")]
#[case::row("$ref:op1.1.idx!", "2x!", "$ref:{op1.1.id}x")]
#[case::brackets("$ref:op1[1].idx!", "2x!", "$ref:{op1[1].id}x")]
#[case::document("$ref:op0.doc.size.w_x;", "3_x;", "$ref:{op0.doc.size.w}_x")]
#[case::association("$ref:op4.depot.cityx;", "Oslox;", "$ref:{op4.depot.city}x")]
#[case::count("$ref:op3.counts;", "7s;", "$ref:{op3.count}s")]
fn a_bare_reference_in_text_is_trimmed_with_a_warning(
    #[case] written: &str,
    #[case] expected: &str,
    #[case] advice: &str,
) {
    let (value, warnings) = resolved(written).expect("trimmed");
    assert_eq!(value, text(expected).to_json());
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code, "trimmed_reference");
    assert!(warnings[0].detail.contains(&format!("`{advice}`")), "{}", warnings[0].detail);
    assert_eq!(resolved(&written.replace(written_reference(written), advice)), Ok((value, Vec::new())));
}

/// The reference in a text of the test before.
fn written_reference(written: &str) -> &str {
    let start = written.find("$ref:").expect("one is there");
    let rest = &written[start + 5..];
    let length =
        rest.find(|one: char| !(one.is_ascii_alphanumeric() || "_.[]".contains(one))).unwrap_or(rest.len());
    &written[start..start + 5 + length]
}

#[rstest]
#[case::nothing("$ref:")]
#[case::no_path("$ref:a")]
#[case::no_path_in_text("see $ref:a for more")]
#[case::point_alone("$ref:a.")]
#[case::hyphen("$ref:my-op.id")]
#[case::no_id("$ref:.id")]
#[case::space("$ref: a.id")]
#[case::braces_open("$ref:{a.id")]
#[case::braces_empty("$ref:{}")]
#[case::braces_no_path("$ref:{a}")]
#[case::braces_more("$ref:{a.id }")]
#[case::braces_point("$ref:{a.id.}")]
#[case::braces_bracket("$ref:{a.id[01]}")]
#[case::quote_open("$ref:{a.\"id}")]
#[case::quote_bare("$ref:a.\"id\"")]
#[case::list_in_text("x $ref:a.*.id")]
#[case::list_in_operator("in::$ref:a.*.id")]
#[case::id_too_long("$ref:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.id")]
#[case::second("$ref:a.b $ref:-")]
#[case::after_an_escape("$$ref: $ref:")]
fn what_does_not_parse_is_never_text(#[case] written: &str) {
    let fault =
        parse_text(Cow::Borrowed(written), &mut |id: &str| Some((0, Arc::from(id)))).expect_err("malformed");
    assert!(matches!(fault, TextFault::Malformed { .. }), "{fault}");
}

#[test]
fn an_id_may_have_64_characters() {
    let id = "a".repeat(64);
    let template = parse_text(Cow::Owned(format!("$ref:{id}.b")), &mut |id: &str| Some((3, Arc::from(id))));
    let Ok(Template::Reference(reference)) = template else { panic!("{template:?}") };
    assert_eq!((reference.target, &*reference.target_id), (3, &*id));
}

#[test]
fn what_is_written_is_kept_without_mark_and_braces() {
    for (written, path) in
        [("$ref:c.0.depot_id", "c.0.depot_id"), ("$ref:{c[2].\"a \"\"b\"}", "c[2].\"a \"\"b\"")]
    {
        let template = parse_text(Cow::Borrowed(written), &mut |id: &str| Some((0, Arc::from(id))));
        let Ok(Template::Reference(reference)) = template else { panic!("{template:?}") };
        assert_eq!(&*reference.written, path);
    }
}

#[test]
fn a_value_that_came_from_a_reference_is_data() {
    let results = vec![rows(&["a"], vec![vec![text("$ref:op0.a,ne::x*")]])];
    let value = resolve(&parsed("<$ref:op0.a>"), &results, &mut Vec::new()).expect("there");
    assert_eq!(value, text("<$ref:op0.a,ne::x*>"));
}

#[test]
fn what_references_copy_is_counted_before_it_is_copied() {
    let results = vec![rows(&["a"], vec![vec![text(&"x".repeat(1_000))]; 10])];
    let mut left = 9_000;
    let all = resolve_within(&parsed("$ref:op0.*.a"), &results, &mut Vec::new(), &mut left);
    assert_eq!(all, Err(Unresolved::TooLarge));
    assert!(resolve_within(&parsed("$ref:op0.0.a"), &results, &mut Vec::new(), &mut left).is_ok());
    assert!(left < 8_000);
    let mut left = 1_500;
    let twice = resolve_within(&parsed("$ref:op0.0.a $ref:op0.1.a"), &results, &mut Vec::new(), &mut left);
    assert_eq!(twice, Err(Unresolved::TooLarge));
}

#[test]
fn going_into_large_documents_again_and_again_has_an_end() {
    let document = format!("{{\"a\":1,\"rest\":\"{}\"}}", "x".repeat(64_000));
    let results = vec![rows(&["doc"], vec![vec![Value::Json(document.into())]])];
    let mut left = 10_000;
    let template = parsed("$ref:op0.doc.a");
    let done = (0..100)
        .take_while(|_| resolve_within(&template, &results, &mut Vec::new(), &mut left).is_ok())
        .count();
    assert_eq!(done, 9);
}

#[rstest]
#[case("$ref:a.col", Some("col"))]
#[case("$ref:a.0.col", Some("col"))]
#[case("$ref:a.*.col.x", Some("col"))]
#[case("$ref:a.0", None)]
#[case("$ref:a.*", None)]
#[case("$ref:a.0.1", None)]
fn the_property_of_a_path_is_its_name_after_the_choice_of_rows(
    #[case] written: &str,
    #[case] name: Option<&str>,
) {
    let template = parse_text(Cow::Borrowed(written), &mut |id: &str| Some((0, Arc::from(id))));
    let Ok(Template::Reference(reference)) = template else { panic!("{template:?}") };
    assert_eq!(reference.property().map(|name| &**name), name);
}

/// Steps as they may be written bare or in braces.
fn steps(braced: bool) -> impl Strategy<Value = Vec<PathStep>> {
    let names = if braced { "[a-zA-Z0-9_\" .$}é]{0,6}" } else { "[a-z_]{1,6}" };
    let step = prop_oneof![
        3 => names.prop_map(|name| PathStep::Name(Arc::from(name))),
        1 => any::<usize>().prop_map(PathStep::Index),
    ];
    proptest::collection::vec(step, 1..4)
}

fn reference() -> impl Strategy<Value = Reference> {
    any::<bool>().prop_flat_map(|braced| {
        ("[A-Za-z0-9_]{1,64}", steps(braced)).prop_map(move |(id, steps)| {
            let mut reference =
                Reference { target: 0, target_id: Arc::from(id), steps, braced, written: Arc::from("") };
            let printed = reference.to_string();
            let path = printed.trim_start_matches("$ref:");
            let inside = if braced { &path[1..path.len() - 1] } else { path };
            reference.written = Arc::from(inside);
            reference
        })
    })
}

/// Parts of a text in their one normal form: no two literals side by side, none of them empty, none that a bare reference
/// before it would swallow.
fn parts() -> impl Strategy<Value = Vec<TextPart>> {
    let literal = prop_oneof!["[$refa: ,é]{1,8}", Just(String::from("$ref:a.b")), Just(String::from("$$"))];
    proptest::collection::vec((reference(), proptest::option::of(literal)), 1..4).prop_map(|pairs| {
        let mut parts = Vec::new();
        for (reference, literal) in pairs {
            let bare = !reference.braced;
            parts.push(TextPart::Reference(reference));
            if let Some(literal) = literal {
                let swallowed = bare && literal.starts_with(|one: char| one.is_ascii_alphanumeric());
                parts.push(TextPart::Literal(if swallowed { format!(" {literal}") } else { literal }));
            }
        }
        parts
    })
}

/// The text that means these parts.
fn print(parts: &[TextPart]) -> String {
    let mut printed = String::new();
    for (at, part) in parts.iter().enumerate() {
        match part {
            TextPart::Reference(reference) => printed.push_str(&reference.to_string()),
            TextPart::Literal(literal) => {
                printed.push_str(&escape(literal));
                if parts.get(at + 1).is_some() {
                    // A run of `$` right before a mark counts double.
                    let run = literal.bytes().rev().take_while(|&byte| byte == b'$').count();
                    printed.extend(std::iter::repeat_n('$', run));
                }
            }
        }
    }
    printed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_reference_that_is_printed_parses_to_itself(reference in reference()) {
        let template = parse_text(Cow::Owned(reference.to_string()), &mut |id: &str| Some((0, Arc::from(id))));
        prop_assert_eq!(template, Ok(Template::Reference(reference)));
    }

    #[test]
    fn text_that_is_printed_parses_to_itself(parts in parts()) {
        let printed = print(&parts);
        let template = parse_text(Cow::Borrowed(&printed), &mut |id: &str| Some((0, Arc::from(id))));
        match &parts[..] {
            [TextPart::Reference(one)] => prop_assert_eq!(template, Ok(Template::Reference(one.clone()))),
            _ => prop_assert_eq!(template, Ok(Template::Text(parts)), "{}", printed),
        }
    }

    #[test]
    fn any_text_comes_back_from_its_escape(plain in r"(\$|ref:|\$ref:|[a-z.{}]|.){0,20}") {
        let template = parse_text(escape(&plain), &mut |_: &str| None);
        prop_assert_eq!(template, Ok(Template::Value(Value::Text(plain))));
    }

    #[test]
    fn no_text_makes_the_parser_panic(written in r#"(\$|ref:|\$ref:|\$ref:\{|[a-z0-9]|[.*"\[\]{}é]){0,20}"#) {
        let template = parse_text(Cow::Borrowed(&written), &mut place_of);
        if let Ok(template) = template {
            let _ = resolve(&template, &answers(), &mut Vec::new());
        }
    }
}
