//! The framings: the only file that knows how a payload is delimited on the wire (contract §1).

use bytes::{Buf, BufMut, BytesMut};

/// A line that is no longer than this is expected to end soon.
const SHORT_BYTES: usize = 4 * 1024;

/// How payloads are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A 4-byte unsigned big-endian length, then the payload.
    Length4,
    /// A 2-byte unsigned big-endian length, then the payload.
    Length2,
    /// A 1-byte length, then the payload.
    Length1,
    /// The payload, then `\r\n`.
    Crlf,
    /// The payload, then `\n`; on input one `\r` before it is tolerated.
    Lf,
}

/// What breaks a stream: from here on it can't be trusted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenFraming {
    /// A length prefix beyond the limit.
    #[error("frame of {found} bytes, at most {max} are allowed")]
    TooLong {
        /// The length that was announced.
        found: usize,
        /// `max_frame_bytes`.
        max: usize,
    },
    /// The hello of TLS instead of a message.
    #[error("this is TLS, and the listener is without")]
    Tls,
    /// A line beyond the limit whose end is not in sight.
    #[error("line without an end within {max} bytes")]
    Unterminated {
        /// `max_frame_bytes`.
        max: usize,
    },
}

/// Whether a stream that begins so is one of TLS: the head of its first record, and the first byte of
/// a client's hello in it. No framing has a message that begins so.
pub fn is_tls(beginning: &[u8]) -> bool {
    matches!(beginning, [0x16, 0x03, 0x00..=0x04, _, _, 0x01, ..])
}

/// A payload that a framing has no way to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("payload of {found} bytes, the framing carries at most {max}")]
pub struct PayloadTooLong {
    /// Bytes of the payload.
    pub found: usize,
    /// Bytes the length prefix can express.
    pub max: usize,
}

/// Where the first frame in a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The payload's first byte.
    pub start: usize,
    /// One past the payload's last byte.
    pub end: usize,
    /// Bytes to drop from the buffer's front once the payload is used.
    pub consumed: usize,
}

/// Finds frames in a buffer that grows at its end. It remembers how far a line was searched, so
/// that a line arriving byte by byte costs no more than one arriving at once.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    frame_bytes_max: usize,
    searched: usize,
}

impl Found {
    /// How long the payload is.
    pub fn payload_bytes(&self) -> usize {
        self.end - self.start
    }
}

impl Framing {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 5] = [Self::Length4, Self::Length2, Self::Length1, Self::Crlf, Self::Lf];

    /// The name in configuration and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Length4 => "length4",
            Self::Length2 => "length2",
            Self::Length1 => "length1",
            Self::Crlf => "crlf",
            Self::Lf => "lf",
        }
    }

    /// The framing with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|framing| framing.name() == name)
    }

    /// The longest payload that can be expressed at all.
    pub fn payload_bytes_max(self) -> usize {
        match self {
            Self::Length4 => u32::MAX as usize,
            Self::Length2 => u16::MAX.into(),
            Self::Length1 => u8::MAX.into(),
            Self::Crlf | Self::Lf => usize::MAX,
        }
    }

    /// Appends `payload` as one frame; nothing if the framing can't carry it. The payload of a
    /// line framing must not contain a line's end, which JSON on one line never does.
    pub fn put(self, payload: &[u8], out: &mut BytesMut) -> Result<(), PayloadTooLong> {
        self.put_with(out, |out| out.put_slice(payload))
    }

    /// Appends what `write` appends as the payload of one frame, without copying it. Nothing is
    /// left in `out` of a payload that the framing can't carry.
    pub fn put_with(
        self,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(), PayloadTooLong> {
        let start = out.len();
        out.put_bytes(0, self.prefix_bytes());
        write(out);
        let found = out.len() - start - self.prefix_bytes();
        let max = self.payload_bytes_max();
        if found > max {
            out.truncate(start);
            return Err(PayloadTooLong { found, max });
        }
        match self {
            Self::Length4 | Self::Length2 | Self::Length1 => {
                // The low bytes of a big-endian number; the check above says the others are zero.
                let length = found.to_be_bytes();
                let prefix = &length[length.len() - self.prefix_bytes()..];
                out[start..start + prefix.len()].copy_from_slice(prefix);
            }
            Self::Crlf => out.put_slice(b"\r\n"),
            Self::Lf => out.put_u8(b'\n'),
        }
        Ok(())
    }

    fn prefix_bytes(self) -> usize {
        match self {
            Self::Length4 => 4,
            Self::Length2 => 2,
            Self::Length1 => 1,
            Self::Crlf | Self::Lf => 0,
        }
    }
}

