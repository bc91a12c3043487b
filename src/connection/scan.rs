//! Splits a message into its members the quick way, as long as it looks as peers write it.
//!
//! It says yes only to what the JSON parser would say yes to, and then says the same. Everything
//! else (a mistake, a member's name with an escape in it) it leaves to the parser, which is slower
//! and knows what to complain about.

use super::members::{Member, Members};
use super::request::DEPTH_MAX;
use crate::domain::json::{Charset, plain_bytes};

/// The members of the object that `json` is; `None` if that is for the JSON parser to say.
pub(super) fn members(json: &str) -> Option<Members<'_>> {
    let mut scan = Scan::new(json);
    scan.skip_blanks();
    let members = scan.object()?;
    scan.skip_blanks();
    scan.rest().is_empty().then_some(members)
}

/// The objects in an array, in turn.
pub(super) struct Objects<'a> {
    scan: Scan<'a>,
    is_first: bool,
}

/// What comes next in an array.
pub(super) enum Next<'a> {
    Object(Members<'a>),
    End,
    /// Something that is for the JSON parser to look at.
    Unclear,
}

impl<'a> Objects<'a> {
    /// Of the array that `json` is, without anything around it.
    pub(super) fn new(json: &'a str) -> Self {
        Self { scan: Scan::new(json), is_first: true }
    }

    pub(super) fn next(&mut self) -> Next<'a> {
        match self.step() {
            Some(Some(members)) => Next::Object(members),
            Some(None) => Next::End,
            None => Next::Unclear,
        }
    }

    fn step(&mut self) -> Option<Option<Members<'a>>> {
        if self.is_first {
            self.is_first = false;
            self.scan.take(b'[')?;
            self.scan.skip_blanks();
            if self.scan.peek() == Some(b']') {
                return Some(None);
            }
        } else {
            self.scan.skip_blanks();
            if self.scan.peek()? == b']' {
                return Some(None);
            }
            self.scan.take(b',')?;
            self.scan.skip_blanks();
        }
        self.scan.object().map(Some)
    }
}

/// A place in a JSON text. Each of its ways onward answers `None` where it isn't sure.
struct Scan<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn new(json: &'a str) -> Self {
        Self { json, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.json.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn skip_while(&mut self, belongs: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
    }

    fn skip_blanks(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn object(&mut self) -> Option<Members<'a>> {
        let mut members = Members::default();
        self.take(b'{')?;
        self.skip_blanks();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(members);
        }
        loop {
            let Text::Plain(name) = self.text()? else { return None };
            self.skip_blanks();
            self.take(b':')?;
            self.skip_blanks();
            let value = self.member()?;
            // Of a member given twice the last one counts.
            if let Some(member) = members.find(name) {
                *member = value;
            }
            self.skip_blanks();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(members);
                }
                _ => return None,
            }
            self.skip_blanks();
        }
    }

    fn member(&mut self) -> Option<Member<'a>> {
        let from = self.at;
        if self.peek()? == b'"' {
            return Some(match self.text()? {
                Text::Plain(text) => Member::Plain(text),
                Text::Escaped => Member::Json(self.json.get(from..self.at)?),
            });
        }
        self.skip_value(DEPTH_MAX - 1)?;
        Some(Member::Json(self.json.get(from..self.at)?))
    }

    /// Over one value, in which at most `depth` arrays and objects are open at once.
    fn skip_value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.text().map(drop),
            b'-' | b'0'..=b'9' => self.skip_number(),
            b'n' => self.skip_word("null"),
            b't' => self.skip_word("true"),
            b'f' => self.skip_word("false"),
            b'[' => self.skip_nested(b']', depth.checked_sub(1)?),
            b'{' => self.skip_nested(b'}', depth.checked_sub(1)?),
            _ => None,
        }
    }

    /// Over an array or an object, up to its `end`.
    fn skip_nested(&mut self, end: u8, depth: usize) -> Option<()> {
        self.at += 1;
        self.skip_blanks();
        if self.peek()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            if end == b'}' {
                self.text()?;
                self.skip_blanks();
                self.take(b':')?;
                self.skip_blanks();
            }
            self.skip_value(depth)?;
            self.skip_blanks();
            match self.peek()? {
                b',' => self.at += 1,
                byte if byte == end => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
            self.skip_blanks();
        }
    }

    fn skip_word(&mut self, word: &str) -> Option<()> {
        self.rest().starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn skip_number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.skip_digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Some(())
    }

    fn skip_digits(&mut self) -> Option<()> {
        let from = self.at;
        self.skip_while(|byte| byte.is_ascii_digit());
        (self.at > from).then_some(())
    }

    /// Over a string, and what stands in it.
    #[inline]
    fn text(&mut self) -> Option<Text<'a>> {
        let text = self.json.get(self.at..)?.strip_prefix('"')?;
        let plain = plain_bytes(text.as_bytes(), Charset::Utf8);
        self.at += 1 + plain;
        match text.as_bytes().get(plain)? {
            b'"' => {
                self.at += 1;
                text.get(..plain).map(Text::Plain)
            }
            _ => self.escaped(),
        }
    }

    /// Over the rest of a string that is not plain.
    #[cold]
    fn escaped(&mut self) -> Option<Text<'a>> {
        loop {
            self.skip_plain();
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(Text::Escaped);
                }
                b'\\' => self.skip_escape()?,
                _ => return None,
            }
        }
    }

    fn skip_plain(&mut self) {
        self.at += plain_bytes(self.rest(), Charset::Utf8);
    }

    fn skip_escape(&mut self) -> Option<()> {
        let length = match self.rest() {
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'\\', b'u', digits @ ..] => {
                digits.get(..4)?.iter().all(u8::is_ascii_hexdigit).then_some(6)?
            }
            _ => return None,
        };
        self.at += length;
        Some(())
    }
}

