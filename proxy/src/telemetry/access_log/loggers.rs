//! A worker's side of all access logs.

use std::cell::RefCell;
use std::rc::Rc;

use super::filter;
use super::logs::{RequestLog, RequestLogs};
use super::record::AccessRecord;
use super::sink::AccessLogger;

/// A worker's buffers, one for each file that is in use.
#[derive(Default)]
pub struct Loggers(Vec<Rc<RefCell<AccessLogger>>>);

/// Those of them that the logs of a configuration write to, in their order.
#[derive(Default)]
pub struct ChosenLoggers(Box<[Rc<RefCell<AccessLogger>>]>);

impl Loggers {
    /// Buffers for `logs`.
    pub fn of(&mut self, logs: &RequestLogs) -> ChosenLoggers {
        ChosenLoggers(logs.logs().iter().map(|log| self.find(log)).collect())
    }

    fn find(&mut self, log: &RequestLog) -> Rc<RefCell<AccessLogger>> {
        if let Some(known) = self.0.iter().find(|logger| logger.borrow().writes_to(&log.file)) {
            return Rc::clone(known);
        }
        let logger = Rc::new(RefCell::new(log.file.logger()));
        self.0.push(Rc::clone(&logger));
        logger
    }

    /// Hands all lines over, and gives up buffers that no request can write to any more.
    pub fn flush(&mut self) {
        self.0.iter().for_each(|logger| logger.borrow_mut().flush());
        self.0.retain(|logger| Rc::strong_count(logger) > 1);
    }
}

impl ChosenLoggers {
    /// Whether a request leaves any line. If not, a caller may spare itself what only a line needs.
    pub fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Adds the line of each of `logs`, for which these were chosen, for `record`. Never waits.
    pub fn log(&self, logs: &RequestLogs, record: &AccessRecord<'_>) {
        for (log, logger) in logs.logs().iter().zip(&self.0) {
            if log.filter.as_ref().is_none_or(|filter| filter::takes(filter, record)) {
                logger.borrow_mut().log(&log.format, record);
            }
        }
    }
}
