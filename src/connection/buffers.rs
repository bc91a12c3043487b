//! Buffers that the connections of a thread use one after the other, so that an idle connection
//! holds none and a busy one allocates none.

use std::cell::RefCell;
use std::mem;

use bytes::BytesMut;

/// Buffers that a thread keeps: a connection uses two at a time.
const SPARE_MAX: usize = 2;
/// A connection that is idle keeps a buffer that is no larger.
pub(super) const IDLE_BYTES_MAX: usize = 1024;
/// A larger buffer is kept by nobody.
const SPARE_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
pub(super) fn take() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Leaves an empty buffer to whoever needs one next, unless it is small.
pub(super) fn give_back(buffer: &mut BytesMut) {
    if !buffer.is_empty() || !has_more_than(IDLE_BYTES_MAX, buffer) {
        return;
    }
    let mut buffer = mem::take(buffer);
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX && !has_more_than(SPARE_BYTES_MAX, &mut buffer) {
            spare.push(buffer);
        }
    });
}

/// Lets go of a buffer that grew for something large which was taken off its front, and keeps what
/// came behind it.
pub(super) fn shed(buffer: &mut BytesMut, taken: usize) {
    if taken > SPARE_BYTES_MAX {
        *buffer = BytesMut::from(&buffer[..]);
    }
}

/// Whether an empty buffer has more memory than that. What was taken off its front is no part of
/// its capacity until it is reclaimed, and is memory all the same.
fn has_more_than(bytes: usize, buffer: &mut BytesMut) -> bool {
    buffer.try_reclaim(bytes + 1)
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;

    use super::*;

    /// A buffer of so many bytes, through which all but 100 went.
    fn used(bytes: usize) -> BytesMut {
        let mut buffer = BytesMut::with_capacity(bytes);
        buffer.resize(bytes - 100, 0);
        buffer.advance(bytes - 100);
        buffer
    }

    #[test]
    fn what_went_through_a_buffer_counts_as_its_memory() {
        let mut small = used(IDLE_BYTES_MAX);
        give_back(&mut small);
        assert_ne!(small.capacity(), 0, "it stays with its connection");
        let mut large = used(8 * IDLE_BYTES_MAX);
        give_back(&mut large);
        assert_eq!(large.capacity(), 0, "it is left to others");
        assert_eq!(take().capacity(), 8 * IDLE_BYTES_MAX);
        let mut too_large = used(2 * SPARE_BYTES_MAX);
        give_back(&mut too_large);
        assert_eq!((too_large.capacity(), take().capacity()), (0, 0), "nobody keeps it");
    }

    #[test]
    fn a_buffer_that_grew_for_one_frame_goes_with_it() {
        let mut buffer = BytesMut::with_capacity(2 * SPARE_BYTES_MAX);
        buffer.resize(SPARE_BYTES_MAX + 1, 0);
        buffer.extend_from_slice(b"the next frame");
        buffer.advance(SPARE_BYTES_MAX + 1);
        shed(&mut buffer, SPARE_BYTES_MAX + 1);
        assert_eq!(&buffer[..], b"the next frame");
        assert!(!has_more_than(100, &mut buffer));
    }

    #[test]
    fn a_buffer_with_something_in_it_stays_where_it_is() {
        let mut buffer = BytesMut::with_capacity(8 * IDLE_BYTES_MAX);
        buffer.extend_from_slice(b"half a frame");
        give_back(&mut buffer);
        assert_eq!((&buffer[..], take().capacity()), (b"half a frame".as_slice(), 0));
    }
}