impl Decoder {
    /// For one stream, from its first byte on.
    pub fn new(framing: Framing, frame_bytes_max: usize) -> Self {
        Self { framing, frame_bytes_max, searched: 0 }
    }

    /// Allows frames so long, from the next one on. Only between frames: one whose first bytes were
    /// looked at is judged by one limit.
    pub fn limit(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// The first frame of `buffer`, or `None` if it is not complete yet. Between two calls the
    /// buffer may only grow, or lose what [`Decoder::consume`] took.
    pub fn find(&mut self, buffer: &[u8]) -> Result<Option<Found>, BrokenFraming> {
        match self.framing {
            Framing::Length4 => self.find_length(buffer, 4),
            Framing::Length2 => self.find_length(buffer, 2),
            Framing::Length1 => self.find_length(buffer, 1),
            Framing::Crlf => self.find_line(buffer, LineEnd::CrLf),
            Framing::Lf => self.find_line(buffer, LineEnd::Lf),
        }
    }

    /// Bytes of the payload that begins with `buffer`, as far as can be known of one that
    /// [`Decoder::find`] has looked at: of a line whose end is not in sight, what it may have, unless
    /// it is short yet.
    pub fn expected_bytes(&self, buffer: &[u8]) -> usize {
        match self.framing {
            Framing::Length4 | Framing::Length2 | Framing::Length1 => {
                length(buffer, self.framing.prefix_bytes()).unwrap_or_default()
            }
            Framing::Crlf | Framing::Lf if buffer.len() <= SHORT_BYTES => buffer.len(),
            Framing::Crlf | Framing::Lf => self.frame_bytes_max.max(buffer.len()),
        }
    }

    /// Drops a used frame from the buffer's front.
    pub fn consume(&mut self, buffer: &mut BytesMut, found: Found) {
        buffer.advance(found.consumed);
        self.searched = 0;
    }

    fn find_length(&self, buffer: &[u8], prefix: usize) -> Result<Option<Found>, BrokenFraming> {
        let Some(length) = length(buffer, prefix) else { return Ok(None) };
        if length > self.frame_bytes_max {
            return Err(BrokenFraming::TooLong { found: length, max: self.frame_bytes_max });
        }
        let end = prefix + length;
        Ok((buffer.len() >= end).then_some(Found { start: prefix, end, consumed: end }))
    }

    fn find_line(
        &mut self,
        buffer: &[u8],
        line_end: LineEnd,
    ) -> Result<Option<Found>, BrokenFraming> {
        let max = self.frame_bytes_max;
        for newline in memchr::memchr_iter(b'\n', &buffer[self.searched..]) {
            let newline = self.searched + newline;
            let Some(end) = line_end.payload_end(&buffer[..newline]) else { continue };
            if end > max {
                return Err(BrokenFraming::TooLong { found: end, max });
            }
            return Ok(Some(Found { start: 0, end, consumed: newline + 1 }));
        }
        self.searched = buffer.len();
        // A payload of the full length may still be waiting for the two bytes of its end.
        if buffer.len() > max.saturating_add(1) {
            return Err(BrokenFraming::Unterminated { max });
        }
        Ok(None)
    }
}

/// The length that the first bytes announce, once they are there.
fn length(buffer: &[u8], prefix: usize) -> Option<usize> {
    let header = buffer.get(..prefix)?;
    Some(header.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte)))
}

#[derive(Debug, Clone, Copy)]
enum LineEnd {
    CrLf,
    Lf,
}

