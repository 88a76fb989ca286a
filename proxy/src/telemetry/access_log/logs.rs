//! The access logs of a configuration, and the files that they are in. A file is opened when a configuration first names it, and closed
//! when the last request of the last configuration that did is over.

use std::io;
use std::mem;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ::http::HeaderMap;
use config_model::model::{AccessLogFormat, LogFilter};

use super::format::LineFormat;
use super::record::{CapturedHeaders, FieldName};
use super::sink::{AccessLog, Target};
use crate::telemetry::Metrics;

/// An access log as it is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedLog {
    /// Where its lines go.
    pub target: Target,
    /// How they look.
    pub format: AccessLogFormat,
    /// Whether what is absent leaves nothing behind.
    pub omits_absent: bool,
    /// Which requests have a line; all if there is none.
    pub filter: Option<LogFilter>,
}

/// The access logs of a configuration.
#[derive(Default)]
pub struct RequestLogs {
    logs: Box<[RequestLog]>,
    response_headers: Arc<[FieldName]>,
    response_trailers: Arc<[FieldName]>,
}

/// One of them.
pub(super) struct RequestLog {
    /// How a line looks.
    pub(super) format: LineFormat,
    /// Which requests have one.
    pub(super) filter: Option<LogFilter>,
    /// Where lines go; several logs may go to one file.
    pub(super) file: Arc<AccessLog>,
}

fn each_once(names: impl Iterator<Item = FieldName>) -> Arc<[FieldName]> {
    let mut once = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once.into()
}

impl RequestLogs {
    fn new(logs: Vec<RequestLog>) -> Self {
        let of_filters = logs.iter().filter_map(|log| log.filter.as_ref()).flat_map(LogFilter::response_fields);
        let of_filters = of_filters.filter_map(|name| FieldName::new(&name));
        let of_formats = logs.iter().flat_map(|log| log.format.response_headers().iter().cloned());
        let response_headers = each_once(of_formats.chain(of_filters));
        let response_trailers = each_once(logs.iter().flat_map(|log| log.format.response_trailers().iter().cloned()));
        Self { logs: logs.into(), response_headers, response_trailers }
    }

    /// Each of them.
    pub(super) fn logs(&self) -> &[RequestLog] {
        &self.logs
    }

    /// Fields of the answer that lines need.
    pub fn capture_response(&self, head: &http1::Head) -> CapturedHeaders {
        CapturedHeaders::of(&self.response_headers, head)
    }

    /// Fields of the answer's trailers that lines need.
    pub fn capture_trailers(&self, trailers: &HeaderMap) -> CapturedHeaders {
        CapturedHeaders::of_trailers(&self.response_trailers, trailers)
    }
}

/// Every file that access logs of this process go to.
pub struct AccessLogs {
    dropped: Arc<AtomicU64>,
    wanted: Vec<WantedLog>,
    current: Arc<RequestLogs>,
    /// Files of configurations that are out of force; some requests may still write to them.
    retired: Vec<Weak<AccessLog>>,
}

