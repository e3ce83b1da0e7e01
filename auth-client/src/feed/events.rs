//! Server-sent events out of the bytes of an answer, as the HTML standard's section on them says.
//!
//! Readers that are to be had keep an event of any length in memory. Whatever sends us events is trusted, but a mistake at
//! the other end must not fill the memory of every service that listens.

/// An event and the field that it is being read from may have this many bytes together.
const MOST: usize = 64 * 1024;

/// An event that somebody may act upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerEvent {
    /// Its name; `message` where none was given.
    pub(crate) name: String,
    pub(crate) data: String,
    /// The last id that was given, be it with this event or before.
    pub(crate) id: Option<String>,
}

/// What cannot be read as events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("an event is longer than {MOST} bytes")]
    TooLong,
    #[error("an event is not UTF-8 text")]
    NotText,
}

/// Reads events from bytes that come in pieces.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed that follows belongs to the same line end.
    returned: bool,
    begun: bool,
    name: String,
    data: String,
    id: Option<String>,
}

impl EventReader {
    /// The events that end in these bytes.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, Unreadable> {
        let mut events = Vec::new();
        for &byte in bytes {
            let returned = std::mem::replace(&mut self.returned, byte == b'\r');
            match byte {
                b'\n' if returned => {}
                b'\n' | b'\r' => events.extend(self.end_line()?),
                byte => {
                    if self.line.len() + self.data.len() >= MOST {
                        return Err(Unreadable::TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Result<Option<ServerEvent>, Unreadable> {
        let bytes = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&bytes).map_err(|_| Unreadable::NotText)?;
        let text = if std::mem::replace(&mut self.begun, true) {
            text
        } else {
            text.strip_prefix('\u{feff}').unwrap_or(text)
        };
        if text.is_empty() {
            return Ok(self.end_event());
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // A comment has no field's name before its colon; what else there may be means nothing to us.
            _ => {}
        }
        Ok(None)
    }

    fn end_event(&mut self) -> Option<ServerEvent> {
        let (name, mut data) = (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.data),
        );
        // An event without data is none.
        data.pop()?;
        let name = if name.is_empty() {
            "message".to_owned()
        } else {
            name
        };
        Some(ServerEvent {
            name,
            data,
            id: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<ServerEvent> {
        EventReader::default().read(text.as_bytes()).unwrap()
    }

    fn event(name: &str, data: &str, id: Option<&str>) -> ServerEvent {
        ServerEvent {
            name: name.to_owned(),
            data: data.to_owned(),
            id: id.map(str::to_owned),
        }
    }

    #[test]
    fn events_have_names_data_and_ids_and_comments_mean_nothing() {
        let text = "\u{feff}: hello\n\nevent: hello\ndata: {}\n\nid: 7\ndata:one\ndata: two\n\n:\ndata\n\nevent: no data\n\ndata:  x\n\n";
        assert_eq!(
            read(text),
            [
                event("hello", "{}", None),
                event("message", "one\ntwo", Some("7")),
                event("message", "", Some("7")),
                event("message", " x", Some("7")),
            ]
        );
    }

    #[test]
    fn every_kind_of_line_end_is_one() {
        for end in ["\n", "\r", "\r\n"] {
            let text = ["event: a", "data: 1", "", "data: 2", "", ""].join(end);
            let events = [event("a", "1", None), event("message", "2", None)];
            assert_eq!(read(&text), events, "{end:?}");
        }
    }

    #[test]
    fn an_event_that_never_ends_does_not_fill_the_memory() {
        let mut reader = EventReader::default();
        let refused = (0..100).find_map(|_| reader.read(&[b'x'; 1024]).err());
        assert_eq!(refused, Some(Unreadable::TooLong));
        let mut reader = EventReader::default();
        let refused = (0..100_000).find_map(|_| reader.read(b"data: xxx\n").err());
        assert_eq!(refused, Some(Unreadable::TooLong));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_pieces_end(
            text in "((event|data|id|retry|)(: ?|)[a-z\u{e9}]{0,4}(\n|\r|\r\n)|\n|\r\n){0,12}",
            cuts in proptest::collection::vec(0..200usize, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut reader = EventReader::default();
            let mut events = Vec::new();
            for piece in cuts.windows(2) {
                events.extend(reader.read(&bytes[piece[0]..piece[1]]).unwrap());
            }
            prop_assert_eq!(events, read(&text));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = EventReader::default().read(&bytes);
        }
    }
}
