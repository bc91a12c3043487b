//! Peers that are called: they answer, or whatever else comes to their minds.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use fastrand::Rng;
use stated::connection::frame::{Decoder, Framing};
use stated::net::{TcpListener, TcpStream, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::history::{History, now};
use super::plan::{CALM_AT, PEER_PORT};

/// Longer than any simulation.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// One of the three.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) framing: Framing,
    /// Of 100 messages, how many are not just answered.
    pub(crate) moods: u32,
    pub(crate) history: History,
    pub(crate) rng: Rc<RefCell<Rng>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers,
    Refuses,
    Stalls,
    IsLate(Duration),
    Closes,
    ClosesInTheMiddle,
    AnswersInBytes,
    AnswersTwice,
    BreaksTheFraming,
    TalksNonsense,
}

impl Peer {
    /// Listens, now and then not, until the simulation ends.
    pub(crate) async fn listen(self) -> turmoil::Result {
        loop {
            let address = ([0, 0, 0, 0], PEER_PORT).into();
            let listener = listen(address, 0)?;
            let open_for = match now() < CALM_AT && self.moods > 0 && self.pick(4) == 0 {
                true => self.a_while(2000),
                false => FOR_EVER,
            };
            drop(timeout(open_for, self.accept(&listener)).await);
            drop(listener);
            self.history.note(&format!("{} refuses connections", self.name));
            sleep(self.a_while(800)).await;
        }
    }

    async fn accept(&self, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            if now() < CALM_AT && self.pick(100) < self.moods / 5 {
                self.history.note(&format!("{} hangs up at once", self.name));
                continue;
            }
            let peer = self.clone();
            tokio::task::spawn_local(async move { peer.serve(stream).await });
        }
    }

    fn pick(&self, below: u32) -> u32 {
        self.rng.borrow_mut().u32(..below)
    }

    fn a_while(&self, millis_max: u64) -> Duration {
        Duration::from_millis(self.rng.borrow_mut().u64(50..millis_max))
    }

    fn mood(&self) -> Mood {
        if now() >= CALM_AT || self.pick(100) >= self.moods {
            return Mood::Answers;
        }
        match self.pick(9) {
            0 => Mood::Refuses,
            1 => Mood::Stalls,
            2 => Mood::IsLate(self.a_while(1600)),
            3 => Mood::Closes,
            4 => Mood::ClosesInTheMiddle,
            5 => Mood::AnswersInBytes,
            6 => Mood::AnswersTwice,
            7 => Mood::BreaksTheFraming,
            _ => Mood::TalksNonsense,
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        let (mut input, mut decoder) = (BytesMut::new(), Decoder::new(self.framing, 1 << 16));
        loop {
            match decoder.find(&input) {
                Ok(Some(found)) => {
                    let message = input[found.start..found.end].to_vec();
                    decoder.consume(&mut input, found);
                    let Some(heard) = self.history.heard(self.name, &message) else { return };
                    if self.react(&mut stream, heard).await.is_none() {
                        return;
                    }
                }
                Ok(None) => match stream.read_buf(&mut input).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                Err(broken) => {
                    return self
                        .history
                        .complain(format!("{} hears no frame: {broken}", self.name));
                }
            }
        }
    }

    /// Nothing if the connection is to be closed.
    async fn react(&self, stream: &mut TcpStream, heard: usize) -> Option<()> {
        let mood = self.mood();
        if mood != Mood::Answers {
            self.history.note(&format!("{} has a mood: {mood:?}", self.name));
        }
        let reply = match mood {
            Mood::Refuses => r#"{"error":{"code":"CHAT-001"}}"#,
            Mood::TalksNonsense => "123,34,-19",
            _ => ["SUCCESS", "", r#"{"type":"KEEP"}"#, "{}"][self.pick(4) as usize],
        };
        let mut frame = BytesMut::new();
        self.framing.put(reply.as_bytes(), &mut frame).unwrap();
        match mood {
            Mood::Stalls => {
                sleep(Duration::from_secs(3)).await;
                return None;
            }
            Mood::Closes => return None,
            Mood::ClosesInTheMiddle => {
                let half = self.pick(frame.len() as u32) as usize;
                drop(stream.write_all(&frame[..half]).await);
                return None;
            }
            Mood::BreaksTheFraming => {
                drop(stream.write_all(&vec![0xff; (1 << 20) + 8]).await);
                return None;
            }
            Mood::IsLate(by) => sleep(by).await,
            Mood::Answers
            | Mood::Refuses
            | Mood::AnswersInBytes
            | Mood::AnswersTwice
            | Mood::TalksNonsense => {}
        }
        if mood != Mood::Refuses {
            self.history.accepted(heard);
        }
        match mood {
            Mood::AnswersInBytes => {
                for byte in frame {
                    stream.write_all(&[byte]).await.ok()?;
                    sleep(Duration::from_millis(5)).await;
                }
                Some(())
            }
            Mood::AnswersTwice => stream.write_all(&frame.repeat(2)).await.ok(),
            _ => stream.write_all(&frame).await.ok(),
        }
    }
}
