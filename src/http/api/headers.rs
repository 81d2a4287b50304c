//! What the headers of a request say, as pure decisions.

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// How an answer may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON document.
    Document,
    /// JSON lines.
    Lines,
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    Identity,
    /// gzip.
    Gzip,
}

/// The form that the client likes best; `None` when it takes neither. A problem document counts as one, for clients that
/// list only what they expect of a failure.
pub(super) fn form_of(accept: &[&str]) -> Option<Form> {
    if accept.iter().all(|line| line.trim().is_empty()) {
        return Some(Form::Document);
    }
    let (mut document, mut lines) = (Match::default(), Match::default());
    for range in accept.iter().flat_map(|line| line.split(',')) {
        let mut parts = range.split(';');
        let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let quality = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(1.0, |(_, value)| value.trim().parse::<f32>().unwrap_or(0.0));
        match kind.as_str() {
            "*/*" => {
                document.take(1, quality);
                lines.take(1, quality);
            }
            "application/*" => {
                document.take(2, quality);
                lines.take(2, quality);
            }
            "application/json" => document.take(3, quality),
            "application/problem+json" if document.exactness < 3 => document.take(2, quality),
            "application/x-ndjson" => lines.take(3, quality),
            _ => {}
        }
    }
    match (document.quality > 0.0, lines.quality > 0.0) {
        // Lines are for those who name them.
        (_, true) if lines.exactness == 3 && lines.quality > document.quality => Some(Form::Lines),
        (true, true) if lines.exactness == 3 && document.exactness < 3 => Some(Form::Lines),
        (true, _) => Some(Form::Document),
        (false, true) => Some(Form::Lines),
        (false, false) => None,
    }
}

/// The most exact range that covers a form decides about it.
#[derive(Default)]
struct Match {
    exactness: u8,
    quality: f32,
}

impl Match {
    fn take(&mut self, exactness: u8, quality: f32) {
        if exactness > self.exactness || (exactness == self.exactness && quality > self.quality) {
            (self.exactness, self.quality) = (exactness, quality);
        }
    }
}

/// Whether a body is JSON in UTF-8, by its `Content-Type`.
pub(super) fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return false };
    let mut parts = content_type.split(';');
    let kind = parts.next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
        && parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
            let value = value.trim().trim_matches('"');
            !name.trim().eq_ignore_ascii_case("charset")
                || value.eq_ignore_ascii_case("utf-8")
                || value.eq_ignore_ascii_case("utf8")
        })
}

/// How a body is packed, by its `Content-Encoding`; `None`: in a way that is not taken.
pub(super) fn packing_of(content_encoding: &[&str]) -> Option<Packing> {
    match content_encoding {
        [] => Some(Packing::Identity),
        [one] => match one.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Packing::Identity),
            "gzip" | "x-gzip" => Some(Packing::Gzip),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a text may be an idempotency key: 1 to 255 visible ASCII characters.
pub(crate) fn is_idempotency_key(key: &[u8]) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

/// Whether a text is a W3C trace context that can be passed on; anything else is as if it had not been sent.
pub(super) fn is_trace_parent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_set = |part: &str| part.bytes().any(|byte| byte != b'0');
    match parts[..] {
        [version, trace, parent, flags, ..] => {
            hex(version, 2)
                && version != "ff"
                && (version != "00" || parts.len() == 4)
                && hex(trace, 32)
                && is_set(trace)
                && hex(parent, 16)
                && is_set(parent)
                && hex(flags, 2)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing(&[], Some(Form::Document))]
    #[case::empty(&[""], Some(Form::Document))]
    #[case::anything(&["*/*"], Some(Form::Document))]
    #[case::json(&["application/json"], Some(Form::Document))]
    #[case::json_with_a_charset(&["application/json; charset=utf-8"], Some(Form::Document))]
    #[case::a_browser(&["text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"], Some(Form::Document))]
    #[case::problems(&["application/problem+json"], Some(Form::Document))]
    #[case::lines(&["application/x-ndjson"], Some(Form::Lines))]
    #[case::lines_in_capitals(&["Application/X-NDJSON"], Some(Form::Lines))]
    #[case::lines_first(&["application/x-ndjson, application/json;q=0.5"], Some(Form::Lines))]
    #[case::lines_before_anything(&["application/x-ndjson, */*"], Some(Form::Lines))]
    #[case::json_first(&["application/json", "application/x-ndjson;q=0.5"], Some(Form::Document))]
    #[case::both_alike(&["application/x-ndjson, application/json"], Some(Form::Document))]
    #[case::not_json(&["application/json;q=0, */*"], Some(Form::Lines))]
    #[case::text(&["text/plain"], None)]
    #[case::refused(&["application/json;q=0"], None)]
    #[case::no_number(&["application/json;q=x"], None)]
    fn the_form_follows_accept(#[case] accept: &[&str], #[case] form: Option<Form>) {
        assert_eq!(form_of(accept), form);
    }

    #[rstest]
    #[case::plain(Some("application/json"), true)]
    #[case::utf_8(Some("application/json; charset=UTF-8"), true)]
    #[case::quoted(Some("application/json;charset=\"utf-8\""), true)]
    #[case::capitals(Some("Application/JSON"), true)]
    #[case::latin(Some("application/json; charset=iso-8859-1"), false)]
    #[case::text(Some("text/plain"), false)]
    #[case::form(Some("application/x-www-form-urlencoded"), false)]
    #[case::like_json(Some("application/jsonl"), false)]
    #[case::none(None, false)]
    fn only_json_in_utf_8_is_taken(#[case] content_type: Option<&str>, #[case] taken: bool) {
        assert_eq!(is_json(content_type), taken);
    }

    #[rstest]
    #[case::none(&[], Some(Packing::Identity))]
    #[case::identity(&["identity"], Some(Packing::Identity))]
    #[case::gzip(&[" GZip "], Some(Packing::Gzip))]
    #[case::twice(&["gzip", "gzip"], None)]
    #[case::listed_twice(&["gzip, gzip"], None)]
    #[case::deflate(&["deflate"], None)]
    #[case::brotli(&["br"], None)]
    fn a_body_is_packed_once_or_not_at_all(#[case] encoding: &[&str], #[case] packing: Option<Packing>) {
        assert_eq!(packing_of(encoding), packing);
    }

    #[rstest]
    #[case::short("k", true)]
    #[case::uuid("0f8fad5b-d9cb-469f-a165-70867728950e", true)]
    #[case::longest(&"k".repeat(255), true)]
    #[case::too_long(&"k".repeat(256), false)]
    #[case::empty("", false)]
    #[case::space("a b", false)]
    #[case::tab("a\tb", false)]
    #[case::beyond_ascii("schlüssel", false)]
    fn an_idempotency_key_is_visible_ascii(#[case] key: &str, #[case] taken: bool) {
        assert_eq!(is_idempotency_key(key.as_bytes()), taken);
    }

    #[rstest]
    #[case::good("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true)]
    #[case::later("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true)]
    #[case::too_many_parts("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false)]
    #[case::no_trace("00-00000000000000000000000000000000-b7ad6b7169203331-01", false)]
    #[case::no_parent("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false)]
    #[case::capitals("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false)]
    #[case::no_version("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false)]
    #[case::text("hello", false)]
    fn a_trace_context_is_passed_on_when_it_is_one(#[case] text: &str, #[case] taken: bool) {
        assert_eq!(is_trace_parent(text), taken);
    }
}
