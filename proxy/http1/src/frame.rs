//! A body on its way out in chunks. Source: RFC 9112, 7.1.

/// What stands before and after the data of one chunk; nothing of it has to be copied together with the data.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChunkFrame {
    head: [u8; 18],
    head_at: u8,
    head_end: u8,
    data: u64,
    tail_at: u8,
    tail_end: u8,
}

impl ChunkFrame {
    /// The frame of a chunk with `length` bytes of data; of the last chunk if that is zero.
    pub fn new(length: usize) -> Self {
        let mut frame = Self { data: length as u64, tail_end: 2, ..Self::default() };
        let digits = ((usize::BITS - length.leading_zeros()).div_ceil(4)).max(1) as usize;
        for (place, byte) in frame.head.iter_mut().take(digits).enumerate() {
            let digit = (length >> (4 * (digits - 1 - place))) & 15;
            *byte = b"0123456789abcdef".get(digit).copied().unwrap_or_default();
        }
        if let Some(end) = frame.head.get_mut(digits..digits + 2) {
            end.copy_from_slice(b"\r\n");
        }
        frame.head_end = digits as u8 + 2;
        frame
    }

    /// What is left of the line with the size.
    pub fn head(&self) -> &[u8] {
        self.head.get(usize::from(self.head_at)..usize::from(self.head_end)).unwrap_or_default()
    }

    /// How many bytes of the data are left.
    pub fn data(&self) -> usize {
        self.data as usize
    }

    /// What is left of the line after the data.
    pub fn tail(&self) -> &[u8] {
        b"\r\n".get(usize::from(self.tail_at)..usize::from(self.tail_end)).unwrap_or_default()
    }

    /// Whether all has been sent.
    pub fn is_done(&self) -> bool {
        self.tail_at == self.tail_end
    }

    /// Notes that `sent` bytes have gone, of head, data and tail in this order. Yields how many of them were data.
    pub fn advance(&mut self, sent: usize) -> usize {
        let of_head = sent.min(self.head().len());
        self.head_at += of_head as u8;
        let of_data = (sent - of_head).min(self.data());
        self.data -= of_data as u64;
        let of_tail = (sent - of_head - of_data).min(self.tail().len());
        self.tail_at += of_tail as u8;
        of_data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_the_size_in_hexadecimal_and_a_line_end_on_both_sides() {
        for (length, head) in [(0, "0\r\n"), (1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (65_536, "10000\r\n")] {
            let frame = ChunkFrame::new(length);
            assert_eq!((frame.head(), frame.data(), frame.tail()), (head.as_bytes(), length, &b"\r\n"[..]));
        }
        assert_eq!(ChunkFrame::new(usize::MAX).head(), b"ffffffffffffffff\r\n");
    }

    #[test]
    fn it_advances_over_any_number_of_bytes() {
        for step in 1..12 {
            let mut frame = ChunkFrame::new(5);
            let mut data = 0;
            while !frame.is_done() {
                data += frame.advance(step);
            }
            assert_eq!(data, 5);
        }
        assert!(ChunkFrame::default().is_done());
    }
}
