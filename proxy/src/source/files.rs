//! Files outside the folder that the configuration names: a notice when any of them is not as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Between two looks. Links are followed, so that the swap of a Kubernetes mount is seen, too.
const POLL: Duration = Duration::from_millis(250);
/// Several files, as a certificate and its key, are written one after another.
const SETTLES: Duration = Duration::from_millis(50);

/// What tells that a file is another one, or has been written to.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// Files that are watched; the watch ends when this is dropped.
#[derive(Debug)]
pub struct FileWatch {
    paths: Sender<BTreeSet<PathBuf>>,
    known: BTreeSet<PathBuf>,
}

impl FileWatch {
    /// Watches nothing yet, on a thread of its own. `tell` is called when something has changed, and ends the watch by false.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(tell: impl FnMut() -> bool + Send + 'static) -> io::Result<Self> {
        let (paths, inbox) = channel();
        thread::Builder::new().name("files".to_owned()).spawn(move || run(&inbox, tell))?;
        Ok(Self { paths, known: BTreeSet::new() })
    }

    /// Watches these from now on. They may have changed since they were read: a notice follows if any is new.
    pub fn set(&mut self, paths: &BTreeSet<PathBuf>) {
        if self.known != *paths {
            self.known.clone_from(paths);
            // A thread that has ended has nobody to tell.
            let _ = self.paths.send(paths.clone());
        }
    }
}

fn run(inbox: &Receiver<BTreeSet<PathBuf>>, mut tell: impl FnMut() -> bool) {
    let mut stamps: BTreeMap<PathBuf, Option<Stamp>> = BTreeMap::new();
    loop {
        let wanted = if stamps.is_empty() {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            inbox.recv_timeout(POLL)
        };
        let mut changed = match wanted {
            Ok(paths) => {
                let is_new = paths.iter().any(|path| !stamps.contains_key(path));
                stamps.retain(|path, _| paths.contains(path));
                stamps.extend(paths.into_iter().map(|path| (path, None)));
                is_new
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        changed |= look(&mut stamps);
        while changed && settle(&mut stamps) {}
        if changed && !tell() {
            return;
        }
    }
}

/// Waits a moment. Whether something has changed again.
fn settle(stamps: &mut BTreeMap<PathBuf, Option<Stamp>>) -> bool {
    thread::sleep(SETTLES);
    look(stamps)
}

fn look(stamps: &mut BTreeMap<PathBuf, Option<Stamp>>) -> bool {
    let mut changed = false;
    for (path, known) in stamps {
        let now = stamp(path);
        changed |= now != *known;
        *known = now;
    }
    changed
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    let times = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    Some((metadata.dev(), metadata.ino(), metadata.size(), times.0, times.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_file_that_is_replaced_appears_or_goes_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let (told, notices) = channel();
        let mut watch = FileWatch::start(move || told.send(()).is_ok()).unwrap();
        watch.set(&BTreeSet::from([path.clone()]));
        notices.recv_timeout(PATIENCE).unwrap();
        fs::write(&path, "one").unwrap();
        notices.recv_timeout(PATIENCE).unwrap();
        let other = directory.path().join("new");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        notices.recv_timeout(PATIENCE).unwrap();
        fs::remove_file(&path).unwrap();
        notices.recv_timeout(PATIENCE).unwrap();
    }
}
