use super::{ast::*, parse};
use proptest::prelude::*;
use rstest::rstest;

#[rstest]
#[case::airbyte("SELECT Id,Name FROM Lead ORDER BY Id ASC")]
#[case::tap("select Id ,Name from Lead where LastModifiedDate > 2026-01-01T00:00:00.000Z")]
#[case::window(
    "SELECT Id FROM Lead WHERE SystemModstamp >= 2025-12-01T00:00:00.000+00:00 AND SystemModstamp < 2026-01-01T00:00:00.000+00:00"
)]
#[case::doubled_blanks("SELECT  Id  FROM   Lead  LIMIT 100  ")]
#[case::count("SELECT COUNT() FROM Lead")]
#[case::count_field("select count(Id) from Lead")]
#[case::parents("SELECT Id, Owner.Profile.Name FROM Lead")]
#[case::nested("SELECT Id FROM Lead WHERE (A = 1 OR B = 'x\\'y') AND NOT C LIKE 'a%'")]
#[case::lists("SELECT Id FROM Lead WHERE A IN ('a','b') AND B NOT IN (1, 2) AND C INCLUDES ('a;b','c')")]
#[case::semi_join("SELECT Id FROM Lead WHERE Id IN (SELECT LeadId FROM CampaignMember)")]
#[case::sub_query("SELECT Id, (SELECT Id FROM Contacts) FROM Account")]
#[case::grouped(
    "SELECT Status s, COUNT(Id) n FROM Lead GROUP BY Status HAVING COUNT(Id) > 1 ORDER BY COUNT(Id) DESC NULLS LAST"
)]
#[case::relative("SELECT Id FROM Lead WHERE CreatedDate = LAST_N_DAYS:30 AND ConvertedDate = TODAY")]
#[case::secured("SELECT FIELDS(ALL) FROM Lead WITH SECURITY_ENFORCED LIMIT 200 OFFSET 10")]
fn every_form_real_clients_send_is_read_and_survives_printing(#[case] text: &str) {
    let query = parse(text).unwrap();
    assert_eq!(parse(&query.to_string()).unwrap(), query, "{query}");
}

#[rstest]
#[case::star("SELECT * FROM Lead", "unexpected token: '*'")]
#[case::mixed("SELECT Id FROM Lead WHERE A = 1 AND B = 2 OR C = 3", "unexpected token: 'OR'")]
#[case::unclosed("SELECT Id FROM Lead WHERE A = 'x", "expecting '''")]
#[case::no_from("SELECT Id", "unexpected token: '<EOF>'")]
#[case::bind("SELECT Id FROM Lead WHERE A = :x", "unexpected token: ':'")]
#[case::bare_word("SELECT Id FROM Lead WHERE A = x", "Bind variables only allowed in Apex code")]
#[case::trailing("SELECT Id FROM Lead LIMIT 5 LIMIT 6", "unexpected token: 'LIMIT'")]
#[case::negative_limit("SELECT Id FROM Lead LIMIT -5", "unexpected token: '-5'")]
#[case::bad_date("SELECT Id FROM Lead WHERE D = 2026-13-01", "unexpected token: '2026-13-01'")]
#[case::bad_escape(r"SELECT Id FROM Lead WHERE D = '\q'", "Illegal escape")]
#[case::unknown_function("SELECT FOO(Id) FROM Lead", "Unknown function")]
fn what_makes_no_sense_is_malformed_and_says_where(#[case] text: &str, #[case] says: &str) {
    let error = parse(text).unwrap_err();
    assert_eq!(error.code, "MALFORMED_QUERY");
    assert!(error.message.contains(says), "{}", error.message);
}

#[test]
fn the_caret_stands_under_the_mistake() {
    let error = parse("SELECT Id FROM Lead WHERE A ! 1").unwrap_err();
    let lines: Vec<&str> = error.message.lines().collect();
    assert_eq!(lines[1].find('!'), lines[2].find('^'));
    assert_eq!(lines[3], "ERROR at Row:1:Column:29");
}

#[test]
fn a_thousand_parentheses_are_an_error_not_a_crash() {
    let text = format!("SELECT Id FROM Lead WHERE {}A = 1{}", "(".repeat(20_000), ")".repeat(20_000));
    assert_eq!(parse(&text).unwrap_err().code, "MALFORMED_QUERY");
}

