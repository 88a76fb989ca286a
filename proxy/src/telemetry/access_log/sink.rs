//! From a worker's buffer to the file: a bounded queue and the thread that writes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::format::LineFormat;
use super::record::AccessRecord;
use super::time::Timestamps;
use crate::telemetry::shard::lock;

/// Bytes that wait for the log thread at most, in sum.
const QUEUED_BYTES_MAX: usize = 1 << 20;
/// Buffers that wait for the log thread at most.
const QUEUED_BUFFERS_MAX: usize = 1024;
/// A worker hands its buffer over when it is this long: each time wakes the log thread, which costs both of them a few
/// microseconds.
const BUFFER_BYTES: usize = 128 << 10;
/// Room behind that for the line that is the last.
const LINE_BYTES: usize = 4 << 10;
/// Written buffers that are kept for workers, so that none is made anew for each batch.
const SPARE_BUFFERS_MAX: usize = 8;
/// How long the log thread waits when a file that does not block is not ready.
const NOT_READY_PAUSE: Duration = Duration::from_millis(10);

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file that is appended to, and made if missing.
    File(PathBuf),
}

impl Target {
    /// As the flag `--access-log` has it: `-`, `off` or a path. MeshConfig's `accessLogFile` is a path, or empty for none.
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "off" => Self::Off,
            "-" | "/dev/stdout" => Self::Stdout,
            "/dev/stderr" => Self::Stderr,
            path => Self::File(path.into()),
        }
    }

    fn open(&self) -> io::Result<Option<File>> {
        let duplicate = |stream: &dyn AsFd| Ok(Some(File::from(stream.as_fd().try_clone_to_owned()?)));
        match self {
            Self::Off => Ok(None),
            Self::Stdout => duplicate(&io::stdout()),
            Self::Stderr => duplicate(&io::stderr()),
            Self::File(path) => {
                // A pipe that nobody reads yet would be waited for; one that we could read from ourselves is not.
                let is_pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
                OpenOptions::new().append(true).read(is_pipe).create(!is_pipe).open(path).map(Some)
            }
        }
    }
}

/// Lines of one worker.
struct Batch {
    bytes: Vec<u8>,
    /// How many; none in a batch that only wakes the log thread.
    lines: u64,
}

/// What the workers, the control thread and the log thread share.
struct Shared {
    queued_bytes: AtomicUsize,
    dropped: Arc<AtomicU64>,
    /// Buffers that have been written, empty.
    spare: Mutex<Vec<Vec<u8>>>,
    /// What is to be written to from the next batch on.
    next: Mutex<Option<Option<File>>>,
    closing: AtomicBool,
}

impl Shared {
    /// A buffer for a batch.
    fn buffer(&self) -> Vec<u8> {
        let spare = lock(&self.spare).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES + LINE_BYTES))
    }

    /// Takes a buffer back whose batch is written, unless a long line has made it larger than others.
    fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spare = lock(&self.spare);
        if buffer.capacity() == BUFFER_BYTES + LINE_BYTES && spare.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// A file of access logs, and the thread that writes to it.
pub(super) struct AccessLog {
    queue: SyncSender<Batch>,
    shared: Arc<Shared>,
    target: Target,
    closed: Mutex<Receiver<()>>,
}

impl AccessLog {
    /// Opens `target` and starts the log thread. Lines that are dropped are counted in `dropped`.
    pub(super) fn start(target: Target, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let file = target.open()?;
        Self::start_with(file, target, dropped)
    }

    fn start_with(file: Option<File>, target: Target, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queued_bytes: AtomicUsize::new(0),
            dropped,
            spare: Mutex::default(),
            next: Mutex::new(None),
            closing: AtomicBool::new(false),
        });
        let (queue, batches) = sync_channel(QUEUED_BUFFERS_MAX);
        let (close, closed) = sync_channel(1);
        let mut writer = Writer { file, broken: false, shared: Arc::clone(&shared) };
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            writer.run(&batches);
            // First, so that whoever hands over a line from now on is told that it is too late.
            drop(batches);
            // Nobody waits for it, if not `closed`.
            let _ = close.try_send(());
        })?;
        Ok(Self { queue, shared, target, closed: Mutex::new(closed) })
    }

    /// Where lines go.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// A buffer for a worker.
    pub(super) fn logger(&self) -> AccessLogger {
        AccessLogger {
            buffer: Vec::new(),
            lines: 0,
            times: Timestamps::default(),
            queue: self.queue.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Opens the file again, as after it has been renamed; also the cure for a reader that had gone.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let file = self.target.open()?;
        *lock(&self.shared.next) = Some(file);
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // When the queue is full the log thread is awake.
        drop(self.queue.try_send(Batch { bytes: Vec::new(), lines: 0 }));
    }

    /// Has all that was handed over written. Lines that come later are dropped.
    pub(super) fn begin_to_close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Waits until that is done, at most for `bound`; false if that was not enough.
    pub(super) fn closed(&self, bound: Duration) -> bool {
        lock(&self.closed).recv_timeout(bound).is_ok()
    }
}