enum Text<'a> {
    /// A text without escapes.
    Plain(&'a str),
    Escaped,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use serde::Deserialize;

    use super::*;

    /// The members as the JSON parser finds them, the whole text looked at.
    fn parsed(json: &str) -> Option<Members<'_>> {
        let mut parser = serde_json::Deserializer::from_str(json);
        let members = Members::deserialize(&mut parser).ok()?;
        parser.end().ok()?;
        Some(members)
    }

    /// As they stand in the message, however they were found.
    fn shown(members: Option<Members<'_>>) -> Option<Vec<String>> {
        let mut members = members?;
        let names = Members::NAMES.into_iter();
        let show = |name| match members.find(name) {
            Some(Member::Plain(text)) => format!("{name}: \"{text}\""),
            Some(Member::Json(json)) => format!("{name}: {json}"),
            Some(Member::Missing) | None => format!("{name} is missing"),
        };
        Some(names.map(show).collect())
    }

    /// JSON of all kinds, and what almost is.
    fn any_text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,2})?([eE][+-]?[0-9]{1,2})?",
            "[-+.0-9eE]{1,4}",
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("fals".to_owned()),
            "\"[a-z가\"\\\\\n]{0,4}\"",
            r#""(\\(["\\/bfnrt]|u[0-9a-fA-F]{4}|u[d-z]00|x)){1,2}a?""#,
        ];
        let name = prop_oneof![
            prop::sample::select(Members::NAMES.to_vec()).prop_map(str::to_owned),
            "[a-z]{0,3}",
            Just(r"s\u0065rver".to_owned()),
        ];
        let blank = || "[ \t\n\r]{0,1}";
        leaf.prop_recursive(3, 24, 4, move |inner| {
            let member = (name.clone(), blank(), blank(), inner.clone())
                .prop_map(|(name, a, b, value)| format!("\"{name}\"{a}:{b}{value}"));
            let separator = prop_oneof![9 => Just(","), 1 => Just(" , "), 1 => Just("")];
            prop_oneof![
                3 => (prop::collection::vec(member, 0..5), separator.clone(), blank())
                    .prop_map(|(all, by, a)| format!("{{{a}{}{a}}}", all.join(by))),
                1 => (prop::collection::vec(inner, 0..4), separator, blank())
                    .prop_map(|(all, by, a)| format!("[{a}{}{a}]", all.join(by))),
            ]
        })
    }

    #[test]
    fn whatever_it_takes_the_json_parser_takes_for_the_same() {
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        let strategy = (any_text(), any::<prop::sample::Index>(), any::<u8>(), 0..4);
        let checked = runner.run(&strategy, |(text, at, byte, damage)| {
            let mut bytes = text.into_bytes();
            if damage == 0 && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
            if let Some(found) = shown(members(&text)) {
                prop_assert_eq!(Some(found), shown(parsed(&text)), "{}", text);
            }
            Ok(())
        });
        checked.unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn it_takes_what_peers_write() {
        for text in [
            r#"{}"#,
            r#" { "server" : "chat" , "x" : [ { "y" : null } , -1.5e+3 , "\"\ud55c" ] } "#,
            r#"{"server":"chat","type":"SUBSCRIBE","user_id":"u","room_id":5,"session":"\uac00"}"#,
        ] {
            assert_eq!(shown(members(text)), shown(parsed(text)), "{text}");
            assert!(members(text).is_some(), "{text}");
        }
    }

    #[test]
    fn it_leaves_what_is_nested_too_deeply_to_others() {
        let nested =
            |depth: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(members(&nested(DEPTH_MAX)).is_some());
        assert!(members(&nested(DEPTH_MAX + 1)).is_none());
    }

    #[test]
    fn an_array_of_objects_is_taken_one_by_one() {
        let mut objects = Objects::new(r#"[ {"user_id":"u1"} , {} ]"#);
        let Next::Object(mut first) = objects.next() else { panic!("no object") };
        assert!(matches!(first.find("user_id"), Some(Member::Plain("u1"))));
        assert!(matches!(objects.next(), Next::Object(_)));
        assert!(matches!(objects.next(), Next::End));
        assert!(matches!(Objects::new("[]").next(), Next::End));
        for unclear in ["[5]", "[{}", "[,{}]", ""] {
            let mut objects = Objects::new(unclear);
            let last = std::iter::repeat_with(|| objects.next())
                .find(|next| !matches!(next, Next::Object(_)));
            assert!(matches!(last, Some(Next::Unclear)), "{unclear}");
        }
    }
}
