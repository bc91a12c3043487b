//! What a connection takes of its input: frames that have arrived whole, several at once where the peer
//! sends so, so that the store can look ahead for all of them.

use std::io;
use std::task::Context as TaskContext;

use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::{BrokenFraming, Found};
use super::input::State;
use super::request::Request;
use super::{Connection, buffers, memory};
use crate::config::Limits;
use crate::metrics::connections::CloseReason;
use crate::metrics::requests::Kind;
use crate::store::AHEAD_MAX;

/// So many frames at the most are taken at once: as many as are sure to be looked up ahead.
const AT_ONCE_MAX: usize = AHEAD_MAX / 2;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes frames into work or reads more input; whether there was either.
    pub(super) fn poll_take(
        &mut self,
        task: &mut TaskContext<'_>,
        limits: &Limits,
    ) -> io::Result<bool> {
        if self.input.state == State::Closed {
            return Ok(false);
        }
        let first = self.in_flight.len();
        // Their replies do not exist yet; together they must not be more than may wait unread.
        let mut reply_bytes_left = limits.max_unread_reply_bytes.saturating_sub(self.output.len());
        let mut taken = 0;
        while taken < AT_ONCE_MAX && self.in_flight.len() < limits.max_in_flight {
            if self.input.buffer.is_empty() {
                self.input.decoder.limit(limits.max_frame_bytes);
            }
            let found = match self.input.decoder.find(&self.input.buffer) {
                Ok(Some(found)) => found,
                Ok(None) if taken == 0 => return self.poll_rest(task),
                Ok(None) => break,
                Err(broken) => {
                    self.break_off(broken);
                    taken += 1;
                    break;
                }
            };
            let frame_bytes = found.payload_bytes();
            let needed_bytes = memory::of_request(frame_bytes);
            let has_memory = match taken {
                0 => {
                    self.end_frame();
                    self.has_memory_for(frame_bytes, task)
                }
                // Only a first frame asks for more than the connection's own memory.
                _ => needed_bytes <= reply_bytes_left && self.has_own_memory_for(frame_bytes),
            };
            if !has_memory || !self.is_in_pace(limits) {
                break;
            }
            reply_bytes_left = reply_bytes_left.saturating_sub(needed_bytes);
            taken += 1;
            self.take(found, limits);
        }
        self.in_flight.begin_from(first, task);
        Ok(taken > 0)
    }

    /// Takes in a frame whose work has not begun.
    fn take(&mut self, found: Found, limits: &Limits) {
        let frame_bytes = found.payload_bytes();
        let request = Request::decode(&self.input.buffer[found.start..found.end]);
        self.input.decoder.consume(&mut self.input.buffer, found);
        buffers::shed(&mut self.input.buffer, found.consumed);
        self.input.decoder.limit(limits.max_frame_bytes);
        self.account.requests.add(1);
        match self.shared.permit(request, &mut self.granted, &self.account) {
            Ok(request) => self.in_flight.take(request, frame_bytes, limits),
            Err((kind, error)) => self.in_flight.push_error(kind, error),
        }
    }

    /// Reads more of a frame that is not complete.
    fn poll_rest(&mut self, task: &mut TaskContext<'_>) -> io::Result<bool> {
        let expected = self.input.decoder.expected_bytes(&self.input.buffer);
        if !self.has_memory_for(expected, task) {
            self.end_frame();
            return Ok(false);
        }
        self.poll_read(task)
    }

    /// The stream can't be trusted any more: the peer is told so, after all it asked before.
    pub(super) fn break_off(&mut self, broken: BrokenFraming) {
        self.account.requests.add(1);
        self.in_flight.push_error(Kind::Invalid, broken.into());
        self.close_input(CloseReason::Framing);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_util::task::TaskTracker;

    use crate::config::Config;
    use crate::connection::tests::connection_by;

    /// What the frames are answered that are sent so many at a time, each lot once the one before is
    /// answered; the last of them ends the stream.
    async fn replies(frames: &[Vec<u8>], at_a_time: usize, config: Config) -> String {
        let (mut peer, stream) = duplex(1 << 20);
        let mut connection = connection_by(stream, config);
        let served = TaskTracker::new().spawn(async move { connection.serve().await });
        let (mut said, mut sent) = (Vec::new(), 0);
        for some in frames.chunks(at_a_time) {
            peer.write_all(&some.concat()).await.unwrap();
            sent += some.len();
            while said.iter().filter(|byte| **byte == b'\n').count() < sent {
                assert_ne!(peer.read_buf(&mut said).await.unwrap(), 0, "{sent} were sent");
            }
        }
        peer.shutdown().await.unwrap();
        peer.read_to_end(&mut said).await.unwrap();
        served.await.unwrap().unwrap();
        String::from_utf8(said).unwrap()
    }

    fn frames() -> Vec<Vec<u8>> {
        let user = |at: usize| format!("u{}", at % 7);
        let message = |at: usize| match at % 8 {
            0 | 4 => format!(
                r#"{{"server":"chat","type":"SUBSCRIBE","user_id":"{}","room_id":{at},"session":"s{}"}}"#,
                user(at),
                at % 5
            ),
            1 => format!(r#"{{"server":"chat","type":"UNSUBSCRIBE","session":"s{}"}}"#, at % 5),
            2 => format!(
                r#"{{"server":"signaling","type":"STUDY_TIME_TO_TCP","user_id":"{}","study_time":"{at}"}}"#,
                user(at)
            ),
            3 => "{}".to_owned(),
            // More than a connection has memory of its own for.
            5 if at % 16 == 5 => format!(r#"{{"server":"{}"}}"#, "x".repeat(20_000)),
            _ => format!(
                r#"{{"server":"auth","type":"STUDY_TIME_FROM_TCP","user_id":"{}"}}"#,
                user(at + 1)
            ),
        };
        let mut frames: Vec<_> =
            (0..120).map(|at| format!("{}\n", message(at)).into_bytes()).collect();
        // The framing breaks behind all of them.
        frames.push(vec![b' '; 30_000]);
        frames
    }

    #[tokio::test]
    async fn frames_that_arrive_together_are_answered_as_those_that_arrive_alone() {
        let config = || {
            let mut config = Config::default();
            config.limits.max_frame_bytes = 25_000;
            config
        };
        let frames = frames();
        let alone = replies(&frames, 1, config()).await;
        assert_eq!(alone.lines().count(), frames.len());
        for max_in_flight in [1, 3, 64] {
            for max_unread_reply_bytes in [1, 5_000, 1 << 20] {
                let mut config = config();
                config.limits.max_in_flight = max_in_flight;
                config.limits.max_unread_reply_bytes = max_unread_reply_bytes;
                for at_a_time in [2, 40, frames.len()] {
                    let together = replies(&frames, at_a_time, config.clone()).await;
                    assert_eq!(together, alone, "{at_a_time} at a time, {:?}", config.limits);
                }
            }
        }
    }
}
