//! Buffers that the connections of a thread use one after the other, so that an idle connection
//! holds none and a busy one allocates none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Buffers that a thread keeps: a connection uses two at a time.
const SPARE_MAX: usize = 2;
/// A larger buffer is not kept.
const SPARE_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
pub(super) fn take() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps an empty buffer for whoever needs one next.
pub(super) fn give_back(buffer: BytesMut) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
            spare.push(buffer);
        }
    });
}
