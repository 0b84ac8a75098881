//! Where an HTTP/1 request ends on the wire. Pure: bytes in, a count out.
//!
//! actix-http decodes as many requests as it is given, and each takes kilobytes. So it is given one at a time, and for that
//! somebody has to know where one ends. This never decides what a request means, and need not understand what actix-http
//! refuses: whatever is unclear here ends the connection behind its head.

/// A longer line is no length; only its first bytes are looked at.
const LINE_MOST: usize = 96;

/// How far one request has come.
#[derive(Debug, Default)]
pub struct Framing {
    part: FramePart,
    line: Line,
    /// Whether the first line has been seen; empty lines before it do not count.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
    /// Whether the head holds something by which its end would be told otherwise.
    odd: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum FramePart {
    #[default]
    Head,
    /// So many bytes are to come.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk are to come.
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    End,
    Unclear,
}

impl Framing {
    /// Takes bytes that follow those taken so far, and says how many of them belong to this request.
    pub fn accept(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            taken += match self.part {
                FramePart::End | FramePart::Unclear => break,
                FramePart::Body(left) => {
                    let now = up_to(left, rest);
                    self.part = if left == now as u64 { FramePart::End } else { FramePart::Body(left - now as u64) };
                    now
                }
                FramePart::ChunkData(left) => {
                    let now = up_to(left, rest);
                    self.part =
                        if left == now as u64 { FramePart::ChunkEnd } else { FramePart::ChunkData(left - now as u64) };
                    now
                }
                FramePart::Head | FramePart::ChunkSize | FramePart::ChunkEnd | FramePart::Trailers => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    let now = end.map_or(rest.len(), |at| at + 1);
                    self.line.add(&rest[..now]);
                    if end.is_some() {
                        self.line_ended();
                    }
                    now
                }
            };
        }
        taken
    }

    /// Whether nothing of a request has been taken yet.
    pub fn is_at_start(&self) -> bool {
        self.part == FramePart::Head && !self.begun && self.line.length == 0
    }

    /// Whether all of the request has been taken.
    pub fn is_at_end(&self) -> bool {
        self.part == FramePart::End
    }

    /// Whether nothing more of the connection can be told apart.
    pub fn is_unclear(&self) -> bool {
        self.part == FramePart::Unclear
    }

    fn line_ended(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.part = match self.part {
            FramePart::Head if !line.content().is_empty() => {
                match std::mem::replace(&mut self.begun, true) {
                    false => self.odd |= line.content().starts_with(b"CONNECT "),
                    true => self.header(&line),
                }
                FramePart::Head
            }
            // What comes before the first line is left out by actix-http too.
            FramePart::Head if !self.begun => FramePart::Head,
            FramePart::Head => self.after_head(),
            // A line of a chunked body ends with both characters, or it is none.
            _ if !line.ends_with_both() => FramePart::Unclear,
            FramePart::ChunkSize => match line.chunk_size() {
                None => FramePart::Unclear,
                Some(0) => FramePart::Trailers,
                Some(size) => FramePart::ChunkData(size),
            },
            FramePart::ChunkEnd if line.content().is_empty() => FramePart::ChunkSize,
            FramePart::Trailers if line.content().is_empty() => FramePart::End,
            FramePart::Trailers => FramePart::Trailers,
            _ => FramePart::Unclear,
        };
    }

    fn header(&mut self, line: &Line) {
        let content = line.content();
        let colon = content.iter().position(|byte| *byte == b':').unwrap_or(content.len());
        let (name, value) = (&content[..colon], content.get(colon + 1..).unwrap_or_default());
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
            self.odd |= line.is_cut() || length.is_none() || self.length.is_some();
            self.length = length;
        } else if is("transfer-encoding") {
            self.odd |= line.is_cut() || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") || self.chunked;
            self.chunked = true;
        } else if is("upgrade") {
            self.odd = true;
        }
    }

    fn after_head(&self) -> FramePart {
        match (self.length, self.chunked) {
            _ if self.odd => FramePart::Unclear,
            (Some(_), true) => FramePart::Unclear,
            (None, true) => FramePart::ChunkSize,
            (None | Some(0), false) => FramePart::End,
            (Some(length), false) => FramePart::Body(length),
        }
    }
}

fn up_to(left: u64, rest: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(rest.len())
}

/// A line, of which the beginning is kept.
#[derive(Debug)]
struct Line {
    kept: [u8; LINE_MOST],
    length: usize,
    /// Its last two bytes.
    last: [u8; 2],
}

impl Default for Line {
    fn default() -> Self {
        Line { kept: [0; LINE_MOST], length: 0, last: [0; 2] }
    }
}

