//! The time of day as `date` has it, worked out once a second and not once for each answer.

use std::cell::Cell;
use std::time::SystemTime;

/// `Thu, 26 Nov 2026 04:15:30 GMT`. Source: RFC 9110, 5.6.7.
pub(crate) struct Date {
    text: Cell<[u8; 29]>,
}

impl Date {
    /// As of `now`.
    pub(crate) fn new(now: SystemTime) -> Self {
        let date = Self { text: Cell::new([b' '; 29]) };
        date.set(now);
        date
    }

    /// Makes it `now`.
    pub(crate) fn set(&self, now: SystemTime) {
        if let Ok(text) = httpdate::fmt_http_date(now).as_bytes().try_into() {
            self.text.set(text);
        }
    }

    /// The text.
    pub(crate) fn get(&self) -> [u8; 29] {
        self.text.get()
    }
}
