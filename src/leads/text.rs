//! Text as it is compared: without case, accents and punctuation, on the stack.

/// Longest text that is compared, in bytes; what follows is left out.
const BYTES: usize = 96;

/// A text brought to the form in which it is compared: lower case, Latin letters without accents, words of letters and
/// digits with one blank between. `U.S.A.` is `usa`, `Côte d'Ivoire` is `cote divoire`, `AT&T` is `at and t`.
pub(super) struct Folded {
    bytes: [u8; BYTES],
    length: usize,
}

impl Folded {
    /// Brings a text to it.
    pub fn of(text: &str) -> Self {
        let mut folded = Self { bytes: [0; BYTES], length: 0 };
        let mut gap = false;
        for character in text.chars() {
            if character.is_ascii_alphanumeric() {
                folded.push_after(&mut gap, &[character.to_ascii_lowercase() as u8]);
                continue;
            }
            match character {
                // Part of a word, and not written by everybody.
                '\'' | '\u{2019}' | '`' | '.' => {}
                '&' | '+' => {
                    gap = true;
                    folded.push_after(&mut gap, b"and");
                    gap = true;
                }
                _ if character.is_ascii() => gap = true,
                _ if character.is_alphanumeric() => {
                    for lower in character.to_lowercase() {
                        let mut buffer = [0; 4];
                        let plain = match without_accent(lower) {
                            "" => lower.encode_utf8(&mut buffer).as_bytes(),
                            plain => plain.as_bytes(),
                        };
                        folded.push_after(&mut gap, plain);
                    }
                }
                // A combining accent, as some systems write them.
                '\u{300}'..='\u{36f}' => {}
                _ => gap = true,
            }
        }
        folded
    }

    fn push_after(&mut self, gap: &mut bool, bytes: &[u8]) {
        let blank = usize::from(*gap && self.length > 0);
        let end = self.length + blank + bytes.len();
        if end > BYTES {
            return;
        }
        if blank == 1 {
            self.bytes[self.length] = b' ';
        }
        self.bytes[self.length + blank..end].copy_from_slice(bytes);
        self.length = end;
        *gap = false;
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Whole characters are put in, or none.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// The same without blanks.
    pub fn squeezed(&self) -> Self {
        let mut squeezed = Self { bytes: [0; BYTES], length: 0 };
        for word in self.as_str().split(' ') {
            squeezed.push_after(&mut false, word.as_bytes());
        }
        squeezed
    }

    /// First letters of its words, up to eight.
    pub fn initials(&self) -> Self {
        let mut initials = Self { bytes: [0; BYTES], length: 0 };
        for word in self.as_str().split(' ').take(8) {
            if let Some(first) = word.chars().next().filter(char::is_ascii) {
                initials.push_after(&mut false, &[first as u8]);
            }
        }
        initials
    }

    /// Without words at the end, and one `the` in front, that tell one company from another nowhere.
    pub fn company_core(mut self) -> Self {
        if self.as_str().starts_with("the ") {
            self.bytes.copy_within(4..self.length, 0);
            self.length -= 4;
        }
        while let Some((before, last)) = self.as_str().rsplit_once(' ') {
            if LEGAL_FORMS.binary_search(&last).is_err() {
                break;
            }
            self.length = before.len();
        }
        self
    }
}

/// Words at the end of a company's name that say what it is in law, or what every company is. Sorted.
const LEGAL_FORMS: [&str; 58] = [
    "ab",
    "ag",
    "and",
    "as",
    "asa",
    "bv",
    "bvba",
    "co",
    "company",
    "corp",
    "corporation",
    "de",
    "doo",
    "eg",
    "ev",
    "gbr",
    "gesellschaft",
    "gmbh",
    "group",
    "gruppe",
    "holding",
    "holdings",
    "inc",
    "incorporated",
    "international",
    "intl",
    "kft",
    "kg",
    "kgaa",
    "kk",
    "limited",
    "llc",
    "llp",
    "lp",
    "ltd",
    "ltda",
    "mbh",
    "nv",
    "og",
    "ohg",
    "oy",
    "oyj",
    "plc",
    "pte",
    "pty",
    "pvt",
    "sa",
    "sarl",
    "sas",
    "sl",
    "slu",
    "sp",
    "spa",
    "srl",
    "sro",
    "ug",
    "ulc",
    "zoo",
];

/// A Latin letter in lower case as it is typed where there are no accents; empty: it stays as it is.
fn without_accent(letter: char) -> &'static str {
    match letter {
        'à'..='å' | 'ā' | 'ă' | 'ą' | 'ǎ' | 'ạ' | 'ả' | 'ấ' | 'ầ' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' | 'ế' | 'ệ' => "e",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => "g",
        'ĥ' | 'ħ' => "h",
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => "i",
        'ĵ' => "j",
        'ķ' => "k",
        'ĺ' | 'ļ' | 'ľ' | 'ŀ' | 'ł' => "l",
        'ñ' | 'ń' | 'ņ' | 'ň' => "n",
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' | 'ơ' | 'ộ' => "o",
        'œ' => "oe",
        'ŕ' | 'ŗ' | 'ř' => "r",
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => "s",
        'ß' => "ss",
        'ţ' | 'ť' | 'ŧ' | 'ț' => "t",
        'þ' => "th",
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' | 'ư' => "u",
        'ŵ' => "w",
        'ý' | 'ÿ' | 'ŷ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        _ => "",
    }
}

