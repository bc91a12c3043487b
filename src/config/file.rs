//! The file: walks its tables along the table of keys, so that every mistake is found and each one
//! has its line.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::draft::{Draft, listener_path};
use super::keys::Keys;
use super::mistake::{Mistake, Place, Problem, nearest};
use super::peers;
use super::value::Value;

/// Lays the file over the draft.
pub(super) fn read(path: &Path, keys: &Keys, draft: &mut Draft) {
    let mut blame = |problem| {
        draft.mistakes.push(Mistake { place: Place::File(path.to_owned()), key: None, problem });
    };
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => read_text(path, &text, keys, draft),
        Ok(Err(_)) => blame(Problem::Unreadable("it is not UTF-8".to_owned())),
        Err(error) => blame(Problem::Unreadable(error.to_string())),
    }
}

/// The same for a file whose text is at hand.
pub(super) fn read_text(path: &Path, text: &str, keys: &Keys, draft: &mut Draft) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { path, text, keys, draft };
    reader.read_table("", root.get_ref());
    if !errors.is_empty() {
        let broken = reader.broken_lines(&errors);
        draft.mistakes.retain(|mistake| !follows_from(mistake, &broken));
        draft.mistakes.extend(broken);
    }
}

/// Whether a mistake was only made because the parser had to guess: on a line that isn't TOML, or
/// anywhere after a table's header that isn't, since then it is unknown which table a key is in.
fn follows_from(mistake: &Mistake, broken: &[Mistake]) -> bool {
    broken.iter().any(|broken| {
        let (Place::Line { line, .. }, Place::Line { line: broken_line, .. }) =
            (&mistake.place, &broken.place)
        else {
            return false;
        };
        let header = matches!(broken.problem, Problem::Syntax { in_header: true, .. });
        line == broken_line || (header && line > broken_line)
    })
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    keys: &'a Keys,
    draft: &'a mut Draft,
}

type Entry<'a, 'i> = (&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>);

impl<'a> Reader<'a> {
    fn read_table(&mut self, table_path: &str, table: &DeTable<'_>) {
        for (name, value) in in_order(table) {
            let path = join(table_path, name.get_ref());
            if path == "listen" {
                self.read_listeners(value);
            } else if path == "peers" {
                self.read_peers(value);
            } else if let Some(key) = self.keys.find(&path) {
                self.draft.set(key, &to_value(value), self.place(value.span().start));
            } else if !has_table(&self.paths(), &path) {
                let table = match table_path {
                    "" => "at the top there are".to_owned(),
                    _ => format!("[{table_path}] has"),
                };
                self.blame_unknown(&path, name, &table, &self.names_in(table_path));
            } else if let DeValue::Table(table) = value.get_ref() {
                self.refuse_empty(&path, value, table);
                self.read_table(&path, table);
            } else {
                self.blame_kind(&path, value, &format!("a table: [{path}]"));
            }
        }
    }

    /// The elements of an array of tables that has at least one, and their places.
    fn elements<'v, 'i>(
        &mut self,
        name: &str,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Option<(&'v [Spanned<DeValue<'i>>], Vec<Place>)> {
        let expected = format!("one table or more: [[{name}]]");
        let DeValue::Array(elements) = value.get_ref() else {
            self.blame_kind(name, value, &expected);
            return None;
        };
        if elements.is_empty() {
            let found = Value::Other("an empty array".to_owned());
            self.blame_value(name, value, found, &expected);
            return None;
        }
        let places = elements.iter().map(|element| self.place(element.span().start)).collect();
        Some((elements, places))
    }

    fn read_listeners(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some((elements, places)) = self.elements("listen", value) else { return };
        self.draft.replace_listeners(places);
        for (index, element) in elements.iter().enumerate() {
            if let DeValue::Table(table) = element.get_ref() {
                self.read_listener(index, "", table);
            } else {
                self.blame_kind(&format!("listen[{index}]"), element, "a table: [[listen]]");
            }
        }
    }

    /// A listener, or a table of it.
    fn read_listener(&mut self, index: usize, table_path: &str, table: &DeTable<'_>) {
        let paths: Vec<_> = self.keys.of_listener.iter().map(|key| key.path.as_str()).collect();
        for (name, value) in in_order(table) {
            let path = join(table_path, name.get_ref());
            let whole = listener_path(index, &path);
            if let Some(key) = self.keys.find_of_listener(&path) {
                let place = self.place(value.span().start);
                self.draft.set_listener(index, key, &to_value(value), place);
            } else if !has_table(&paths, &path) {
                let has = match table_path {
                    "" => "[[listen]] has".to_owned(),
                    _ => format!("{table_path} of [[listen]] has"),
                };
                self.blame_unknown(&whole, name, &has, &names_below(&paths, table_path));
            } else if let DeValue::Table(table) = value.get_ref() {
                self.refuse_empty(&whole, value, table);
                self.read_listener(index, &path, table);
            } else {
                self.blame_kind(&whole, value, &format!("a table: {path} = {{ … }}"));
            }
        }
    }

    /// Somebody who writes `tls = {}` believes that there is TLS now.
    fn refuse_empty(&mut self, path: &str, value: &Spanned<DeValue<'_>>, table: &DeTable<'_>) {
        if table.is_empty() && path.ends_with(".tls") {
            let found = Value::Other("an empty table".to_owned());
            self.blame_value(path, value, found, "what TLS goes by, or no such table");
        }
    }

