//! When to look at the folder: at once when the kernel tells of a change, and each second whatever it tells.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::Folder;
use super::folder::{Scan, is_configuration};

/// Time between two looks when nothing was told: what the kernel does not tell of (network file systems, targets of links).
const POLL: Duration = Duration::from_secs(1);
/// The same where the kernel can't be asked at all.
const POLL_UNWATCHED: Duration = Duration::from_millis(250);
/// A change is complete (a rename, a closed file): wait this long for others that belong to it.
const QUIET_SETTLED: Duration = Duration::from_millis(2);
/// A file is being written in place: wait this long for the next write.
const QUIET_WRITING: Duration = Duration::from_millis(50);
/// A file is gone: it may come back (some editors), and the folder may be about to be emptied, which changes nothing.
const QUIET_REMOVED: Duration = Duration::from_millis(100);
/// A folder that never gets quiet is read all the same.
const QUIET_MAX: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hint {
    /// A change is complete.
    Settled(Where),
    /// A change is under way.
    Writing(Where),
    /// A file is gone.
    Removed,
    /// Look now.
    Reread,
    /// End.
    Stop,
}

/// What may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Where {
    /// Anything.
    Folder,
    /// These files.
    Files(BTreeSet<Arc<str>>),
}

impl Where {
    fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Files(names), Self::Files(more)) => names.extend(more),
            _ => *self = Self::Folder,
        }
    }
}

/// Hints for the thread that looks.
#[derive(Debug, Clone)]
struct Hints {
    queue: SyncSender<Hint>,
    /// Whether a hint found the queue full, so that what it was about is not known.
    is_any_lost: Arc<AtomicBool>,
}

/// Asks for a look at once; ends the watch when dropped.
#[derive(Debug)]
pub struct Rereader {
    hints: Hints,
}

impl Rereader {
    /// Looks at the folder now, as SIGHUP does.
    pub fn reread(&self) {
        self.hints.give(Hint::Reread);
    }
}

impl Drop for Rereader {
    fn drop(&mut self) {
        self.hints.give(Hint::Stop);
    }
}

/// Looks at `folder` on a thread of its own, whenever it may have changed, and tells `tell` what differs.
/// Ends when `tell` answers false or the returned handle is dropped.
pub fn watch(folder: Folder, tell: impl FnMut(Scan) -> bool + Send + 'static) -> io::Result<Rereader> {
    let (queue, inbox) = sync_channel(64);
    let hints = Hints { queue, is_any_lost: Arc::default() };
    let watch = Watch { folder, hints: hints.clone(), inbox, kernel: None, identity: None, warned: false };
    thread::Builder::new().name("source".to_owned()).spawn(move || watch.run(tell))?;
    Ok(Rereader { hints })
}

struct Watch {
    folder: Folder,
    hints: Hints,
    inbox: Receiver<Hint>,
    kernel: Option<RecommendedWatcher>,
    /// Device and inode of the folder that is watched: another one may take its place.
    identity: Option<(u64, u64)>,
    warned: bool,
}

impl Watch {
    fn run(mut self, mut tell: impl FnMut(Scan) -> bool) {
        self.subscribe();
        // The first look comes before any hint: something may have changed before the kernel was asked to tell.
        let mut place = Where::Folder;
        loop {
            match self.look(&place) {
                Ok(Scan::Changes(changes)) if changes.is_empty() => {}
                Ok(scan) => {
                    if !tell(scan) {
                        return;
                    }
                }
                Err(error) => tracing::warn!(target: "source", "{}: {error}", self.folder.path().display()),
            }
            let Some(next) = self.wait() else { return };
            let is_other = self.subscribe();
            let is_any_lost = self.hints.is_any_lost.swap(false, SeqCst);
            place = if is_other || is_any_lost { Where::Folder } else { next };
        }
    }

    fn look(&mut self, place: &Where) -> io::Result<Scan> {
        let now = SystemTime::now();
        let scan = match place {
            Where::Folder => None,
            Where::Files(names) => self.folder.scan_files(names, now),
        };
        scan.map_or_else(|| self.folder.scan(now), Ok)
    }

