//! What a configuration holds of one key: shown, compared, taken over from another.

/// The value of one key within a `T`. It is reached by one function that borrows mutably, so
/// whoever only looks hands in a copy of his own.
pub(super) struct Held<T> {
    show: Box<Show<T>>,
    is_same: Box<Compare<T>>,
    take: Box<Take<T>>,
}

type Show<T> = dyn Fn(&mut T) -> String;
type Compare<T> = dyn Fn(&mut T, &mut T) -> bool;
type Take<T> = dyn Fn(&mut T, &mut T);

impl<T: 'static> Held<T> {
    pub(super) fn new<V: Clone + PartialEq + 'static>(
        field: fn(&mut T) -> &mut V,
        show: impl Fn(&V) -> String + 'static,
    ) -> Self {
        Self {
            show: Box::new(move |whole| show(field(whole))),
            is_same: Box::new(move |one, other| field(one) == field(other)),
            take: Box::new(move |to, from| field(to).clone_from(field(from))),
        }
    }

    /// The same for a `T` that is part of a `U`.
    pub(super) fn inside<U: 'static>(self, part: fn(&mut U) -> &mut T) -> Held<U> {
        let Self { show, is_same, take } = self;
        Held {
            show: Box::new(move |whole| show(part(whole))),
            is_same: Box::new(move |one, other| is_same(part(one), part(other))),
            take: Box::new(move |to, from| take(part(to), part(from))),
        }
    }

    /// As a variable would hold it; a secret as `***`.
    pub(super) fn shown(&self, whole: &mut T) -> String {
        (self.show)(whole)
    }

    /// Whether both hold the same, secrets included.
    pub(super) fn is_same(&self, one: &mut T, other: &mut T) -> bool {
        (self.is_same)(one, other)
    }

    /// `to` holds what `from` does.
    pub(super) fn take(&self, to: &mut T, from: &mut T) {
        (self.take)(to, from);
    }
}
