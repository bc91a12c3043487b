//! The forms of values that are lists. A text alone stands for a list of one, an empty text for an
//! empty list.

use std::fmt::Display;
use std::slice;

use super::form::{Complaint, Form, either};
use super::value::Value;
use crate::domain::{Server, Servers};

/// Stands for every service that speaks.
const ALL: &str = "*";

/// Texts with a grammar of their own; `parse` says what is wrong with one that has another.
pub(super) fn texts<T: 'static, V: Clone + PartialEq + Display + 'static>(
    expected: &str,
    parse: fn(&str) -> Result<V, String>,
    field: fn(&mut T) -> &mut Vec<V>,
) -> Form<T> {
    let show = |held: &Vec<V>| joined(held.iter().map(V::to_string));
    Form::new(expected.to_owned(), field, show, move |value| {
        let parse = |text: &str| parse(text).map_err(|why| Complaint::because(&why));
        elements(value)?.iter().map(|element| read(element, parse)).collect()
    })
}

/// Values of `server`.
pub(super) fn servers<T: 'static>(field: fn(&mut T) -> &mut Servers) -> Form<T> {
    let names: Vec<_> = words().map(|word| format!("\"{word}\"")).collect();
    let expected = format!("a list of {}", either(&names));
    let show = |held: &Servers| joined(held.each().map(|server| server.name().to_owned()));
    Form::new(expected, field, show, |value| {
        let parse = |text: &str| match (text, Server::from_name(text)) {
            (ALL, _) => Ok(Servers::ALL),
            (_, Some(server)) => Ok(Servers::only(server)),
            (_, None) => Err(Complaint::near(text, words())),
        };
        let mut elements = elements(value)?.iter();
        elements.try_fold(Servers::NONE, |all, element| Ok(all.and(read(element, parse)?)))
    })
}

fn words() -> impl Iterator<Item = &'static str> {
    Server::ALL.into_iter().map(Server::name).chain([ALL])
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn elements(value: &Value) -> Result<&[Value], Complaint> {
    match value {
        Value::List(elements) => Ok(elements),
        Value::Text(text) if text.is_empty() => Ok(&[]),
        Value::Text(_) => Ok(slice::from_ref(value)),
        Value::Integer(_) | Value::Flag(_) | Value::Other(_) => Err(Complaint::default()),
    }
}

fn read<V>(element: &Value, parse: impl Fn(&str) -> Result<V, Complaint>) -> Result<V, Complaint> {
    let Value::Text(text) = element else { return Err(Complaint::default().of(element)) };
    parse(text).map_err(|complaint| complaint.of(element))
}
