//! How large a company is: employees, ranges of them as people write them, and the segment that sales puts it in.

/// Segments of the market, the smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Small office, home office.
    Soho,
    /// Small business.
    SmallBusiness,
    /// Middle of the market; only in the United States and Canada.
    MidMarket,
    /// Large.
    Majors,
    /// The largest.
    Enterprise,
}

/// From how many employees on a company is in which segment, in the United States and Canada.
const NORTH_AMERICA: &[(i64, Segment)] = &[
    (0, Segment::Soho),
    (20, Segment::SmallBusiness),
    (100, Segment::MidMarket),
    (400, Segment::Majors),
    (5_000, Segment::Enterprise),
];
/// Elsewhere.
const ELSEWHERE: &[(i64, Segment)] =
    &[(0, Segment::Soho), (20, Segment::SmallBusiness), (100, Segment::Majors), (5_000, Segment::Enterprise)];

/// Which table of segments holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Market {
    /// The United States and Canada.
    NorthAmerica,
    /// Everywhere else, and where nobody knows.
    Elsewhere,
}

impl Market {
    fn table(self) -> &'static [(i64, Segment)] {
        match self {
            Self::NorthAmerica => NORTH_AMERICA,
            Self::Elsewhere => ELSEWHERE,
        }
    }

    /// Segment of a company with so many employees.
    pub fn segment(self, employees: i64) -> Segment {
        self.table()
            .iter()
            .rev()
            .find(|(from, _)| employees >= *from)
            .map_or(Segment::Soho, |(_, segment)| *segment)
    }

    /// How many steps of this market's table lie between two segments.
    pub fn steps(self, one: Segment, other: Segment) -> usize {
        // A segment that this market does not have counts as the next larger one.
        let place = |segment| self.table().iter().position(|(_, its)| *its >= segment).unwrap_or_default();
        place(one).abs_diff(place(other))
    }
}

impl Segment {
    /// Reads a segment's name as orgs write it: `SOHO`, `Small Business - EMEA`, `Mid-Market`.
    pub fn read(name: &str) -> Option<Self> {
        let has = |part: &str| contains_ignoring_case(name, part);
        if has("soho") || has("home office") {
            Some(Self::Soho)
        } else if has("small business") || has("smb") || has("small biz") {
            Some(Self::SmallBusiness)
        } else if has("mid market") || has("mid-market") || has("midmarket") || has("medium") {
            Some(Self::MidMarket)
        } else if has("majors") || has("major account") {
            Some(Self::Majors)
        } else if has("enterprise") {
            Some(Self::Enterprise)
        } else {
            None
        }
    }

    /// The name that a person knows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Soho => "SOHO",
            Self::SmallBusiness => "Small Business",
            Self::MidMarket => "Mid Market",
            Self::Majors => "Majors",
            Self::Enterprise => "Enterprise",
        }
    }
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// From so many employees to so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    /// The fewest.
    pub low: i64,
    /// The most; `None`: no bound.
    pub high: Option<i64>,
}

impl SizeRange {
    /// Reads a range or a number as people write it: `100-399`, `1,000 – 4,999`, `51 to 200 employees`, `5000+`, `10k-50k`,
    /// `< 20`, `250`.
    pub fn read(text: &str) -> Option<Self> {
        let mut numbers = [0i64; 2];
        let mut count = 0;
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let (number, after) = number(&rest[start..])?;
            *numbers.get_mut(count)? = number;
            count += 1;
            rest = after;
        }
        let text = text.trim();
        let has = |part: &str| contains_ignoring_case(text, part);
        match count {
            1 if text.starts_with('<') || has("less than") || has("up to") || has("under") => {
                Some(Self { low: 0, high: Some(numbers[0]) })
            }
            1 if rest.trim_start().starts_with('+')
                || text.starts_with('>')
                || has("more")
                || has("over")
                || has("above") =>
            {
                Some(Self { low: numbers[0], high: None })
            }
            1 if !text.starts_with('-') => Some(Self { low: numbers[0], high: Some(numbers[0]) }),
            2 if numbers[0] <= numbers[1] => Some(Self { low: numbers[0], high: Some(numbers[1]) }),
            _ => None,
        }
    }

    /// The one number that stands for it: the middle, rounded down; of a range without an end its beginning.
    pub fn middle(self) -> i64 {
        self.high.map_or(self.low, |high| self.low + (high - self.low) / 2)
    }

    /// How many segments lie between it and a number of employees; 0 when a part of the range is in the same one.
    pub fn steps_to(self, employees: i64, market: Market) -> usize {
        let segment = market.segment(employees);
        let low = market.segment(self.low);
        let high = self.high.map_or(Segment::Enterprise, |high| market.segment(high));
        if (low..=high).contains(&segment) {
            return 0;
        }
        market.steps(segment, low).min(market.steps(segment, high))
    }
}