/// The order of bytes, with the first one compared in place: half of a binary search then needs no call to compare the rest.
pub(super) fn by_first_byte(one: &str, other: &str) -> std::cmp::Ordering {
    one.as_bytes().first().cmp(&other.as_bytes().first()).then_with(|| one.cmp(other))
}

/// How alike two texts are, 0 to 1: twice the pairs of neighbouring bytes that they share, by the pairs that they have.
pub(super) fn likeness(one: &str, other: &str) -> f64 {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one == other {
        return if one.is_empty() { 0.0 } else { 1.0 };
    }
    if one.len() < 2 || other.len() < 2 {
        return 0.0;
    }
    let mut taken = [0u64; BYTES.div_ceil(64)];
    let mut shared = 0;
    for pair in one.windows(2) {
        let free = |&at: &usize| taken[at / 64] & (1 << (at % 64)) == 0;
        let hit = other.windows(2).take(BYTES).enumerate().filter(|(_, its)| *its == pair).map(|(at, _)| at);
        if let Some(at) = hit.into_iter().find(free) {
            taken[at / 64] |= 1 << (at % 64);
            shared += 1;
        }
    }
    2.0 * f64::from(shared) / (one.len() + other.len() - 2) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("  ACME,  Inc. ", "acme inc")]
    #[case("U.S.A.", "usa")]
    #[case("Côte d'Ivoire", "cote divoire")]
    #[case("Cote\u{302} d\u{2019}Ivoire", "cote divoire")]
    #[case("AT&T", "at and t")]
    #[case("Straße", "strasse")]
    #[case("ŁÓDŹ", "lodz")]
    #[case("日本 電気", "日本 電気")]
    #[case("---", "")]
    fn texts_are_compared_without_case_accents_and_punctuation(#[case] text: &str, #[case] folded: &str) {
        assert_eq!(Folded::of(text).as_str(), folded);
    }

    #[rstest]
    #[case("Acme Holdings Co., Ltd.", "acme")]
    #[case("The Acme Company", "acme")]
    #[case("Müller & Söhne GmbH & Co. KG", "muller and sohne")]
    #[case("Group", "group")]
    #[case("Inc Plumbing", "inc plumbing")]
    fn a_company_is_known_without_its_legal_form(#[case] name: &str, #[case] core: &str) {
        assert_eq!(Folded::of(name).company_core().as_str(), core);
    }

    #[test]
    fn the_legal_forms_are_sorted() {
        assert!(LEGAL_FORMS.is_sorted_by(|one, next| one < next));
    }

    #[rstest]
    #[case("acme", "acme", 1.0)]
    #[case("night", "nacht", 0.25)]
    #[case("aaaa", "aa", 0.5)]
    #[case("a", "ab", 0.0)]
    #[case("", "", 0.0)]
    fn likeness_counts_shared_pairs(#[case] one: &str, #[case] other: &str, #[case] expected: f64) {
        assert_eq!(likeness(one, other), expected);
        assert_eq!(likeness(other, one), expected);
    }

    proptest! {
        #[test]
        fn any_text_folds_to_words_with_one_blank_between(text in "\\PC{0,120}") {
            let folded = Folded::of(&text);
            let words = folded.as_str();
            prop_assert!(words.is_empty() || words.split(' ').all(|word| !word.is_empty()), "{words:?}");
            let again = Folded::of(words);
            prop_assert_eq!(again.as_str(), words);
            let squeezed = folded.squeezed();
            prop_assert!((0.0..=1.0).contains(&likeness(words, squeezed.as_str())));
        }
    }
}