impl LineEnd {
    /// Where the payload ends, given what stands before a `\n`; `None` if that `\n` is data.
    fn payload_end(self, before: &[u8]) -> Option<usize> {
        match (self, before.last()) {
            (_, Some(b'\r')) => Some(before.len() - 1),
            (Self::Lf, _) => Some(before.len()),
            (Self::CrLf, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn framing() -> impl Strategy<Value = Framing> {
        proptest::sample::select(Framing::ALL.to_vec())
    }

    proptest! {
        /// JSON on one line holds no line's end, so payloads here hold none either.
        #[test]
        fn what_was_framed_comes_out_however_the_stream_is_split(
            framing in framing(),
            payloads in vec("[^\r\n]{0,60}", 0..8),
            pieces in vec(1_usize..40, 1..60),
        ) {
            let mut stream = BytesMut::new();
            for payload in &payloads {
                framing.put(payload.as_bytes(), &mut stream).unwrap();
            }
            let mut decoder = Decoder::new(framing, 255);
            let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
            let mut pieces = pieces.into_iter().cycle();
            while !stream.is_empty() {
                let piece = pieces.next().unwrap_or(1).min(stream.len());
                buffer.extend_from_slice(&stream.split_to(piece));
                while let Some(found) = decoder.find(&buffer).unwrap() {
                    let payload = &buffer[found.start..found.end];
                    frames.push(String::from_utf8(payload.to_vec()).unwrap());
                    decoder.consume(&mut buffer, found);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(frames, payloads);
        }

        #[test]
        fn any_bytes_whatever_are_frames_or_break_the_stream_and_nothing_worse(
            framing in framing(),
            stream in vec(any::<u8>(), 0..200),
            frame_bytes_max in 1_usize..300,
        ) {
            let mut decoder = Decoder::new(framing, frame_bytes_max);
            let mut buffer = BytesMut::from(&stream[..]);
            while let Ok(Some(found)) = decoder.find(&buffer) {
                prop_assert!(found.end - found.start <= frame_bytes_max);
                decoder.consume(&mut buffer, found);
            }
        }
    }

    fn check(framing: Framing, stream: &[u8], expected: &[&[u8]]) {
        // However the stream is split in two, the same frames come out.
        for split in 0..=stream.len() {
            let mut decoder = Decoder::new(framing, 10);
            let mut buffer = BytesMut::new();
            let mut frames = Vec::new();
            for part in [&stream[..split], &stream[split..]] {
                buffer.extend_from_slice(part);
                while let Some(found) = decoder.find(&buffer).unwrap() {
                    frames.push(buffer[found.start..found.end].to_vec());
                    decoder.consume(&mut buffer, found);
                }
            }
            assert_eq!(frames, expected, "split at {split}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn each_framing_finds_its_frames_however_the_stream_is_split() {
        check(Framing::Length4, b"\0\0\0\x02hi\0\0\0\0\0\0\0\x01!", &[b"hi", b"", b"!"]);
        check(Framing::Length2, b"\0\x02hi\0\0\0\x01!", &[b"hi", b"", b"!"]);
        check(Framing::Length1, b"\x02hi\0\x01!", &[b"hi", b"", b"!"]);
        check(Framing::Crlf, b"hi\r\n\r\na\nb\rc\r\n", &[b"hi", b"", b"a\nb\rc"]);
        check(Framing::Lf, b"hi\n\nyou\r\n", &[b"hi", b"", b"you"]);
    }

    #[test]
    fn a_frame_of_the_full_length_passes_and_a_longer_one_breaks_the_stream() {
        check(Framing::Crlf, b"0123456789\r\n", &[b"0123456789"]);
        check(Framing::Lf, b"0123456789\r\n", &[b"0123456789"]);
        check(Framing::Length1, b"\x0a0123456789", &[b"0123456789"]);
        let broken = |framing, stream: &[u8]| Decoder::new(framing, 10).find(stream).unwrap_err();
        let too_long = BrokenFraming::TooLong { found: 11, max: 10 };
        assert_eq!(broken(Framing::Length4, b"\0\0\0\x0b"), too_long);
        assert_eq!(broken(Framing::Crlf, b"01234567890\r\n"), too_long);
        assert_eq!(broken(Framing::Lf, b"01234567890\n"), too_long);
        let unterminated = BrokenFraming::Unterminated { max: 10 };
        assert_eq!(broken(Framing::Crlf, b"012345678901"), unterminated);
        assert_eq!(
            broken(Framing::Length4, b"\xff\xff\xff\xff"),
            BrokenFraming::TooLong { found: u32::MAX as usize, max: 10 }
        );
    }

    #[test]
    fn of_a_frame_that_has_begun_it_is_known_how_long_it_may_get() {
        let expected =
            |framing, buffer: &[u8]| Decoder::new(framing, 100_000).expected_bytes(buffer);
        assert_eq!(expected(Framing::Length4, b"\0\0\x04"), 0);
        assert_eq!(expected(Framing::Length4, b"\0\0\x04\0{"), 1024);
        assert_eq!(expected(Framing::Length1, b"\xff"), 255);
        assert_eq!(expected(Framing::Lf, b"{\"server\""), 9);
        assert_eq!(expected(Framing::Crlf, &[b' '; 5000]), 100_000);
    }

    #[test]
    fn a_payload_beyond_the_length_prefix_is_refused_and_leaves_no_trace() {
        for framing in [Framing::Length1, Framing::Length2] {
            let mut out = BytesMut::new();
            let max = framing.payload_bytes_max();
            framing.put(&vec![b' '; max + 1], &mut out).unwrap_err();
            assert!(out.is_empty());
            framing.put(&vec![b' '; max], &mut out).unwrap();
            let found = Decoder::new(framing, max).find(&out).unwrap().unwrap();
            assert_eq!(found.payload_bytes(), max);
        }
    }
}
