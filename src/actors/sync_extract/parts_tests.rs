use rstest::rstest;

use super::*;

#[rstest]
#[case("1.005", 2, "1.01")]
#[case("1.004", 2, "1")]
#[case("-1.005", 2, "-1.01")]
#[case("-0.004", 2, "0")]
#[case("9.999", 2, "10")]
#[case("99.5", 0, "100")]
#[case("0.5", 0, "1")]
#[case("0.45", 1, "0.5")]
#[case("12.3456789", 4, "12.3457")]
#[case("12.30", 4, "12.30")]
#[case("7", 2, "7")]
#[case("0.049999999999999999999999", 1, "0")]
#[case("123456789012345678901234567890.15", 1, "123456789012345678901234567890.2")]
fn a_number_is_rounded_as_engines_do(#[case] number: &str, #[case] behind: usize, #[case] expected: &str) {
    assert_eq!(rounded(number, behind), expected);
}