impl AccessLogs {
    /// None yet. Lines that are dropped are counted in `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        Self { dropped: metrics.lines_dropped(), wanted: Vec::new(), current: Arc::default(), retired: Vec::new() }
    }

    /// The logs of a configuration that wants these. If one of them can't be opened, all stay as they were.
    pub fn follow(&mut self, wanted: &[WantedLog]) -> io::Result<Arc<RequestLogs>> {
        if self.wanted != wanted {
            let logs = self.open(wanted)?;
            let previous = mem::replace(&mut self.current, Arc::new(RequestLogs::new(logs)));
            self.retired.extend(previous.logs.iter().map(|log| Arc::downgrade(&log.file)));
            self.retired.retain(|file| file.strong_count() > 0);
            self.wanted = wanted.to_vec();
        }
        Ok(Arc::clone(&self.current))
    }

    fn open(&self, wanted: &[WantedLog]) -> io::Result<Vec<RequestLog>> {
        let mut files: Vec<Arc<AccessLog>> = self.current.logs.iter().map(|log| Arc::clone(&log.file)).collect();
        let mut logs = Vec::with_capacity(wanted.len());
        for log in wanted {
            let known = files.iter().find(|file| *file.target() == log.target).cloned();
            let file = match known {
                Some(known) => known,
                None => Arc::new(AccessLog::start(log.target.clone(), Arc::clone(&self.dropped))?),
            };
            files.push(Arc::clone(&file));
            let format = LineFormat::new(&log.format);
            let format = if log.omits_absent { format.omitting_absent() } else { format };
            logs.push(RequestLog { format, filter: log.filter.clone(), file });
        }
        Ok(logs)
    }

    /// Files, each once.
    fn files(&self) -> Vec<Arc<AccessLog>> {
        let current = self.current.logs.iter().map(|log| Arc::clone(&log.file));
        let all = current.chain(self.retired.iter().filter_map(Weak::upgrade));
        let mut files: Vec<Arc<AccessLog>> = Vec::new();
        for file in all {
            if !files.iter().any(|known| Arc::ptr_eq(known, &file)) {
                files.push(file);
            }
        }
        files
    }

    /// Opens the files again, as after they have been renamed; also the cure for a reader that had gone. One that can't be opened goes on
    /// as it was.
    pub fn reopen(&self) -> io::Result<()> {
        self.files().iter().map(|file| file.reopen()).fold(Ok(()), io::Result::and)
    }

    /// Waits until all that was handed over is written, at most for `bound`. Lines that come later are dropped.
    pub fn close(&self, bound: Duration) {
        let files = self.files();
        files.iter().for_each(|file| file.begin_to_close());
        let end = Instant::now() + bound;
        for file in files {
            file.closed(end.saturating_duration_since(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use config_model::model::Format;

    use super::*;
    use crate::telemetry::access_log::loggers::Loggers;
    use crate::telemetry::access_log::tests::record;
    use crate::telemetry::{AccessRecord, DestinationLabels};

    const BOUND: Duration = Duration::from_secs(20);

    fn access_logs() -> AccessLogs {
        AccessLogs::new(&Metrics::new(DestinationLabels::unknown().workload.as_ref().clone(), "1"))
    }

    fn wanted(file: &std::path::Path, text: &str) -> WantedLog {
        let format = AccessLogFormat::Text(Format::parse(text).unwrap());
        WantedLog { target: Target::File(file.into()), format, omits_absent: false, filter: None }
    }

    #[test]
    fn a_request_is_one_line_in_each_log_and_logs_share_files() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        let mut logs = access_logs();
        let of_request = logs.follow(&[wanted(&one, "a"), wanted(&other, "b"), wanted(&one, "c")]).unwrap();
        let mut loggers = Loggers::default();
        let of_worker = loggers.of(&of_request);
        (0..2).for_each(|_| of_worker.log(&of_request, &record()));
        loggers.flush();
        logs.close(BOUND);
        assert_eq!(fs::read_to_string(one).unwrap(), "a\nc\na\nc\n");
        assert_eq!(fs::read_to_string(other).unwrap(), "b\nb\n");
    }

    #[test]
    fn a_filter_is_for_its_own_log() {
        let folder = tempfile::tempdir().unwrap();
        let [some, all] = ["some", "all"].map(|name| folder.path().join(name));
        let mut logs = access_logs();
        let filter = LogFilter::parse("response.code >= 500 && response.headers['x-a'] == 'b'").unwrap();
        let filtered = WantedLog { filter: Some(filter), ..wanted(&some, "%RESPONSE_CODE%") };
        let of_request = logs.follow(&[filtered, wanted(&all, "%RESPONSE_CODE%")]).unwrap();
        let mut head = http1::Head::default();
        head.append(b"x-a", b"b");
        let captured = of_request.capture_response(&head);
        let mut loggers = Loggers::default();
        let of_worker = loggers.of(&of_request);
        for status in [200, 503] {
            let record = AccessRecord { status, response_headers: &captured, ..record() };
            of_worker.log(&of_request, &record);
        }
        loggers.flush();
        logs.close(BOUND);
        assert_eq!(fs::read_to_string(some).unwrap(), "503\n");
        assert_eq!(fs::read_to_string(all).unwrap(), "200\n503\n");
    }

    #[test]
    fn what_is_wanted_already_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let mut logs = access_logs();
        let first = logs.follow(&[wanted(&file, "a")]).unwrap();
        assert!(Arc::ptr_eq(&first, &logs.follow(&[wanted(&file, "a")]).unwrap()));
        let second = logs.follow(&[wanted(&file, "b")]).unwrap();
        assert!(Arc::ptr_eq(&first.logs[0].file, &second.logs[0].file));
    }

    #[test]
    fn if_one_can_not_be_opened_all_stay_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let mut logs = access_logs();
        let first = logs.follow(&[wanted(&file, "a")]).unwrap();
        let nowhere = folder.path().join("no/folder/log");
        assert!(logs.follow(&[wanted(&file, "b"), wanted(&nowhere, "b")]).is_err());
        assert!(Arc::ptr_eq(&first, &logs.follow(&[wanted(&file, "a")]).unwrap()));
    }

    #[test]
    fn requests_of_a_configuration_out_of_force_are_in_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let [before, after] = ["before", "after"].map(|name| folder.path().join(name));
        let mut logs = access_logs();
        let mut loggers = Loggers::default();
        let first = logs.follow(&[wanted(&before, "a")]).unwrap();
        let of_first = loggers.of(&first);
        logs.follow(&[wanted(&after, "b")]).unwrap();
        of_first.log(&first, &record());
        loggers.flush();
        logs.close(BOUND);
        assert_eq!(fs::read_to_string(before).unwrap(), "a\n");
        assert_eq!(fs::read_to_string(after).unwrap(), "");
    }
}