/// A number at the start of a text, with its thousands marked or not, `k` and `m` behind it understood; and what follows.
fn number(text: &str) -> Option<(i64, &str)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    let mut value: i64 = text[..end].parse().ok()?;
    // Groups of exactly three after a comma, a dot, a blank or an apostrophe are thousands.
    while matches!(bytes.get(end), Some(b',' | b'.' | b' ' | b'\'')) && digits(end + 1) == 3 {
        value = value.checked_mul(1_000)?.checked_add(text[end + 1..end + 4].parse().ok()?)?;
        end += 4;
    }
    let mut tenths = 0;
    if bytes.get(end) == Some(&b'.') && digits(end + 1) == 1 {
        tenths = i64::from(bytes[end + 1] - b'0');
        end += 2;
    }
    let ends_here = |at: usize| !bytes.get(at).is_some_and(u8::is_ascii_alphabetic);
    let factor = match bytes.get(end) {
        Some(b'k' | b'K') if ends_here(end + 1) => 1_000,
        Some(b'm' | b'M') if ends_here(end + 1) => 1_000_000,
        _ => 1,
    };
    if factor > 1 {
        end += 1;
    }
    let value = value.checked_mul(factor)?.checked_add(tenths * factor / 10)?;
    Some((value, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(-1, Segment::Soho, Segment::Soho)]
    #[case(0, Segment::Soho, Segment::Soho)]
    #[case(19, Segment::Soho, Segment::Soho)]
    #[case(20, Segment::SmallBusiness, Segment::SmallBusiness)]
    #[case(99, Segment::SmallBusiness, Segment::SmallBusiness)]
    #[case(100, Segment::MidMarket, Segment::Majors)]
    #[case(399, Segment::MidMarket, Segment::Majors)]
    #[case(400, Segment::Majors, Segment::Majors)]
    #[case(4_999, Segment::Majors, Segment::Majors)]
    #[case(5_000, Segment::Enterprise, Segment::Enterprise)]
    fn employees_make_the_segment(
        #[case] employees: i64,
        #[case] north_america: Segment,
        #[case] elsewhere: Segment,
    ) {
        assert_eq!(Market::NorthAmerica.segment(employees), north_america);
        assert_eq!(Market::Elsewhere.segment(employees), elsewhere);
    }

    #[rstest]
    #[case("SOHO", Some(Segment::Soho))]
    #[case("Small Business - EMEA", Some(Segment::SmallBusiness))]
    #[case("mid-market", Some(Segment::MidMarket))]
    #[case("Majors", Some(Segment::Majors))]
    #[case("ENTERPRISE West", Some(Segment::Enterprise))]
    #[case("Public Sector", None)]
    fn a_segment_is_read_by_its_name(#[case] name: &str, #[case] segment: Option<Segment>) {
        assert_eq!(Segment::read(name), segment);
    }

    #[rstest]
    #[case("100-399", Some((100, Some(399))), 249)]
    #[case("1,000 – 4,999", Some((1_000, Some(4_999))), 2_999)]
    #[case("51 to 200 employees", Some((51, Some(200))), 125)]
    #[case("5000+", Some((5_000, None)), 5_000)]
    #[case("10k-50K", Some((10_000, Some(50_000))), 30_000)]
    #[case("1.5k", Some((1_500, Some(1_500))), 1_500)]
    #[case("1.500", Some((1_500, Some(1_500))), 1_500)]
    #[case("10 001", Some((10_001, Some(10_001))), 10_001)]
    #[case("< 20", Some((0, Some(20))), 10)]
    #[case("More than 5,000", Some((5_000, None)), 5_000)]
    #[case("250", Some((250, Some(250))), 250)]
    #[case("399-100", None, 0)]
    #[case("-5", None, 0)]
    #[case("1-2-3", None, 0)]
    #[case("many", None, 0)]
    #[case("99999999999999999999", None, 0)]
    fn a_range_is_read_as_people_write_it(
        #[case] text: &str,
        #[case] range: Option<(i64, Option<i64>)>,
        #[case] middle: i64,
    ) {
        let read = SizeRange::read(text);
        assert_eq!(read.map(|range| (range.low, range.high)), range);
        assert_eq!(read.map_or(0, SizeRange::middle), middle);
    }

    #[rstest]
    #[case::within("100-399", 250, Market::NorthAmerica, 0)]
    #[case::one_above("100-399", 400, Market::NorthAmerica, 1)]
    #[case::two_above("20-99", 400, Market::NorthAmerica, 2)]
    #[case::only_one_elsewhere("20-99", 400, Market::Elsewhere, 1)]
    #[case::two_below("5000+", 50, Market::Elsewhere, 2)]
    #[case::wide_range("1-5000", 50, Market::Elsewhere, 0)]
    fn a_mismatch_is_counted_in_segments(
        #[case] range: &str,
        #[case] employees: i64,
        #[case] market: Market,
        #[case] steps: usize,
    ) {
        assert_eq!(SizeRange::read(range).unwrap().steps_to(employees, market), steps);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_range_panic_or_turn_around(text in "\\PC{0,40}") {
            if let Some(SizeRange { low, high: Some(high) }) = SizeRange::read(&text) {
                prop_assert!(low <= high);
            }
        }
    }
}
