//! The program's own log: lines on standard error, written by a thread of their own.
//!
//! Whoever logs never waits: when the reader of standard error is slow or gone, lines beyond [`LINES_MAX`] are dropped, and
//! the next one that gets through says how many. Levels can be changed while the program runs. Start at [`Log::start`].

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

/// Libraries that tell of what others send. They are silent unless they are asked for, or everything is: whoever is on the other
/// side could fill the log otherwise.
const LIBRARIES: [&str; 9] =
    ["h2", "h3", "h3_quinn", "hyper", "hyper_util", "quinn", "quinn_proto", "quinn_udp", "rustls"];

/// Lines that wait to be written.
const LINES_MAX: usize = 1024;
/// How long [`Log::flush`] waits for a reader.
const FLUSH: Duration = Duration::from_millis(500);

/// The log of the process.
#[derive(Debug, Clone)]
pub struct Log {
    levels: Levels,
    lines: Lines,
}

/// How much is logged, by target.
#[derive(Debug, Clone)]
pub struct Levels {
    handle: reload::Handle<Targets, Registry>,
    current: Arc<Mutex<Targets>>,
}

/// The queue of lines.
#[derive(Debug, Clone)]
struct Lines {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Everything before this has been written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts to write to standard error what the program logs at `level` or above.
    ///
    /// # Errors
    /// If the system refuses a thread, or another log was started in this process.
    pub fn start(level: LevelFilter) -> io::Result<Self> {
        let (log, subscriber) = Self::to(io::stderr(), level)?;
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
        Ok(log)
    }

    fn to(
        output: impl Write + Send + 'static,
        level: LevelFilter,
    ) -> io::Result<(Self, impl tracing::Subscriber + Send + Sync)> {
        let (queue, entries) = sync_channel(LINES_MAX);
        let lines = Lines { queue, dropped: Arc::default() };
        let dropped = Arc::clone(&lines.dropped);
        thread::Builder::new().name("log".to_owned()).spawn(move || write(&entries, output, &dropped))?;
        let targets = all(level);
        let (filter, handle) = reload::Layer::new(targets.clone());
        let format = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(lines.clone());
        let levels = Levels { handle, current: Arc::new(Mutex::new(targets)) };
        Ok((Self { levels, lines }, tracing_subscriber::registry().with(filter).with(format)))
    }

    /// How much is logged.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Waits until the lines so far have been written, though not for ever.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.lines.queue.try_send(Entry::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH);
        }
    }
}

/// Everything at `level`; libraries only if it is asked for details.
fn all(level: LevelFilter) -> Targets {
    let of_libraries = if level > LevelFilter::INFO { level } else { LevelFilter::OFF };
    LIBRARIES.iter().fold(Targets::new().with_default(level), |targets, name| targets.with_target(*name, of_libraries))
}

impl Levels {
    /// Sets the level of everything.
    pub fn set(&self, level: LevelFilter) {
        self.replace(all(level));
    }

    /// Sets the level of one target, such as `source` or `hyper`.
    pub fn set_target(&self, target: &str, level: LevelFilter) {
        let current = self.lock().clone();
        self.replace(current.with_target(target, level));
    }

    fn replace(&self, targets: Targets) {
        *self.lock() = targets.clone();
        // Fails only when the log itself is gone.
        let _ = self.handle.reload(targets);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Targets> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Levels {
    /// `hyper=warn,info`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.lock())
    }
}

/// One line on its way: tracing writes it in one piece or several, and drops it when it is whole.
struct Line<'a> {
    lines: &'a Lines,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, bytes: Vec::new() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() && self.lines.queue.try_send(Entry::Line(bytes)).is_err() {
            self.lines.dropped.fetch_add(1, Relaxed);
        }
    }
}

fn write(entries: &Receiver<Entry>, mut output: impl Write, dropped: &AtomicU64) {
    for entry in entries {
        let lost = dropped.swap(0, Relaxed);
        if lost > 0 {
            let _ = writeln!(output, "{lost} log lines were dropped: standard error was not read");
        }
        // A closed or full standard error concerns the log alone.
        let _ = match entry {
            Entry::Line(bytes) => output.write_all(&bytes),
            Entry::Flush(done) => output.flush().map(|()| done.send(()).unwrap_or_default()),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Shares what was written with the test.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_level_holds_for_everything_or_for_one_target_and_can_be_changed() {
        let output = Shared::default();
        let (log, subscriber) = Log::to(output.clone(), LevelFilter::INFO).unwrap();
        let say = |word: &str| {
            tracing::info!(target: "source", "{word} of source");
            tracing::debug!(target: "admin", "{word} of admin");
        };
        tracing::subscriber::with_default(subscriber, || {
            say("first");
            log.levels().set(LevelFilter::WARN);
            say("second");
            log.levels().set_target("admin", LevelFilter::DEBUG);
            say("third");
        });
        log.flush();
        let text = output.text();
        let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap().1.trim()).collect();
        assert_eq!(lines, ["INFO source: first of source", "DEBUG admin: third of admin"]);
        let told = log.levels().to_string();
        assert!(told.contains("admin=debug") && told.ends_with("warn"), "{told}");
    }

    #[test]
    fn what_the_other_side_can_make_libraries_say_is_said_only_to_who_asks() {
        let output = Shared::default();
        let (log, subscriber) = Log::to(output.clone(), LevelFilter::INFO).unwrap();
        let say = |word: &str| tracing::warn!(target: "h2::proto::ping_pong", "{word}");
        tracing::subscriber::with_default(subscriber, || {
            say("first");
            log.levels().set_target("h2", LevelFilter::WARN);
            say("second");
            log.levels().set(LevelFilter::ERROR);
            say("third");
            log.levels().set(LevelFilter::DEBUG);
            say("fourth");
        });
        log.flush();
        let text = output.text();
        let lines: Vec<_> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(lines, ["second", "fourth"]);
    }

    #[test]
    fn nobody_waits_for_a_reader_and_lost_lines_are_counted() {
        struct Stuck(Receiver<()>, Shared);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                self.1.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let output = Shared::default();
        let (go, stuck) = channel();
        let (log, subscriber) = Log::to(Stuck(stuck, output.clone()), LevelFilter::INFO).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            (0..LINES_MAX + 10).for_each(|_| tracing::info!("line"));
        });
        drop(go);
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !output.text().contains("log lines were dropped") {
            assert!(std::time::Instant::now() < end, "{}", output.text());
            log.flush();
        }
    }
}
