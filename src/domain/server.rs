//! The services that speak: the values of `server`.

/// The service for which a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// `"server":"chat"`
    Chat,
    /// `"server":"signaling"`
    Signaling,
    /// `"server":"signaling_scheduling"`
    Scheduling,
    /// `"server":"auth"`
    Auth,
    /// `"server":"room"`
    Room,
}

impl Server {
    /// All of them, in the order of the contract.
    pub const ALL: [Self; 5] =
        [Self::Chat, Self::Signaling, Self::Scheduling, Self::Auth, Self::Room];

    /// As it stands in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Signaling => "signaling",
            Self::Scheduling => "signaling_scheduling",
            Self::Auth => "auth",
            Self::Room => "room",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|server| server.name() == name)
    }
}

/// Some of the services that speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Servers(u8);

impl Servers {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self((1 << Server::ALL.len()) - 1);

    /// This one alone.
    pub fn only(server: Server) -> Self {
        Self(1 << server as u8)
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether this one is among them.
    pub fn has(self, server: Server) -> bool {
        self.0 & Self::only(server).0 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Each of them, in the order of the contract.
    pub fn each(self) -> impl Iterator<Item = Server> {
        Server::ALL.into_iter().filter(move |server| self.has(*server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        for server in Server::ALL {
            assert_eq!(Server::from_name(server.name()), Some(server));
            assert!(Servers::ALL.has(server) && !Servers::NONE.has(server));
            assert_eq!(Servers::only(server).each().collect::<Vec<_>>(), [server]);
        }
        let all = Server::ALL.into_iter().map(Servers::only).fold(Servers::NONE, Servers::and);
        assert_eq!(all, Servers::ALL);
        let both = Servers::only(Server::Room).and(Servers::only(Server::Chat));
        assert_eq!(both.each().collect::<Vec<_>>(), [Server::Chat, Server::Room]);
    }
}