impl Line {
    fn add(&mut self, bytes: &[u8]) {
        if let Some(room) = self.kept.get_mut(self.length..) {
            let now = room.len().min(bytes.len());
            room[..now].copy_from_slice(&bytes[..now]);
        }
        self.length = self.length.saturating_add(bytes.len());
        for byte in &bytes[bytes.len().saturating_sub(2)..] {
            self.last = [self.last[1], *byte];
        }
    }

    fn ends_with_both(&self) -> bool {
        self.last == *b"\r\n"
    }

    fn is_cut(&self) -> bool {
        self.length > LINE_MOST
    }

    /// What stands before its end.
    fn content(&self) -> &[u8] {
        let end = if self.ends_with_both() { 2 } else { 1 };
        &self.kept[..self.length.saturating_sub(end).min(LINE_MOST)]
    }

    fn chunk_size(&self) -> Option<u64> {
        let content = self.content();
        let digits = content.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(content.len());
        let behind = content.get(digits);
        if self.is_cut() || !matches!(behind, None | Some(b';' | b' ' | b'\t')) {
            return None;
        }
        u64::from_str_radix(std::str::from_utf8(&content[..digits]).ok()?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use actix_http::h1::{Codec, Message};
    use actix_web::web::BytesMut;
    use proptest::prelude::*;
    use tokio_util::codec::Decoder;

    use super::*;

    /// How many bytes of all these belong to the first request, given in pieces of this size.
    fn first(bytes: &[u8], piece: usize) -> (usize, Framing) {
        let (mut framing, mut taken) = (Framing::default(), 0);
        for piece in bytes.chunks(piece.max(1)) {
            let now = framing.accept(piece);
            taken += now;
            if now < piece.len() {
                break;
            }
        }
        (taken, framing)
    }

    /// How many requests actix-http makes of these bytes.
    fn decoded(bytes: &[u8]) -> usize {
        // Its codec keeps a clock, which wants a place to run in.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (mut codec, mut source, mut requests) = (Codec::default(), BytesMut::from(bytes), 0);
            while let Ok(Some(message)) = codec.decode(&mut source) {
                requests += usize::from(matches!(message, Message::Item(_)));
            }
            requests
        })
    }

    #[test]
    fn a_request_ends_where_actix_http_ends_it() {
        let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
        for request in [
            "GET / HTTP/1.0\r\n\r\n",
            "\r\n\nGET / HTTP/1.1\nHost: a\n\n",
            "PUT / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 5 \r\n\r\nab\r\n\r",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\nA \r\n0123456789\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\nX: y\r\n\r\n",
        ] {
            for piece in [1, 2, 7, 1000] {
                let (taken, framing) = first((request.to_owned() + next).as_bytes(), piece);
                assert_eq!((taken, framing.is_at_end()), (request.len(), true), "{request:?} in pieces of {piece}");
            }
            assert_eq!((decoded(request.as_bytes()), decoded((request.to_owned() + next).as_bytes())), (1, 2));
        }
    }

    #[test]
    fn nothing_is_read_behind_a_head_that_is_not_clear() {
        for header in [
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: five",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Upgrade: websocket",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n");
            let (taken, framing) = first((head.clone() + "0\r\n\r\n").as_bytes(), 1000);
            assert_eq!((taken, framing.is_unclear()), (head.len(), true), "{header}");
        }
        let long = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}5\r\n\r\n", "0".repeat(LINE_MOST));
        assert!(first(long.as_bytes(), 1000).1.is_unclear());
        for body in ["x\r\n", "5\nab", "3\r\nabcd\r\n0\r\n\r\n", "0\r\nx\n\r\n", "fffffffffffffffff\r\n", "\r\n"] {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            assert!(first((head.to_owned() + body).as_bytes(), 1000).1.is_unclear(), "{body:?}");
        }
    }

    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "GET / HTTP/1.1",
            "POST / HTTP/1.1",
            "PUT / HTTP/1.0",
            "CONNECT a HTTP/1.1",
            "Host: a",
            "\r\n",
            "\n",
            "\r",
            "\r\n\r\n",
            "Content-Length: 5",
            "content-length:0",
            "Content-Length : 3",
            "Content-Length: +3",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Upgrade: websocket",
            "Connection: upgrade",
            "Expect: 100-continue",
            " x",
            "5",
            "0",
            "3;a",
            "abc",
            "X: y",
            ":",
            "\t",
            "ffffffffffffffff",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n",
        ]);
        prop::collection::vec(piece, 1..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever is sent: of what counts as one request here, actix-http never makes two.
        #[test]
        fn actix_http_never_finds_a_second_request_in_what_counts_as_one(text in pieces(), piece in 1usize..40) {
            let (taken, _) = first(text.as_bytes(), piece);
            prop_assert_eq!(taken, first(text.as_bytes(), text.len()).0, "in pieces as in one");
            prop_assert!(decoded(&text.as_bytes()[..taken]) <= 1, "{:?}", &text[..taken]);
        }
    }
}
