//! Columns made ready for scans of millions of rows: what follows from names alone is worked out once, and a cell
//! is written from its row's number straight into the buffer.
//!
//! Promises: a writer writes exactly what [`SeededRows::value`](super::SeededRows::value) says (a test holds the two against each other over
//! every field of the org). A field whose rule is not known here has no writer and goes the long way.

mod recipes;

use super::{
    DAY_MS, FIRST_CREATION_MS, LAST_CHANGE_MS,
    words::{self, pick},
};
use crate::{
    catalog::{ids, random::mix},
    model::Field,
    rows_api::CellWriter,
};

/// Numbers below this, times a power of ten, print the same as whole numbers with a point put in.
const MOST_EXACT: f64 = 1e15;

/// The numbers that decide one thing about each row.
#[derive(Clone, Copy)]
struct Dice {
    object: u64,
    subject: u64,
}

impl Dice {
    fn at(self, index: u64) -> u64 {
        mix(self.object ^ mix(index ^ self.subject))
    }
}

/// When rows are made and changed.
#[derive(Clone, Copy)]
struct Ages {
    rows: u64,
    created: Dice,
    modified: Dice,
}

impl Ages {
    fn created_ms(self, index: u64) -> u64 {
        const SPAN: u64 = LAST_CHANGE_MS - FIRST_CREATION_MS - 30 * DAY_MS;
        let step = match SPAN.checked_mul(index) {
            Some(whole) => whole / self.rows,
            None => {
                u64::try_from(u128::from(SPAN) * u128::from(index) / u128::from(self.rows)).unwrap_or(SPAN)
            }
        };
        FIRST_CREATION_MS + step.min(SPAN) + self.created.at(index) % 3_600_000
    }

    fn modified_ms(self, index: u64) -> u64 {
        let created = self.created_ms(index);
        let room = LAST_CHANGE_MS - created;
        let dice = self.modified.at(index);
        let reach = if dice.is_multiple_of(10) { room } else { room.min(45 * DAY_MS) };
        created + (dice >> 8) % reach.max(1)
    }
}

/// Ids by number.
struct Ids {
    prefix: [u8; 6],
    first: u64,
}

impl Ids {
    fn push(&self, index: u64, out: &mut Vec<u8>) {
        let mut id = [b'0'; 18];
        id[..6].copy_from_slice(&self.prefix);
        ids::push_number(&mut id, self.first + index);
        out.extend_from_slice(&id);
    }
}

/// Texts to choose from, quotes already doubled.
type Pool = Vec<Box<[u8]>>;

/// Where a reference may point.
enum Target {
    Stored(Pool),
    Computed { ids: Ids, rows: u64 },
}

/// What the person behind a row is called, and where they work.
#[derive(Clone, Copy)]
struct Persona {
    person: Dice,
    company: Dice,
}

impl Persona {
    fn push_name(self, index: u64, out: &mut Vec<u8>) {
        let dice = self.person.at(index);
        lower(pick(words::FIRST_NAMES, dice), out);
        out.push(b'.');
        lower(pick(words::LAST_NAMES, dice >> 16), out);
    }

    fn push_domain(self, index: u64, out: &mut Vec<u8>) {
        let dice = self.company.at(index);
        lower(pick(words::COMPANY_STEMS, dice), out);
        lower(pick(words::COMPANY_TRADES, dice >> 16), out);
        out.extend_from_slice(b".example");
    }

    fn push_company(self, index: u64, out: &mut Vec<u8>) {
        let dice = self.company.at(index);
        out.extend_from_slice(pick(words::COMPANY_STEMS, dice).as_bytes());
        out.push(b' ');
        out.extend_from_slice(pick(words::COMPANY_TRADES, dice >> 16).as_bytes());
    }
}

