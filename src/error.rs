//! The fleet's error codes, as peers read them (contract §6).

use bytes::{BufMut, BytesMut};

use crate::domain::json::{Charset, put_str};

/// Bytes of an error's `detail` that are sent at the most; the rest is cut off.
pub const DETAIL_BYTES_MAX: usize = 300;

/// A code of the fleet's table. CHAT-011 to CHAT-015 and CHAT-033 belong to the chat service and
/// are never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// CHAT-001: the session resolves to nobody.
    UserNotFound,
    /// CHAT-002: a peer refused or dropped a forwarded message.
    MessageNotDelivered,
    /// CHAT-003: anything wrong with the request.
    InvalidMessageFormat,
    /// CHAT-021: a peer can't be reached.
    TcpConnectionFailed,
    /// CHAT-022: a listener's address is taken. In the log and the exit status, never a reply.
    TcpBindFailed,
    /// CHAT-023: a peer did not answer in time.
    TcpTimeout,
    /// CHAT-031: the store failed.
    UnknownServerError,
    /// CHAT-032: the peer may not speak for this `server`.
    InvalidToken,
}

impl Code {
    /// Every code that exists here, in the table's order.
    pub const ALL: [Self; 8] = [
        Self::UserNotFound,
        Self::MessageNotDelivered,
        Self::InvalidMessageFormat,
        Self::TcpConnectionFailed,
        Self::TcpBindFailed,
        Self::TcpTimeout,
        Self::UnknownServerError,
        Self::InvalidToken,
    ];

    /// `CHAT-nnn`.
    pub fn code(self) -> &'static str {
        self.row()[0]
    }

    /// The name that goes with the code.
    pub fn name(self) -> &'static str {
        self.row()[1]
    }

    /// `code`, `name`, `status`, `message`.
    pub fn row(self) -> [&'static str; 4] {
        const FAILED: &str = "500 INTERNAL_SERVER_ERROR";
        const TCP: &str = "TCP-ERROR";
        match self {
            Self::UserNotFound => {
                ["CHAT-001", "USER_NOT_FOUND", "404 NOT_FOUND", "해당 유저가 존재하지 않음"]
            }
            Self::MessageNotDelivered => {
                ["CHAT-002", "MESSAGE_NOT_DELIVERED", FAILED, "메시지 전송 실패"]
            }
            Self::InvalidMessageFormat => {
                ["CHAT-003", "INVALID_MESSAGE_FORMAT", "400 BAD_REQUEST", "메시지 형식이 잘못됨"]
            }
            Self::TcpConnectionFailed => {
                ["CHAT-021", "TCP_CONNECTION_FAILED", TCP, "TCP 연결 실패"]
            }
            Self::TcpBindFailed => ["CHAT-022", "TCP_BIND_FAILED", TCP, "TCP 바인딩 실패"],
            Self::TcpTimeout => ["CHAT-023", "TCP_TIMEOUT", TCP, "TCP 연결 시간 초과"],
            Self::UnknownServerError => {
                ["CHAT-031", "UNKNOWN_SERVER_ERROR", FAILED, "알 수 없는 서버 오류"]
            }
            Self::InvalidToken => {
                ["CHAT-032", "INVALID_TOKEN", "401 UNAUTHORIZED", "토큰이 유효하지 않은 경우"]
            }
        }
    }

    /// Appends the error object, with `detail` unless it is empty.
    pub fn put(self, detail: &str, out: &mut BytesMut) {
        out.put_slice(b"{\"error\":{");
        for (name, value) in ["code", "name", "status", "message"].into_iter().zip(self.row()) {
            if name != "code" {
                out.put_u8(b',');
            }
            put_str(out, name, Charset::Ascii);
            out.put_u8(b':');
            put_str(out, value, Charset::Ascii);
        }
        if !detail.is_empty() {
            out.put_slice(b",\"detail\":");
            put_str(out, &detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)], Charset::Ascii);
        }
        out.put_slice(b"}}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_the_contract_has_it() {
        let mut out = BytesMut::new();
        Code::InvalidMessageFormat.put("missing field `user_id`", &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        assert!(text.is_ascii());
        let expected = r#"{"error":{"code":"CHAT-003","name":"INVALID_MESSAGE_FORMAT","status":"400 BAD_REQUEST","message":"메시지 형식이 잘못됨","detail":"missing field `user_id`"}}"#;
        let value = |json| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(value(text), value(expected));
    }

    #[test]
    fn without_a_detail_every_error_fits_the_smallest_framing() {
        for code in Code::ALL {
            let mut out = BytesMut::new();
            code.put("", &mut out);
            assert!(out.len() <= 255, "{} has {} bytes", code.code(), out.len());
        }
    }

    #[test]
    fn a_long_detail_is_cut_between_two_characters() {
        let mut out = BytesMut::new();
        Code::UserNotFound.put(&"가".repeat(200), &mut out);
        let reply: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(reply["error"]["detail"], "가".repeat(100));
    }
}
