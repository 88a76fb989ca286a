//! Messages of a gRPC call, counted in the bodies that carry them. Source: gRPC over HTTP/2, "Length-Prefixed-Message"; Envoy's
//! filter `grpc_stats`, which counts a message when it begins.

/// Messages of both directions.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Of the request.
    pub(super) request: Direction,
    /// Of the answer.
    pub(super) response: Direction,
}

/// Messages of one direction, in whatever parts its bytes come.
#[derive(Debug, Default)]
pub(super) struct Direction {
    count: u64,
    /// How many of them have been told of.
    told: u64,
    /// Bytes of the prefix that are here: a flag, then four of the length.
    prefix: u8,
    length: u32,
    /// Bytes that are still to come of the message.
    left: u32,
}

impl Direction {
    /// Looks at what comes next.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = bytes.len().min(self.left as usize);
                self.left -= passed as u32;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            match self.prefix {
                0 => (self.count, self.length) = (self.count + 1, 0),
                _ => self.length = self.length << 8 | u32::from(*first),
            }
            self.prefix += 1;
            if self.prefix == 5 {
                (self.prefix, self.left) = (0, self.length);
            }
            bytes = rest;
        }
    }

    /// Those that have not been told of.
    pub(super) fn take(&mut self) -> u64 {
        self.count - std::mem::replace(&mut self.told, self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_counted_however_their_bytes_come(
            lengths in prop::collection::vec(0usize..400, 0..8), cuts in prop::collection::vec(1usize..300, 0..40),
        ) {
            let message = |length: &usize| [&[0][..], &(*length as u32).to_be_bytes(), &vec![0xff; *length]].concat();
            let all: Vec<u8> = lengths.iter().flat_map(message).collect();
            let (mut direction, mut rest, mut told) = (Direction::default(), &all[..], 0);
            for cut in cuts {
                let (part, others) = rest.split_at(cut.min(rest.len()));
                direction.see(part);
                told += direction.take();
                rest = others;
            }
            direction.see(rest);
            prop_assert_eq!(told + direction.take(), lengths.len() as u64);
            prop_assert_eq!(direction.take(), 0);
        }
    }

    #[test]
    fn a_message_counts_when_it_begins() {
        let mut direction = Direction::default();
        direction.see(&[1]);
        assert_eq!(direction.take(), 1);
        direction.see(&[0, 0, 0, 2, 7]);
        assert_eq!(direction.take(), 0);
        direction.see(&[7, 0]);
        assert_eq!(direction.take(), 1);
    }
}