    fn read_peers(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some((elements, places)) = self.elements("peers", value) else { return };
        if elements.len() > peers::MAX {
            let found = Value::Other(format!("{} tables", elements.len()));
            let expected = format!("at most {}: [[peers]]", peers::MAX);
            return self.blame_value("peers", value, found, &expected);
        }
        self.draft.begin_peers(places);
        for (index, element) in elements.iter().enumerate() {
            if let DeValue::Table(table) = element.get_ref() {
                self.read_peer(index, table);
            } else {
                self.blame_kind(&format!("peers[{index}]"), element, "a table: [[peers]]");
            }
        }
    }

    fn read_peer(&mut self, index: usize, table: &DeTable<'_>) {
        for (name, value) in in_order(table) {
            let key = self.keys.of_peer.iter().find(|key| key.path == *name.get_ref());
            if let Some(key) = key {
                let place = self.place(value.span().start);
                self.draft.set_peer(index, key, &to_value(value), place);
            } else {
                let names: Vec<_> = self.keys.of_peer.iter().map(|key| key.path.as_str()).collect();
                let path = peers::path(index, &shown_name(name.get_ref()));
                self.blame_unknown(&path, name, "[[peers]] has", &names);
            }
        }
    }

    /// The syntax errors, of each line the first: the others are the parser's way back.
    fn broken_lines(&self, errors: &[toml::de::Error]) -> Vec<Mistake> {
        let mut broken = BTreeMap::new();
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let place = self.place(offset);
            let Place::Line { line, .. } = place else { continue };
            let problem = Problem::Syntax {
                message: self.syntax_message(error),
                in_header: self.line_of(offset).trim_start().starts_with('['),
            };
            broken.entry(line).or_insert(Mistake { place, key: None, problem });
        }
        broken.into_values().collect()
    }

    /// What the parser says; more where it says too little. Values are never repeated.
    fn syntax_message(&self, error: &toml::de::Error) -> String {
        let found = error.span().and_then(|span| self.text.get(span)).unwrap_or("");
        match error.message() {
            "duplicate key" => format!("duplicate key {found}"),
            message if message.starts_with("invalid float") && found.starts_with("inf") => {
                "string values must be quoted".to_owned()
            }
            message => message.to_owned(),
        }
    }

    fn line_of(&self, offset: usize) -> &str {
        let (before, after) = self.text.split_at_checked(offset).unwrap_or((self.text, ""));
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after.find('\n').map_or(self.text.len(), |newline| offset + newline);
        self.text.get(start..end).unwrap_or("")
    }

    fn blame_unknown(
        &mut self,
        path: &str,
        name: &Spanned<DeString<'_>>,
        table: &str,
        names: &[&str],
    ) {
        let near = nearest(name.get_ref(), names.iter().copied());
        let problem = Problem::UnknownKey {
            nearest: near.or_else(|| self.elsewhere(name.get_ref())).map(str::to_owned),
            allowed: format!("{table} {}", names.join(", ")),
        };
        self.draft.blame(self.place(name.span().start), path, problem);
    }

    /// The names that may stand in a table, each once.
    fn names_in(&self, table: &str) -> Vec<&'a str> {
        let mut names = if table.is_empty() { vec!["listen", "peers"] } else { Vec::new() };
        names.extend(names_below(&self.paths(), table));
        names
    }

    fn paths(&self) -> Vec<&'a str> {
        self.keys.of_config.iter().map(|key| key.path.as_str()).collect()
    }

    /// The key of this name in another table.
    fn elsewhere(&self, name: &str) -> Option<&str> {
        let paths = self.keys.of_config.iter().map(|key| key.path.as_str());
        paths.into_iter().find(|path| path.rsplit('.').next() == Some(name))
    }

    fn blame_kind(&mut self, path: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let found = match to_value(value) {
            // It may be what should stand in the table, a secret among it.
            Value::Text(_) => Value::Other("a string".to_owned()),
            Value::List(_) => Value::Other("an array".to_owned()),
            found @ (Value::Integer(_) | Value::Flag(_) | Value::Other(_)) => found,
        };
        self.blame_value(path, value, found, expected);
    }

    fn blame_value(&mut self, path: &str, at: &Spanned<DeValue<'_>>, found: Value, expected: &str) {
        let problem = Problem::Value {
            found: found.shown(),
            why: None,
            expected: expected.to_owned(),
            nearest: None,
        };
        self.draft.blame(self.place(at.span().start), path, problem);
    }

    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::Line {
            file: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Whether a key of these stands in a table of this name.
fn has_table(paths: &[&str], table: &str) -> bool {
    let is_in = |path: &&str| path.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
    paths.iter().any(is_in)
}

/// The names that stand in a table, each once; a table's name where its keys stand in it.
fn names_below<'a>(paths: &[&'a str], table: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for path in paths {
        let rest = match table {
            "" => Some(*path),
            table => path.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')),
        };
        let name = rest.and_then(|rest| rest.split('.').next());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// As they stand in the file; the parser sorts them by name.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

fn join(table: &str, name: &str) -> String {
    match table {
        "" => shown_name(name),
        table => format!("{table}.{}", shown_name(name)),
    }
}

/// In quotes where TOML wants them: a dot in a name doesn't lead into a table.
fn shown_name(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match !name.is_empty() && name.chars().all(bare) {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}

fn to_value(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other(number.to_string()),
        },
        DeValue::Float(number) => Value::Other(number.to_string()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(time) => Value::Other(time.to_string()),
        DeValue::Array(elements) => Value::List(elements.iter().map(to_value).collect()),
        DeValue::Table(_) => Value::Other("a table".to_owned()),
    }
}
