//! What is known of the world without asking anybody: countries, states, sectors, and what people write where they have
//! nothing to say.

mod countries;
mod states;

use countries::COUNTRIES;
use states::STATES;

use super::size::Market;
use super::text::{Folded, by_first_byte};

/// Industries of a fresh org, folded. Sorted.
const SECTORS: [&str; 32] = [
    "agriculture",
    "apparel",
    "banking",
    "biotechnology",
    "chemicals",
    "communications",
    "construction",
    "consulting",
    "education",
    "electronics",
    "energy",
    "engineering",
    "entertainment",
    "environmental",
    "finance",
    "food and beverage",
    "government",
    "healthcare",
    "hospitality",
    "insurance",
    "machinery",
    "manufacturing",
    "media",
    "not for profit",
    "other",
    "recreation",
    "retail",
    "shipping",
    "technology",
    "telecommunications",
    "transportation",
    "utilities",
];

/// What stands in a mandatory field where nothing is known, folded. Sorted.
const PLACEHOLDERS: [&str; 38] = [
    "a",
    "aaa",
    "anonymous",
    "asd",
    "asdf",
    "asdfasdf",
    "blank",
    "demo",
    "do not call",
    "dummy",
    "example",
    "fake",
    "first name",
    "firstname",
    "last name",
    "lastname",
    "n a",
    "na",
    "name",
    "nil",
    "no name",
    "noname",
    "none",
    "not applicable",
    "not available",
    "not known",
    "not provided",
    "nothing",
    "null",
    "qwerty",
    "tba",
    "tbd",
    "test",
    "test test",
    "testing",
    "unknown",
    "x",
    "xx",
];

/// What stands for a company of which there is none; a person may be called so. Folded, sorted.
const NO_COMPANIES: [&str; 20] = [
    "company",
    "company name",
    "companyname",
    "freelance",
    "freelancer",
    "home",
    "independent",
    "individual",
    "me",
    "my company",
    "myself",
    "no company",
    "personal",
    "private",
    "retired",
    "self",
    "self employed",
    "selfemployed",
    "student",
    "unemployed",
];

/// Code of a country, two letters; `None` for what is none.
pub fn country(text: &str) -> Option<&'static str> {
    let folded = Folded::of(text);
    let name = folded.as_str();
    let name = name.strip_prefix("the ").unwrap_or(name);
    let at = COUNTRIES.binary_search_by(|(spelling, _)| by_first_byte(spelling, name)).ok()?;
    Some(COUNTRIES[at].1)
}

/// Code of a state: of this country, or where the country is not known, of any whose states are known.
pub fn state(text: &str, country: Option<&str>) -> Option<&'static str> {
    let folded = Folded::of(text);
    let name = folded.as_str();
    let first = STATES.partition_point(|(spelling, _, _)| *spelling < name);
    STATES[first..]
        .iter()
        .take_while(|(spelling, _, _)| *spelling == name)
        .find(|(_, its_country, _)| country.is_none_or(|country| country == *its_country))
        .map(|(_, _, state)| *state)
}

/// Whether it is one of the industries that every org begins with.
pub fn is_sector(text: &str) -> bool {
    let folded = Folded::of(text);
    SECTORS.binary_search(&folded.as_str()).is_ok()
}

/// Whether it stands for nothing: `n/a`, `Test`, `[not provided]`, `xxxx`, `---`.
pub fn is_placeholder(text: &str) -> bool {
    stands_for_nothing(Folded::of(text).as_str())
}

/// Whether it stands for no company: a placeholder, or `self-employed`.
pub fn is_no_company(text: &str) -> bool {
    company(text).is_none()
}

/// A company's name as it is compared; `None` where it stands for none.
pub(super) fn company(text: &str) -> Option<Folded> {
    let folded = Folded::of(text);
    let name = folded.as_str();
    (NO_COMPANIES.binary_search(&name).is_err() && !stands_for_nothing(name)).then_some(folded)
}

fn stands_for_nothing(folded: &str) -> bool {
    PLACEHOLDERS.binary_search_by(|known| by_first_byte(known, folded)).is_ok()
        || is_one_letter_again_and_again(folded)
}

fn is_one_letter_again_and_again(text: &str) -> bool {
    let mut letters = text.chars().filter(|c| *c != ' ');
    let Some(first) = letters.next() else { return true };
    // Two may be a name: `Oo` is one.
    letters.clone().count() >= 2 && letters.all(|letter| letter == first)
}