/// One worker's side of a file.
pub(super) struct AccessLogger {
    buffer: Vec<u8>,
    lines: u64,
    times: Timestamps,
    queue: SyncSender<Batch>,
    shared: Arc<Shared>,
}

impl AccessLogger {
    /// Whether its lines go to `log`.
    pub(super) fn writes_to(&self, log: &AccessLog) -> bool {
        Arc::ptr_eq(&self.shared, &log.shared)
    }

    /// Adds the line for `record`. Never waits.
    pub(super) fn log(&mut self, format: &LineFormat, record: &AccessRecord<'_>) {
        format.write(&mut self.buffer, &mut self.times, record);
        self.lines += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Hands the lines over to the log thread; drops them if too much waits there already. Never waits.
    pub(super) fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        let (length, lines) = (self.buffer.len(), std::mem::take(&mut self.lines));
        let waiting = self.shared.queued_bytes.fetch_add(length, Ordering::Relaxed);
        let bytes = std::mem::replace(&mut self.buffer, self.shared.buffer());
        if waiting + length > QUEUED_BYTES_MAX || self.queue.try_send(Batch { bytes, lines }).is_err() {
            self.shared.queued_bytes.fetch_sub(length, Ordering::Relaxed);
            self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

impl Drop for AccessLogger {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The log thread.
struct Writer {
    file: Option<File>,
    /// The reader has gone: nothing more is written until there is another file.
    broken: bool,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(&mut self, batches: &Receiver<Batch>) {
        loop {
            let batch =
                if self.shared.closing.load(Ordering::SeqCst) { batches.try_recv().ok() } else { batches.recv().ok() };
            let Some(batch) = batch else { return };
            self.take_file();
            self.write(&batch);
            self.shared.queued_bytes.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
            self.shared.give_back(batch.bytes);
        }
    }

    fn take_file(&mut self) {
        if let Some(file) = lock(&self.shared.next).take() {
            self.file = file;
            self.broken = false;
        }
    }

    fn write(&mut self, batch: &Batch) {
        let Some(file) = &mut self.file else { return };
        let written = if self.broken { Err(ErrorKind::BrokenPipe.into()) } else { write_all(file, &batch.bytes) };
        if let Err(error) = written {
            self.broken = error.kind() == ErrorKind::BrokenPipe;
            self.shared.dropped.fetch_add(batch.lines, Ordering::Relaxed);
        }
    }
}

/// As `Write::write_all`, but it also bears with a file that somebody else has made non-blocking.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(NOT_READY_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    use config_model::model::{AccessLogFormat, Format};

    use super::*;
    use crate::telemetry::access_log::tests::record;

    const BOUND: Duration = Duration::from_secs(20);

    fn line(length: usize) -> LineFormat {
        LineFormat::new(&AccessLogFormat::Text(Format::parse(&"x".repeat(length - 1)).unwrap()))
    }

    fn piped() -> (AccessLog, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        (AccessLog::start_with(Some(file), Target::Off, Arc::default()).unwrap(), reader)
    }

    fn close(log: &AccessLog, bound: Duration) -> bool {
        log.begin_to_close();
        log.closed(bound)
    }

    fn dropped(log: &AccessLog) -> u64 {
        log.shared.dropped.load(Ordering::Relaxed)
    }

    fn read_lines(mut reader: PipeReader) -> u64 {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text.lines().count() as u64
    }

    #[test]
    fn the_flag_and_mesh_config_name_targets() {
        for (text, target) in [
            ("-", Target::Stdout),
            ("/dev/stdout", Target::Stdout),
            ("/dev/stderr", Target::Stderr),
            ("off", Target::Off),
            ("", Target::Off),
            ("/var/log/access.log", Target::File("/var/log/access.log".into())),
        ] {
            assert_eq!(Target::parse(text), target);
        }
    }

    #[test]
    fn lines_come_whole_and_in_order_of_each_worker() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, "kept\n").unwrap();
        let log = AccessLog::start(Target::File(path.clone()), Arc::default()).unwrap();
        let mut logger = log.logger();
        let lengths: Vec<usize> = (2..1200).chain([70_000, 5]).collect();
        lengths.iter().for_each(|length| logger.log(&line(*length), &record()));
        drop(logger);
        assert!(close(&log, BOUND));
        let expected: String = lengths.iter().map(|length| "x".repeat(length - 1) + "\n").collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("kept\n{expected}"));
        assert_eq!(dropped(&log), 0);
    }