    /// Watches the folder that stands at the path now, unless it does already. Whether that is another one than before.
    fn subscribe(&mut self) -> bool {
        let identity = fs::metadata(self.folder.path()).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if identity.is_none() || (self.kernel.is_some() && identity == self.identity) {
            return identity.is_none();
        }
        let first = self.identity != identity;
        self.identity = identity;
        self.kernel = match subscribe(self.folder.path(), self.hints.clone()) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                if first && !std::mem::replace(&mut self.warned, true) {
                    let path = self.folder.path().display();
                    tracing::warn!(target: "source", "{path}: no notice of changes ({error}); looking every {POLL_UNWATCHED:?}");
                }
                None
            }
        };
        true
    }

    /// Returns when it is time to look, and where; nothing to end.
    fn wait(&self) -> Option<Where> {
        let poll = if self.kernel.is_some() { POLL } else { POLL_UNWATCHED };
        let mut last = match self.inbox.recv_timeout(poll) {
            Ok(hint) => hint,
            Err(RecvTimeoutError::Timeout) => return Some(Where::Folder),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        let until = Instant::now() + QUIET_MAX;
        let mut removed = false;
        let mut place = Where::Files(BTreeSet::new());
        loop {
            removed |= last == Hint::Removed;
            let (quiet, changed) = match last {
                Hint::Stop => return None,
                Hint::Reread => return Some(Where::Folder),
                Hint::Removed => (QUIET_REMOVED, Where::Folder),
                Hint::Writing(changed) => (QUIET_WRITING, changed),
                Hint::Settled(changed) => (QUIET_SETTLED, changed),
            };
            place.add(changed);
            let quiet = if removed { QUIET_REMOVED } else { quiet };
            let left = until.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(quiet.min(left)) {
                Ok(hint) => last = hint,
                Err(RecvTimeoutError::Timeout) => return Some(place),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

fn subscribe(folder: &Path, hints: Hints) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error is a queue of the kernel's that overflowed: something did change.
        if let Some(meaning) = event.map_or(Some(Hint::Settled(Where::Folder)), |event| meaning(&event)) {
            hints.give(meaning);
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

impl Hints {
    fn give(&self, hint: Hint) {
        match self.queue.try_send(hint) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(Hint::Stop)) => drop(self.queue.send(Hint::Stop)),
            // The thread is busy with a look, and will find 64 hints after it: the next look is at everything.
            Err(TrySendError::Full(_)) => self.is_any_lost.store(true, SeqCst),
        }
    }
}

/// What an event of the kernel's asks for, if it concerns us.
fn meaning(event: &notify::Event) -> Option<Hint> {
    if event.need_rescan() {
        return Some(Hint::Settled(Where::Folder));
    }
    let name = |path: &std::path::PathBuf| Some(Arc::from(path.file_name()?.to_str()?));
    let mut names: BTreeSet<Arc<str>> = event.paths.iter().filter_map(name).collect();
    let is_swap = names.contains("..data");
    names.retain(|name| is_configuration(name));
    if names.is_empty() && !is_swap {
        return None;
    }
    let place = if is_swap { Where::Folder } else { Where::Files(names) };
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Hint::Settled(place)),
        EventKind::Access(_) => None,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Some(Hint::Writing(place)),
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(Hint::Removed),
        _ => Some(Hint::Settled(place)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::mpsc::{Receiver, channel};

    use tempfile::{TempDir, tempdir};

    use super::super::{Change, Content};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn watched(files: &[(&str, &str)]) -> (TempDir, Rereader, Receiver<Scan>) {
        let directory = tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(directory.path().join(name), text).unwrap());
        let (tell, told) = channel();
        let rereader = watch(Folder::new(directory.path()), move |scan| tell.send(scan).is_ok()).unwrap();
        (directory, rereader, told)
    }

    fn changed(name: &str, text: &str) -> Scan {
        Scan::Changes(vec![Change { name: name.into(), content: Content::Text(text.into()) }])
    }

    fn replace(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join(".new"), text).unwrap();
        fs::rename(folder.join(".new"), folder.join(name)).unwrap();
    }

    #[test]
    fn what_is_there_at_the_start_is_told_and_then_what_is_renamed_into_place() {
        let (directory, _rereader, told) = watched(&[("a.yaml", "one")]);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(changed("a.yaml", "one")));
        replace(directory.path(), "a.yaml", "two");
        assert_eq!(told.recv_timeout(PATIENCE), Ok(changed("a.yaml", "two")));
    }

    #[test]
    fn a_swapped_link_of_a_kubernetes_mount_is_told() {
        let (directory, _rereader, told) = watched(&[]);
        let root = directory.path();
        for version in ["..one", "..two"] {
            fs::create_dir(root.join(version)).unwrap();
            fs::write(root.join(version).join("a.yaml"), version).unwrap();
        }
        symlink("..one", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(changed("a.yaml", "..one")));
        symlink("..two", root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(changed("a.yaml", "..two")));
    }

    #[test]
    fn a_folder_that_takes_the_place_of_another_is_read_and_watched() {
        let parent = tempdir().unwrap();
        let path: PathBuf = parent.path().join("config");
        for (name, text) in [("config", "old"), ("next", "new")] {
            fs::create_dir(parent.path().join(name)).unwrap();
            fs::write(parent.path().join(name).join("a.yaml"), text).unwrap();
        }
        let (tell, told) = channel();
        let _rereader = watch(Folder::new(&path), move |scan| tell.send(scan).is_ok()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(changed("a.yaml", "old")));
        fs::rename(&path, parent.path().join("before")).unwrap();
        fs::rename(parent.path().join("next"), &path).unwrap();
        loop {
            // The look may have fallen between the two renames.
            match told.recv_timeout(PATIENCE).unwrap() {
                Scan::Emptied => {}
                scan => break assert_eq!(scan, changed("a.yaml", "new")),
            }
        }
        replace(&path, "a.yaml", "newest");
        assert_eq!(told.recv_timeout(PATIENCE), Ok(changed("a.yaml", "newest")));
    }

    #[test]
    fn a_file_that_comes_back_at_once_was_never_gone() {
        let (directory, _rereader, told) = watched(&[("a.yaml", "one"), ("b.yaml", "two")]);
        assert!(told.recv_timeout(PATIENCE).is_ok());
        fs::remove_file(directory.path().join("a.yaml")).unwrap();
        replace(directory.path(), "a.yaml", "new");
        assert_eq!(told.recv_timeout(PATIENCE), Ok(changed("a.yaml", "new")));
    }

    #[test]
    fn the_watch_ends_with_its_handle() {
        let (_directory, rereader, told) = watched(&[("a.yaml", "one")]);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(changed("a.yaml", "one")));
        drop(rereader);
        assert!(told.recv_timeout(PATIENCE).is_err_and(|error| error == RecvTimeoutError::Disconnected));
    }

    #[test]
    fn only_events_of_configuration_files_and_of_the_link_to_a_mount_count() {
        let event =
            |kind: EventKind, name: &str| meaning(&notify::Event::new(kind).add_path(Path::new("/c").join(name)));
        let create = EventKind::Create(notify::event::CreateKind::File);
        let rename = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let file = |name: &str| Where::Files([name.into()].into());
        for (kind, name, want) in [
            (create, "a.yaml", Some(Hint::Writing(file("a.yaml")))),
            (closed, "a.yml", Some(Hint::Settled(file("a.yml")))),
            (rename, "a.yaml", Some(Hint::Settled(file("a.yaml")))),
            (rename, "..data", Some(Hint::Settled(Where::Folder))),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), "a.yaml", Some(Hint::Removed)),
            (EventKind::Remove(notify::event::RemoveKind::File), "a.yaml", Some(Hint::Removed)),
            (rename, "..data_tmp", None),
            (rename, ".a.yaml", None),
            (create, "notes.txt", None),
            (opened, "a.yaml", None),
        ] {
            assert_eq!(event(kind, name), want, "{kind:?} {name}");
        }
    }
}