#[test]
fn a_statement_over_100_000_characters_is_refused() {
    let text = format!("SELECT Id FROM Lead WHERE A = 1{}", " ".repeat(100_000));
    assert_eq!(parse(&text).unwrap_err().code, "MALFORMED_QUERY");
}

fn word() -> impl Strategy<Value = String> {
    "[A-Z][a-z0-9]{0,6}(__c)?".prop_filter("a keyword", |word| {
        ![
            "And", "Or", "Not", "Select", "From", "Where", "In", "Like", "Count", "Null", "True", "False",
            "Sum", "Min", "Max", "Avg", "Fields", "Format", "Includes", "Excludes", "As", "Today", "With",
            "Group", "Having", "Order", "Limit", "Offset", "For", "All", "Using", "Update", "By", "Asc",
            "Desc", "Nulls",
        ]
        .contains(&word.as_str())
    })
}

fn path() -> impl Strategy<Value = FieldPath> {
    prop::collection::vec(word(), 1..4).prop_map(|parts| FieldPath { parts, at: 0 })
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(Literal::Int),
        (-1.0e9..1.0e9f64).prop_map(Literal::Decimal),
        "\\PC{0,12}|['\\\\\n\r\t%_]{0,6}".prop_map(Literal::Text),
        (1i16..28).prop_map(|day| Literal::Date(format!("2026-02-{day:02}"))),
        (0i64..4_000_000_000_000).prop_map(Literal::DateTime),
        Just(Literal::Relative { name: "LAST_MONTH".into(), count: None }),
        (1u32..400).prop_map(|n| Literal::Relative { name: "LAST_N_DAYS".into(), count: Some(n) }),
    ]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    prop::sample::select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
        Comparison::Like,
    ])
}

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        (path(), comparison(), literal()).prop_map(|(path, op, literal)| Condition::Compare {
            operand: Operand::Field(path),
            op,
            literal
        }),
        (path(), any::<bool>(), prop::collection::vec(literal(), 1..4))
            .prop_map(|(path, negated, list)| Condition::In { path, negated, list }),
        (path(), any::<bool>(), prop::collection::vec("[a-z;]{1,5}", 1..3))
            .prop_map(|(path, excludes, values)| Condition::Includes { path, excludes, values }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::Or),
            inner.prop_map(|one| Condition::Not(Box::new(one))),
        ]
    })
}

fn order() -> impl Strategy<Value = OrderBy> {
    (path(), any::<bool>(), any::<bool>()).prop_map(|(path, descending, nulls_last)| OrderBy {
        key: Operand::Field(path),
        descending,
        nulls_last,
    })
}

fn query() -> impl Strategy<Value = Query> {
    let item = prop_oneof![
        path().prop_map(|path| SelectItem::Field { path, alias: None }),
        (path(), prop::option::of(word()), prop::sample::select(Aggregate::ALL.to_vec())).prop_map(
            |(path, alias, (function, _))| SelectItem::Aggregate {
                call: AggregateCall { function, path },
                alias
            }
        ),
    ];
    (
        prop::collection::vec(item, 1..5),
        word(),
        prop::option::of(condition()),
        prop::collection::vec(path(), 0..3),
        prop::collection::vec(order(), 0..3),
        prop::option::of(0u64..100_000),
        prop::option::of(0u64..2_000),
    )
        .prop_map(|(select, from, filter, group_by, order_by, limit, offset)| Query {
            select,
            from: Name { text: from, at: 0 },
            alias: None,
            filter,
            with: None,
            group_by,
            having: None,
            order_by,
            limit,
            offset,
        })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back_the_same(query in query()) {
        let text = query.to_string();
        prop_assert_eq!(parse(&text).map_err(|error| TestCaseError::fail(format!("{text}\n{error}")))?, query);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,80}", tail in "(SELECT|FROM|WHERE|[A-Za-z']+|[0-9:T+-]+|[(),.=! ])*") {
        let _ = parse(&text);
        let _ = parse(&format!("SELECT Id FROM Lead WHERE {tail}"));
    }
}