    #[test]
    fn a_reader_that_is_stuck_delays_no_worker_and_every_line_is_accounted_for() {
        let (log, reader) = piped();
        let (mut logger, line) = (log.logger(), line(1000));
        let lines = 5000;
        (0..lines).for_each(|_| logger.log(&line, &record()));
        drop(logger);
        let dropped_at_first = dropped(&log);
        // The queue, the pipe, and the batch in between hold at most this.
        assert!(dropped_at_first >= lines - (QUEUED_BYTES_MAX + (64 << 10) + 2 * BUFFER_BYTES) as u64 / 1000);
        assert!(dropped_at_first < lines - 1000, "{dropped_at_first}");
        let read = thread::spawn(|| read_lines(reader));
        assert!(close(&log, BOUND));
        let counted = dropped(&log);
        drop(log);
        assert_eq!(read.join().unwrap() + counted, lines);
        assert_eq!(counted, dropped_at_first);
    }

    #[test]
    fn lines_of_several_workers_are_not_mixed() {
        let (log, reader) = piped();
        let read = thread::spawn(move || {
            let mut text = String::new();
            io::BufReader::new(reader).read_to_string(&mut text).map(|_| text)
        });
        thread::scope(|scope| {
            for letter in ["a", "b", "c"] {
                let mut logger = log.logger();
                let format = Format::parse(&letter.repeat(99)).unwrap();
                let line = LineFormat::new(&AccessLogFormat::Text(format));
                scope.spawn(move || (0..2000).for_each(|_| logger.log(&line, &record())));
            }
        });
        assert!(close(&log, BOUND));
        let counted = dropped(&log);
        drop(log);
        let text = read.join().unwrap().unwrap();
        let whole = |line: &str| ["a", "b", "c"].iter().any(|letter| line == letter.repeat(99));
        assert!(text.lines().all(whole));
        assert_eq!(text.lines().count() as u64 + counted, 6000);
    }

    #[test]
    fn what_comes_after_the_end_is_counted_as_dropped() {
        let (log, _reader) = piped();
        let mut logger = log.logger();
        assert!(close(&log, BOUND));
        logger.log(&line(10), &record());
        logger.flush();
        assert_eq!(dropped(&log), 1);
    }

    #[test]
    fn closing_waits_for_a_stuck_reader_only_so_long() {
        let (log, _reader) = piped();
        let mut logger = log.logger();
        (0..1000).for_each(|_| logger.log(&line(1000), &record()));
        drop(logger);
        let start = Instant::now();
        assert!(!close(&log, Duration::from_millis(20)));
        assert!(start.elapsed() < BOUND);
    }

    #[test]
    fn without_a_reader_lines_are_counted_and_dropped_until_there_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        let log = AccessLog::start_with(Some(file), Target::File(path.clone()), Arc::default()).unwrap();
        drop(reader);
        let mut logger = log.logger();
        for lines in 1..=3 {
            logger.log(&line(10), &record());
            logger.flush();
            while dropped(&log) < lines {
                thread::yield_now();
            }
        }
        log.reopen().unwrap();
        logger.log(&line(10), &record());
        drop(logger);
        assert!(close(&log, BOUND));
        assert_eq!(dropped(&log), 3);
        assert_eq!(fs::read_to_string(path).unwrap(), "xxxxxxxxx\n");
    }

    #[test]
    fn a_file_that_was_renamed_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = AccessLog::start(Target::File(path.clone()), Arc::default()).unwrap();
        let mut logger = log.logger();
        logger.log(&line(3), &record());
        logger.flush();
        while fs::metadata(&path).unwrap().len() == 0 {
            thread::yield_now();
        }
        fs::rename(&path, &old).unwrap();
        log.reopen().unwrap();
        logger.log(&line(4), &record());
        logger.flush();
        assert!(close(&log, BOUND));
        assert_eq!(fs::read_to_string(old).unwrap(), "xx\n");
        assert_eq!(fs::read_to_string(path).unwrap(), "xxx\n");
    }
}