/// Market that a country belongs to.
pub fn market(country: Option<&str>) -> Market {
    match country {
        Some("US" | "CA") => Market::NorthAmerica,
        _ => Market::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn every_list_is_sorted_and_written_as_it_is_compared() {
        assert!(COUNTRIES.is_sorted_by(|one, next| one.0 < next.0));
        assert!(STATES.is_sorted_by(|one, next| (one.0, one.1) < (next.0, next.1)));
        assert!(SECTORS.is_sorted_by(|one, next| one < next));
        assert!(PLACEHOLDERS.is_sorted_by(|one, next| one < next));
        assert!(NO_COMPANIES.is_sorted_by(|one, next| one < next));
        let spellings = COUNTRIES.iter().map(|(spelling, _)| spelling);
        let states = STATES.iter().map(|(spelling, ..)| spelling);
        for spelling in spellings.chain(states).chain(&SECTORS).chain(&PLACEHOLDERS).chain(&NO_COMPANIES) {
            assert_eq!(Folded::of(spelling).as_str(), *spelling);
        }
    }

    #[test]
    fn every_code_of_a_country_is_a_spelling_of_it() {
        let mut codes: Vec<&str> = COUNTRIES.iter().map(|(_, code)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 250, "249 of ISO 3166, and Kosovo");
        assert!(codes.iter().all(|code| country(code) == Some(code)));
    }

    #[rstest]
    #[case("Germany", Some("DE"))]
    #[case("DEUTSCHLAND", Some("DE"))]
    #[case("deu", Some("DE"))]
    #[case("U.S.A.", Some("US"))]
    #[case("The United States of America", Some("US"))]
    #[case("U.K.", Some("GB"))]
    #[case("Österreich", Some("AT"))]
    #[case("Oesterreich", Some("AT"))]
    #[case("Côte d’Ivoire", Some("CI"))]
    #[case("Korea, Republic of", Some("KR"))]
    #[case("Bosnia & Herzegovina", Some("BA"))]
    #[case("The Netherlands", Some("NL"))]
    #[case("Atlantis", None)]
    #[case("", None)]
    fn a_country_is_known_by_its_usual_spellings(#[case] text: &str, #[case] code: Option<&str>) {
        assert_eq!(country(text), code);
    }

    #[rstest]
    #[case("California", Some("US"), Some("CA"))]
    #[case("ca", Some("US"), Some("CA"))]
    #[case("Washington, D.C.", Some("US"), Some("DC"))]
    #[case("WA", Some("AU"), Some("WA"))]
    #[case("Québec", Some("CA"), Some("QC"))]
    #[case("NSW", None, Some("NSW"))]
    #[case("Bavaria", Some("DE"), None)]
    #[case("California", Some("CA"), None)]
    #[case("Georgia", None, Some("GA"))]
    fn a_state_is_known_in_its_country(
        #[case] text: &str,
        #[case] country: Option<&str>,
        #[case] code: Option<&str>,
    ) {
        assert_eq!(state(text, country), code);
    }

    #[rstest]
    #[case("Food & Beverage", true)]
    #[case("not for profit", true)]
    #[case("Not-For-Profit", true)]
    #[case("Basket weaving", false)]
    fn the_industries_of_a_fresh_org_are_known(#[case] text: &str, #[case] known: bool) {
        assert_eq!(is_sector(text), known);
    }

    #[rstest]
    #[case("N/A", true)]
    #[case("[[Unknown]]", true)]
    #[case("---", true)]
    #[case("xxxx", true)]
    #[case("Test", true)]
    #[case("Testo", false)]
    #[case("3M", false)]
    #[case("HP", false)]
    #[case("Li", false)]
    #[case("王", false)]
    fn placeholders_are_seen_through(#[case] text: &str, #[case] placeholder: bool) {
        assert_eq!(is_placeholder(text), placeholder);
    }

    #[rstest]
    #[case("Self-Employed", true)]
    #[case("n/a", true)]
    #[case("Self & Sons", false)]
    #[case("Homebase", false)]
    fn who_works_for_nobody_names_no_company(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_no_company(text), expected);
        assert!(!is_placeholder("Self"), "a family name");
    }
}