/// How a cell's text comes about once it is known not to be null.
enum Recipe {
    Nothing,
    Constant(&'static [u8]),
    Stored(Pool),
    Id(Ids),
    Created(Ages),
    Modified(Ages),
    /// True unless the number is a multiple of this.
    Active(u64),
    Chance(u64),
    RecordType {
        pool: Pool,
        dice: Dice,
    },
    /// True when the other column's text is one of these, or begins with it.
    Follows {
        other: Box<Cells>,
        exact: &'static [&'static [u8]],
        begins: Option<&'static [u8]>,
    },
    Reference {
        targets: Vec<Target>,
        user: Option<usize>,
    },
    Favoured(Pool),
    Several(Pool),
    Number {
        field: NumberRule,
        whole: bool,
    },
    Day {
        ages: Ages,
        soonest: u64,
        reach: u64,
    },
    Moment(Ages),
    Username(Persona),
    Email(Persona),
    Phone,
    Url(Persona),
    AutoNumber(Box<[u8]>),
    FirstName(Dice),
    LastName(Dice),
    FullName(Dice),
    Company(Persona),
    Alias(Dice),
    StemThen(Box<[u8]>),
    Picked(Pool),
    Street,
    PlacePart {
        dice: Dice,
        part: fn(&(&'static str, &'static str, &'static str)) -> &'static str,
    },
    Postal(Dice),
    External(Box<[u8]>),
    Sentences,
    Code,
}

/// The writer of one column.
struct Cells {
    dice: Dice,
    /// Of a hundred rows so many have no value.
    null_percent: u64,
    /// No value unless the other column's text is this.
    only_when: Option<(Box<Cells>, &'static [u8])>,
    /// Longest text, in characters, for what is put together from parts.
    limit: usize,
    recipe: Recipe,
}

impl CellWriter for Cells {
    fn push(&self, index: u64, out: &mut Vec<u8>) {
        if let Some((other, wanted)) = &self.only_when
            && !other.says(index, out, |text| text == *wanted)
        {
            return;
        }
        let dice = self.dice.at(index);
        if dice % 100 >= self.null_percent {
            self.push_value(index, dice, out);
        }
    }
}

impl Cells {
    /// Asks a question about this column's text; the buffer is left as it was.
    fn says(&self, index: u64, out: &mut Vec<u8>, question: impl Fn(&[u8]) -> bool) -> bool {
        let from = out.len();
        self.push(index, out);
        let answer = question(&out[from..]);
        out.truncate(from);
        answer
    }

    fn push_value(&self, index: u64, raw: u64, out: &mut Vec<u8>) {
        let from = out.len();
        let dice = mix(raw);
        match &self.recipe {
            Recipe::Nothing => {}
            Recipe::Constant(text) => out.extend_from_slice(text),
            Recipe::Stored(pool) => {
                let text = usize::try_from(index).ok().and_then(|at| pool.get(at));
                out.extend_from_slice(text.map_or(&[], |text| text));
            }
            Recipe::Id(ids) => ids.push(index, out),
            Recipe::Created(ages) => push_moment(ages.created_ms(index), out),
            Recipe::Modified(ages) => push_moment(ages.modified_ms(index), out),
            Recipe::Active(every) => push_bool(!raw.is_multiple_of(*every), out),
            Recipe::Chance(percent) => push_bool(dice % 100 < *percent, out),
            Recipe::RecordType { pool, dice } => push_of(pool, dice.at(index), out),
            Recipe::Follows { other, exact, begins } => {
                let follows = other.says(index, out, |text| {
                    exact.contains(&text) || begins.is_some_and(|start| text.starts_with(start))
                });
                push_bool(follows, out);
            }
            Recipe::Reference { targets, user } => {
                let preferred = user.filter(|_| !dice.is_multiple_of(12));
                let at = preferred.unwrap_or((dice >> 40) as usize % targets.len());
                match &targets[at] {
                    Target::Stored(pool) => push_of(pool, dice >> 8, out),
                    Target::Computed { ids, rows } => ids.push((dice >> 8) % rows, out),
                }
            }
            Recipe::Favoured(pool) => {
                let len = pool.len() as u64;
                let at = ((dice % len) * ((dice >> 20) % len + 1)) / len;
                out.extend_from_slice(&pool[at as usize]);
            }
            Recipe::Several(pool) => {
                for (_, value) in pool.iter().enumerate().filter(|(at, _)| dice >> at & 3 == 0) {
                    if out.len() > from {
                        out.push(b';');
                    }
                    out.extend_from_slice(value);
                }
                if out.len() == from {
                    out.extend_from_slice(&pool[0]);
                }
            }
            Recipe::Number { field, whole: false } => field.push(dice, out),
            Recipe::Number { field, whole: true } => push_signed(field.value(dice) as i64, out),
            Recipe::Day { ages, soonest, reach } => {
                push_day(ages.created_ms(index) / DAY_MS + soonest + dice % reach, out);
            }
            Recipe::Moment(ages) => push_moment(ages.created_ms(index) + dice % (20 * DAY_MS), out),
            other => {
                self.push_text(other, index, dice, out);
                // Parts are plain letters, so bytes are characters.
                out.truncate(out.len().min(from + self.limit));
            }
        }
    }

    fn push_text(&self, recipe: &Recipe, index: u64, dice: u64, out: &mut Vec<u8>) {
        let word = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
        match recipe {
            Recipe::Username(persona) => {
                persona.push_name(index, out);
                out.push(b'.');
                push_digits(index, 1, out);
                word(out, "@ridgeway.example");
            }
            Recipe::Email(persona) => {
                persona.push_name(index, out);
                out.push(b'@');
                persona.push_domain(index, out);
            }
            Recipe::Phone => {
                word(out, "+44 20 7946 ");
                push_digits(dice % 10_000, 4, out);
            }
            Recipe::Url(persona) => {
                word(out, "https://www.");
                persona.push_domain(index, out);
                out.push(b'/');
                push_digits(index % 1_000, 1, out);
            }
            Recipe::AutoNumber(prefix) => {
                out.extend_from_slice(prefix);
                out.push(b'-');
                push_digits(index + 1, 6, out);
            }
            Recipe::FirstName(person) => word(out, pick(words::FIRST_NAMES, person.at(index))),
            Recipe::LastName(person) => word(out, pick(words::LAST_NAMES, person.at(index) >> 16)),
            Recipe::FullName(person) => {
                let person = person.at(index);
                word(out, pick(words::FIRST_NAMES, person));
                out.push(b' ');
                word(out, pick(words::LAST_NAMES, person >> 16));
            }
            Recipe::Company(persona) => persona.push_company(index, out),
            Recipe::Alias(person) => {
                let last = pick(words::LAST_NAMES, person.at(index) >> 16);
                lower(&last[..last.len().min(8)], out);
            }
            Recipe::StemThen(label) => {
                word(out, pick(words::COMPANY_STEMS, dice));
                out.push(b' ');
                out.extend_from_slice(label);
            }
            Recipe::Picked(pool) => push_of(pool, dice, out),
            Recipe::Street => {
                push_digits(1 + dice % 240, 1, out);
                out.push(b' ');
                word(out, pick(words::STREETS, dice >> 12));
            }
            Recipe::PlacePart { dice, part } => word(out, part(&pick(words::PLACES, dice.at(index) >> 3))),
            Recipe::Postal(place) => {
                word(out, pick(words::PLACES, place.at(index) >> 3).2);
                push_digits(1 + dice % 20, 1, out);
                out.push(b' ');
                push_digits(dice % 9, 1, out);
                out.extend_from_slice(&[letter(dice >> 8), letter(dice >> 16)]);
            }
            Recipe::External(start) => {
                out.extend_from_slice(start);
                push_digits(index, 8, out);
            }
            Recipe::Sentences => {
                word(out, pick(words::SENTENCES, dice));
                out.push(b' ');
                word(out, pick(words::SENTENCES, dice >> 20));
            }
            Recipe::Code => {
                out.push(letter(dice));
                push_digits(dice % 9_999_999, 7, out);
            }
            _ => {}
        }
    }
}

/// What a field's numbers look like; see [`SeededRows::number`].
struct NumberRule {
    spread: Spread,
    largest: Option<f64>,
    unit: f64,
    decimals: usize,
}

enum Spread {
    Linear { from: f64, bound: f64 },
    Money,
    Squared,
}

impl NumberRule {
    fn of(field: &Field) -> Self {
        let name = field.name.as_str();
        let linear = |from, bound| Spread::Linear { from, bound };
        let spread = match field.field_type.as_str() {
            _ if name.contains("Latitude") => linear(50.0, 6.0),
            _ if name.contains("Longitude") => linear(-4.0, 12.0),
            "percent" => linear(0.0, 100.0),
            _ if name == "Probability" => linear(0.0, 100.0),
            "currency" => Spread::Money,
            _ if name.contains("Employees") => Spread::Squared,
            _ if name.contains("Year") => linear(1985.0, 41.0),
            _ => linear(0.0, 500.0),
        };
        let digits = field.precision.saturating_sub(field.scale).min(15);
        let decimals = field.scale.min(6);
        Self {
            spread,
            largest: (field.precision > 0).then(|| 10_f64.powi(digits as i32) - 1.0),
            unit: 10_f64.powi(decimals as i32),
            decimals: decimals as usize,
        }
    }

    /// The number as a count of its smallest unit.
    fn units(&self, dice: u64) -> f64 {
        let spread = (dice >> 8) % 10_000;
        let below = |bound: f64| bound * spread as f64 / 10_000.0;
        let raw = match self.spread {
            Spread::Linear { from, bound } => from + below(bound),
            Spread::Money => 50.0 * (1.0 + below(9.0)).powi(1 + (dice >> 50) as i32 % 5),
            Spread::Squared => 1.0 + below(60.0) * below(60.0),
        };
        let raw = self.largest.map_or(raw, |largest| raw.min(largest));
        (raw * self.unit).round()
    }

    fn value(&self, dice: u64) -> f64 {
        self.units(dice) / self.unit
    }

    fn push(&self, dice: u64, out: &mut Vec<u8>) {
        let units = self.units(dice);
        let value = units / self.unit;
        // Very small, or zero with a sign: numbers that are not written as digits around a point.
        let is_odd = value.abs() < 0.001 && (units != 0.0 || units.is_sign_negative());
        if units.abs() >= MOST_EXACT || is_odd {
            return crate::json::double(out, value);
        }
        if units < 0.0 {
            out.push(b'-');
        }
        let units = units.abs() as u64;
        if self.decimals == 0 {
            push_digits(units, 1, out);
            return out.extend_from_slice(b".0");
        }
        let unit = self.unit as u64;
        push_digits(units / unit, 1, out);
        out.push(b'.');
        push_digits(units % unit, self.decimals, out);
        // The shortest form: one digit after the point, more only where they say something.
        while out.ends_with(b"0") && !out.ends_with(b".0") {
            out.pop();
        }
    }
}

fn push_of(pool: &[Box<[u8]>], dice: u64, out: &mut Vec<u8>) {
    if !pool.is_empty() {
        out.extend_from_slice(&pool[dice as usize % pool.len()]);
    }
}

fn push_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn push_signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    push_digits(value.unsigned_abs(), 1, out);
}

/// Decimal, with zeros before it up to `width`.
fn push_digits(mut number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

fn push_day(days: u64, out: &mut Vec<u8>) {
    let (year, month, day) = super::civil(days);
    push_digits(year, 4, out);
    out.extend_from_slice(&[b'-', b'0' + (month / 10) as u8, b'0' + (month % 10) as u8]);
    out.extend_from_slice(&[b'-', b'0' + (day / 10) as u8, b'0' + (day % 10) as u8]);
}

/// `2026-01-02T03:04:05.000Z`.
fn push_moment(millis: u64, out: &mut Vec<u8>) {
    push_day(millis / DAY_MS, out);
    let rest = (millis % DAY_MS) as u32;
    let two = |number: u32| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
    let [h, hh] = two(rest / 3_600_000);
    let [m, mm] = two(rest / 60_000 % 60);
    let [s, ss] = two(rest / 1_000 % 60);
    let [t, tt] = two(rest % 1_000 / 10);
    let ttt = b'0' + (rest % 10) as u8;
    out.extend_from_slice(&[b'T', h, hh, b':', m, mm, b':', s, ss, b'.', t, tt, ttt, b'Z']);
}

fn letter(dice: u64) -> u8 {
    b'A' + (dice % 26) as u8
}

/// Lower case, without the blanks and ampersands that no address has.
fn lower(text: &str, out: &mut Vec<u8>) {
    out.extend(
        text.bytes().filter(|byte| !matches!(byte, b' ' | b'&')).map(|byte| byte.to_ascii_lowercase()),
    );
}

fn escaped(text: &str) -> Box<[u8]> {
    text.replace('"', "\"\"").into_bytes().into_boxed_slice()
}

fn pool<'a>(texts: impl IntoIterator<Item = &'a str>) -> Pool {
    texts.into_iter().map(escaped).collect()
}

/// Plain letters only: what is cut to length must be cut between characters and not within a doubled quote.
fn is_plain(text: &str) -> bool {
    text.is_ascii() && !text.contains('"')
}

#[cfg(test)]
mod tests {
    use super::NumberRule;
    use crate::{
        bulk::csv_text, catalog, model::OrgModel, rows::SeededRows, rows_api::RowSource, tables::kind_of,
    };
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static ORG: LazyLock<OrgModel> = LazyLock::new(|| catalog::build(7, &[]).unwrap());

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_writer_writes_what_the_value_says(seed in 0u64..4, dice: u64) {
            let rows = SeededRows::new(seed, &ORG);
            for object in ORG.objects.iter().filter(|object| object.record_count > 0) {
                for field in &object.fields {
                    let Some(writer) = rows.cell_writer(object, field) else { continue };
                    let last = object.record_count - 1;
                    for index in [0, last, dice % object.record_count, (dice >> 20) % object.record_count] {
                        let mut written = Vec::new();
                        writer.push(index, &mut written);
                        let value = rows.value(object, index, field);
                        prop_assert_eq!(
                            String::from_utf8(written).unwrap(),
                            csv_text(&value, kind_of(field)),
                            "{}.{} of row {}", &object.name, &field.name, index
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn every_number_that_a_coordinate_may_be_is_written_as_its_value_is() {
        let fields = ORG.objects.iter().flat_map(|object| &object.fields);
        let longitude = fields.into_iter().find(|field| field.name.contains("Longitude") && field.scale > 3);
        let rule = NumberRule::of(longitude.unwrap());
        for spread in 0..10_000 {
            let dice = spread << 8;
            let (mut written, mut expected) = (Vec::new(), Vec::new());
            rule.push(dice, &mut written);
            crate::json::double(&mut expected, rule.value(dice));
            assert_eq!(String::from_utf8(written), String::from_utf8(expected));
        }
    }

    #[test]
    fn every_field_of_the_built_in_org_has_a_writer() {
        let rows = SeededRows::new(7, &ORG);
        let fields =
            ORG.objects.iter().flat_map(|object| object.fields.iter().map(move |field| (object, field)));
        let slow: Vec<String> = fields
            .filter(|(object, field)| rows.cell_writer(object, field).is_none())
            .map(|(object, field)| format!("{}.{}", object.name, field.name))
            .collect();
        assert_eq!(slow, Vec::<String>::new());
    }
}
