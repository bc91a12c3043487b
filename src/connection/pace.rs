//! So many frames of a connection within a second: further ones wait in the socket.

use std::time::Duration;

use tokio::time::Instant;

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts frames in windows of a second. A window begins when the one before is used up and its
/// second is over, so that the clock is asked once a window; after a quieter time there may be twice
/// as many frames in a second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    frames: usize,
    began_at: Option<Instant>,
    resumes_at: Option<Instant>,
}

/// Whether a frame may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Now,
    /// Not before [`Pace::resumes_at`]; this is the first frame that is told so.
    Pause,
    /// As before.
    Paused,
}

impl Pace {
    /// One more frame is there; `max` of them are allowed in a second.
    pub(super) fn admit(&mut self, max: usize) -> Admission {
        if self.frames >= max {
            let now = Instant::now();
            let ends_at = self.began_at.map_or(now, |began_at| began_at + WINDOW);
            if now < ends_at {
                return match self.resumes_at.replace(ends_at) {
                    None => Admission::Pause,
                    Some(_) => Admission::Paused,
                };
            }
            self.frames = 0;
            self.began_at = None;
        }
        self.resumes_at = None;
        self.began_at.get_or_insert_with(Instant::now);
        self.frames += 1;
        Admission::Now
    }

    /// When the frame that was told to wait is to be looked at again.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        self.resumes_at
    }

    /// Nothing waits for it any more.
    pub(super) fn forget(&mut self) {
        self.resumes_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that are admitted before the first that is not, 100 at the most.
    fn admitted(pace: &mut Pace, max: usize) -> usize {
        (0..100).take_while(|_| pace.admit(max) == Admission::Now).count()
    }

    #[tokio::test(start_paused = true)]
    async fn each_second_admits_so_many_frames() {
        let mut pace = Pace::default();
        assert_eq!(admitted(&mut pace, 7), 7);
        assert_eq!(pace.admit(7), Admission::Paused);
        for _ in 0..3 {
            tokio::time::sleep_until(pace.resumes_at().unwrap()).await;
            assert_eq!(admitted(&mut pace, 7), 7);
        }
        // One that is allowed more from now on goes on at once.
        assert_eq!(admitted(&mut pace, 9), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_quiet_time_there_are_at_most_twice_as_many() {
        let mut pace = Pace::default();
        for _ in 0..6 {
            assert_eq!(pace.admit(7), Admission::Now);
            tokio::time::advance(Duration::from_secs(100)).await;
        }
        assert_eq!(admitted(&mut pace, 7), 1 + 7);
    }
}
