//! The place of a request in a trace (W3C Trace Context): taken from its `traceparent`, and handed on to other services.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-<trace id>-<parent id>-<flags>`: what later versions begin with too, so that they can be read like this one.
const LENGTH: usize = 55;
/// The one flag of which this version says what it means.
const SAMPLED: u8 = 1;

/// A valid `traceparent` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent(HeaderValue);

impl TraceParent {
    /// The one that a request came with. One that is not valid is taken out of its headers, and without a valid one so is
    /// `tracestate`, which means nothing then: nobody is told of them.
    pub(crate) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let parsed = match (values.next(), values.next()) {
            (Some(only), None) => Self::parse(only),
            _ => None,
        };
        if parsed.is_none() {
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
        }
        parsed
    }

    /// Reads the header's value (sections 3.2.2 and 3.2.4): as what it is in version 00, and of a later version what version 00
    /// has of it.
    fn parse(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let (known, more) = bytes.split_at_checked(LENGTH)?;
        let hex = |bytes: &[u8]| {
            let mut bytes = bytes.iter();
            bytes.all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let not_zero = |bytes: &[u8]| bytes.iter().any(|byte| *byte != b'0');
        let version = &known[..2];
        let may_go_on = match more.first() {
            None => true,
            Some(next) => version != b"00" && *next == b'-',
        };
        let well_formed = hex(version)
            && version != b"ff"
            && [2, 35, 52].iter().all(|&at| known[at] == b'-')
            && [3..35, 36..52, 53..55]
                .into_iter()
                .all(|part| hex(&known[part]))
            && not_zero(&known[3..35])
            && not_zero(&known[36..52])
            && may_go_on;
        // What follows in a later version may be anything but what is no text.
        (well_formed && value.to_str().is_ok()).then(|| Self(value.clone()))
    }

    /// The one to hand on: of this span, in this trace.
    pub(crate) fn new(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> Self {
        let mut text = String::with_capacity(LENGTH);
        let (trace_id, span_id) = (u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id));
        let _ = write!(
            text,
            "00-{trace_id:032x}-{span_id:016x}-{:02x}",
            u8::from(sampled)
        );
        Self(HeaderValue::try_from(text).expect("hexadecimal digits are visible ASCII"))
    }

    /// For the headers of a call.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// What all spans of the trace have in common: 32 hexadecimal digits.
    pub(crate) fn trace_id(&self) -> &str {
        &self.text()[3..35]
    }

    /// The span that has sent it: 16 hexadecimal digits.
    pub(crate) fn span_id(&self) -> &str {
        &self.text()[36..52]
    }

    /// Whether whoever has sent it records the trace.
    pub(crate) fn sampled(&self) -> bool {
        u8::from_str_radix(&self.text()[53..55], 16).is_ok_and(|flags| flags & SAMPLED != 0)
    }

    pub(crate) fn trace_id_bytes(&self) -> [u8; 16] {
        u128::from_str_radix(self.trace_id(), 16)
            .unwrap_or_default()
            .to_be_bytes()
    }

    pub(crate) fn span_id_bytes(&self) -> [u8; 8] {
        u64::from_str_radix(self.span_id(), 16)
            .unwrap_or_default()
            .to_be_bytes()
    }

    fn text(&self) -> &str {
        self.0.to_str().expect("it was read as text")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(text: &str) -> Option<TraceParent> {
        TraceParent::parse(&HeaderValue::try_from(text).ok()?)
    }

    #[test]
    fn a_valid_header_is_read() {
        let parent = parse(VALID).unwrap();
        assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span_id(), "b7ad6b7169203331");
        assert!(parent.sampled());
        assert!(!parse(&VALID.replace("-01", "-00")).unwrap().sampled());
        // The other flags may mean something some day.
        assert!(parse(&VALID.replace("-01", "-ff")).unwrap().sampled());
        assert!(!parse(&VALID.replace("-01", "-fe")).unwrap().sampled());
    }

    #[test]
    fn a_later_version_is_read_like_this_one_and_may_go_on() {
        let later = |text: &str| parse(&VALID.replacen("00", text, 1));
        assert!(later("01").is_some());
        assert!(later("fe").is_some());
        assert!(later("ff").is_none());
        assert!(parse(&format!("{VALID}-what-comes-after")).is_none());
        let cc = VALID.replacen("00", "cc", 1);
        assert!(parse(&format!("{cc}-what-comes-after")).is_some());
        assert!(parse(&format!("{cc}.what-comes-after")).is_none());
        assert!(parse(&format!("{cc}-")).is_some());
    }

    #[test]
    fn ids_of_nothing_but_zeros_are_none() {
        assert!(parse("00-00000000000000000000000000000000-b7ad6b7169203331-01").is_none());
        assert!(parse("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01").is_none());
    }

    #[test]
    fn of_several_headers_or_a_bad_one_nothing_is_left_and_a_good_one_stays() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRACEPARENT, value.parse().unwrap());
            }
            headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            headers
        };
        for bad in [
            &[VALID, VALID][..],
            &["00-1-2-01"],
            &[&VALID.to_uppercase()],
            &[&format!("{VALID},{VALID}")],
            &[""],
            &[],
        ] {
            let mut headers = headers(bad);
            assert_eq!(TraceParent::take(&mut headers), None, "{bad:?}");
            assert!(headers.is_empty(), "{headers:?}");
        }
        let mut headers = headers(&[VALID]);
        assert!(TraceParent::take(&mut headers).is_some());
        assert_eq!(headers.len(), 2);
    }

    proptest! {
        #[test]
        fn what_is_handed_on_is_read_as_what_it_was(trace_id in 1_u128.., span_id in 1_u64.., sampled: bool) {
            let (trace_id, span_id) = (trace_id.to_be_bytes(), span_id.to_be_bytes());
            let made = TraceParent::new(trace_id, span_id, sampled);
            let read = TraceParent::parse(&made.header());
            prop_assert_eq!(read.as_ref(), Some(&made));
            prop_assert_eq!((made.trace_id_bytes(), made.span_id_bytes(), made.sampled()), (trace_id, span_id, sampled));
        }

        /// Version 00 has one way to write each value: of a valid header no byte can be another, but a digit of small letters.
        #[test]
        fn one_wrong_byte_makes_it_invalid(at in 0..LENGTH, byte: u8) {
            let mut bytes = VALID.as_bytes().to_vec();
            bytes[at] = byte;
            let digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let valid = if [2, 35, 52].contains(&at) { byte == b'-' } else { digit && bytes[..2] != *b"ff" };
            let read = HeaderValue::from_bytes(&bytes).ok().and_then(|value| TraceParent::parse(&value));
            prop_assert_eq!(read.is_some(), valid);
        }

        #[test]
        fn one_byte_more_or_less_makes_it_invalid(length in 0..2 * LENGTH) {
            let text = VALID.repeat(2);
            prop_assert_eq!(parse(&text[..length]).is_some(), length == LENGTH);
        }

        #[test]
        fn no_header_makes_it_panic(bytes: Vec<u8>) {
            if let Some(parent) = HeaderValue::from_bytes(&bytes).ok().and_then(|value| TraceParent::parse(&value)) {
                prop_assert_eq!((parent.trace_id().len(), parent.span_id().len()), (32, 16));
            }
        }
    }
}
