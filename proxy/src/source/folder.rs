//! One look at the folder: which files are new, changed, gone or unreadable since the look before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirEntry, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config_model::file::Outline;
use sha2::{Digest as _, Sha256};

/// Bytes of one file that are read; a larger one is unreadable. Forty times what Kubernetes stores in one object.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a file that are in memory at once while it is only compared.
const DIGEST_BLOCK: usize = 64 << 10;

/// A stamp this young proves nothing: the clock of a file system is coarse, and a second write may have fallen into one tick.
const STAMP_SETTLES: Duration = Duration::from_millis(100);

/// `command > file.yaml` empties the file before it writes, so an empty file is believed only when it has stayed so.
const EMPTY_SETTLES: Duration = Duration::from_secs(2);

/// What a file holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Its text.
    Text(Text),
    /// Why it could not be read, as the end of a sentence that names the file.
    Unreadable(String),
    /// It is gone.
    Removed,
}

/// A file that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name in the folder.
    pub name: Arc<str>,
    /// What it holds now.
    pub content: Content,
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// The files that differ, in the order of their names; perhaps none.
    Changes(Vec<Change>),
    /// Files were there before, and now there is none (or no folder): what was read stands. Told once.
    Emptied,
}

/// A configuration folder and what was last read from it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    known: BTreeMap<Arc<str>, Known>,
    emptied: bool,
}

#[derive(Debug)]
struct Known {
    /// Absent if there was none.
    stamp: Option<Stamp>,
    /// Whether the stamp was old enough to prove something. If it wasn't, the next look reads again.
    has_settled: bool,
    /// Of the content: a folder may hold tens of megabytes of certificates.
    digest: Digest,
}

/// SHA-256: what tells contents apart.
pub type Digest = [u8; 32];

/// The text of a file with its digest and outline: whoever has to tell texts or documents apart after this need not go through
/// them again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text itself.
    pub text: Arc<str>,
    /// Of its bytes.
    pub digest: Digest,
    /// Of its documents.
    pub outline: Outline,
}

impl<T: Into<Arc<str>>> From<T> for Text {
    fn from(text: T) -> Self {
        let text = text.into();
        Self { digest: Sha256::digest(text.as_bytes()).into(), outline: Outline::of(&text), text }
    }
}

impl Content {
    fn digest(&self) -> Digest {
        match self {
            Self::Text(text) => text.digest,
            // Not that of the text that consists of the reason.
            Self::Unreadable(reason) => Sha256::digest(format!("\0{reason}")).into(),
            Self::Removed => Digest::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Folder {
    /// A folder that nothing has been read from yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), known: BTreeMap::new(), emptied: false }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what changed since the last look. `now` is compared with the times of files.
    /// An error means that the folder itself can't be read, and that nothing has been read from it before.
    pub fn scan(&mut self, now: SystemTime) -> io::Result<Scan> {
        let entries = match entries(&self.path) {
            Ok(entries) => entries,
            Err(error) if self.known.is_empty() => return Err(error),
            Err(_) => BTreeMap::new(),
        };
        if entries.is_empty() && !self.known.is_empty() {
            let told = std::mem::replace(&mut self.emptied, true);
            return Ok(if told { Scan::Changes(Vec::new()) } else { Scan::Emptied });
        }
        self.emptied = false;
        let mut changes = self.remove_all_but(&entries);
        changes.extend(entries.into_iter().filter_map(|(name, entry)| {
            let found = metadata(&entry);
            self.look_at(name, found, || entry.path(), now)
        }));
        changes.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Scan::Changes(changes))
    }

    /// The same for these files alone, which the kernel says have changed: the others need not be asked for. `None` if one of them
    /// is not there, and so only a look at all says what that means.
    pub fn scan_files(&mut self, names: &BTreeSet<Arc<str>>, now: SystemTime) -> Option<Scan> {
        if self.emptied {
            return None;
        }
        let found = names.iter().map(|name| {
            let path = self.path.join(&**name);
            Some((Arc::clone(name), fs::metadata(&path).ok()?, path))
        });
        let found: Vec<_> = found.collect::<Option<_>>()?;
        let look = |(name, metadata, path): (_, _, PathBuf)| self.look_at(name, Ok(metadata), || path, now);
        Some(Scan::Changes(found.into_iter().filter_map(look).collect()))
    }

    fn remove_all_but(&mut self, entries: &BTreeMap<Arc<str>, DirEntry>) -> Vec<Change> {
        let mut gone = Vec::new();
        self.known.retain(|name, _| {
            let stays = entries.contains_key(name);
            if !stays {
                gone.push(Change { name: Arc::clone(name), content: Content::Removed });
            }
            stays
        });
        gone
    }

    fn look_at(
        &mut self,
        name: Arc<str>,
        metadata: io::Result<Metadata>,
        path: impl FnOnce() -> PathBuf,
        now: SystemTime,
    ) -> Option<Change> {
        let mut known = self.known.get_mut(&name);
        let (stamp, has_settled, content) = match metadata {
            Ok(metadata) => {
                let stamp = Stamp::of(&metadata);
                let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
                let has_settled = age.is_some_and(|age| age >= STAMP_SETTLES);
                let mut unchanged = known.as_mut().filter(|known| known.stamp == Some(stamp));
                if unchanged.as_ref().is_some_and(|known| known.has_settled) {
                    return None;
                }
                let path = path();
                // Most likely it is as it was: that is found out without having all of it in memory once more.
                if let Some(known) = &mut unchanged
                    && metadata.is_file()
                    && digest_of(&path).is_ok_and(|digest| digest == known.digest)
                {
                    known.has_settled = has_settled;
                    return None;
                }
                if known.is_some() && metadata.len() == 0 && age.is_none_or(|age| age < EMPTY_SETTLES) {
                    return None;
                }
                (Some(stamp), has_settled, read(&path, &metadata))
            }
            Err(error) => (None, false, Content::Unreadable(reason(&error))),
        };
        let digest = content.digest();
        match known {
            Some(known) if known.digest == digest => {
                (known.stamp, known.has_settled) = (stamp, has_settled);
                None
            }
            _ => {
                self.known.insert(Arc::clone(&name), Known { stamp, has_settled, digest });
                Some(Change { name, content })
            }
        }
    }
}

/// Whether a file of this name is configuration.
pub(super) fn is_configuration(name: &str) -> bool {
    !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"))
}

fn entries(folder: &Path) -> io::Result<BTreeMap<Arc<str>, DirEntry>> {
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().filter(|name| is_configuration(name)) {
            entries.insert(Arc::from(name), entry);
        }
    }
    Ok(entries)
}

/// What the entry is, or the link's target: the entry is asked for without walking the path to it, of which a folder of
/// thousands has thousands.
fn metadata(entry: &DirEntry) -> io::Result<Metadata> {
    let metadata = entry.metadata()?;
    if metadata.is_symlink() { fs::metadata(entry.path()) } else { Ok(metadata) }
}

fn read(path: &Path, metadata: &Metadata) -> Content {
    if !metadata.is_file() {
        return Content::Unreadable("is not a file".to_owned());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(FILE_BYTES_MAX)).unwrap_or(0) + 1);
    let taken = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match taken {
        Err(error) => Content::Unreadable(reason(&error)),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
            Content::Unreadable(format!("is larger than {} MiB; split it into several files", FILE_BYTES_MAX >> 20))
        }
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => Content::Text(text.into()),
            Err(error) => Content::Unreadable(not_text(&error)),
        },
    }
}

/// The digest of what a file holds.
fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = fs::File::open(path)?.take(FILE_BYTES_MAX + 1);
    let mut block = vec![0; DIGEST_BLOCK];
    let mut hash = Sha256::new();
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(block.get(..count).unwrap_or_default()),
        }
    }
}

fn not_text(error: &std::string::FromUtf8Error) -> String {
    let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
    format!("is not UTF-8 text, from line {line} on; save it as UTF-8")
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "can't be read: permission denied; make it readable for this user".to_owned()
        }
        io::ErrorKind::NotFound => "is a link to a file that does not exist".to_owned(),
        _ => format!("can't be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::{TempDir, tempdir};

    use super::*;

    struct Fixture {
        directory: TempDir,
        folder: Folder,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempdir().unwrap();
            let folder = Folder::new(directory.path());
            Self { directory, folder }
        }

        fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
            let temporary = self.directory.path().join(".new");
            fs::write(&temporary, bytes).unwrap();
            fs::rename(temporary, self.directory.path().join(name)).unwrap();
        }

        fn scan_at(&mut self, now: SystemTime) -> Vec<(String, Content)> {
            match self.folder.scan(now).unwrap() {
                Scan::Changes(changes) => {
                    changes.into_iter().map(|change| (change.name.to_string(), change.content)).collect()
                }
                Scan::Emptied => vec![("(emptied)".to_owned(), Content::Removed)],
            }
        }

        fn scan(&mut self) -> Vec<(String, Content)> {
            self.scan_at(SystemTime::now())
        }
    }

    fn text(name: &str, text: &str) -> (String, Content) {
        (name.to_owned(), Content::Text(text.into()))
    }

    #[test]
    fn only_yaml_files_that_are_not_hidden_are_read_in_the_order_of_their_names() {
        let mut fixture = Fixture::new();
        for name in ["b.yml", "a.yaml", ".hidden.yaml", "c.yaml.bak", "d.json", "notes"] {
            fixture.write(name, name);
        }
        assert_eq!(fixture.scan(), [text("a.yaml", "a.yaml"), text("b.yml", "b.yml")]);
        assert_eq!(fixture.scan(), []);
    }

    #[test]
    fn a_look_tells_only_what_differs_from_the_look_before() {
        let mut fixture = Fixture::new();
        fixture.write("a.yaml", "one");
        fixture.write("b.yaml", "two");
        fixture.scan();
        fixture.write("a.yaml", "six");
        assert_eq!(fixture.scan(), [text("a.yaml", "six")]);
        fixture.write("a.yaml", "six");
        assert_eq!(fixture.scan(), [], "the same text in another file is no change");
        fs::remove_file(fixture.directory.path().join("b.yaml")).unwrap();
        fixture.write("c.yaml", "new");
        assert_eq!(fixture.scan(), [("b.yaml".to_owned(), Content::Removed), text("c.yaml", "new")]);
    }

    #[test]
    fn a_second_write_within_one_tick_of_the_clock_is_seen() {
        let mut fixture = Fixture::new();
        let path = fixture.directory.path().join("a.yaml");
        fs::write(&path, "one").unwrap();
        let times = fs::FileTimes::new().set_modified(SystemTime::now());
        fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        fixture.scan();
        fs::write(&path, "two").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        assert_eq!(fixture.scan(), [text("a.yaml", "two")]);
    }

    #[test]
    fn a_file_that_was_just_emptied_is_believed_only_after_a_while() {
        let mut fixture = Fixture::new();
        fixture.write("a.yaml", "one");
        fixture.scan();
        fixture.write("a.yaml", "");
        assert_eq!(fixture.scan(), []);
        assert_eq!(fixture.scan_at(SystemTime::now() + EMPTY_SETTLES), [text("a.yaml", "")]);
    }

    #[test]
    fn an_emptied_folder_is_told_once_and_forgets_nothing() {
        let mut fixture = Fixture::new();
        fixture.write("a.yaml", "one");
        fixture.write("b.yaml", "two");
        fixture.scan();
        for name in ["a.yaml", "b.yaml"] {
            fs::remove_file(fixture.directory.path().join(name)).unwrap();
        }
        assert_eq!(fixture.scan(), [("(emptied)".to_owned(), Content::Removed)]);
        assert_eq!(fixture.scan(), []);
        fixture.write("a.yaml", "one");
        assert_eq!(fixture.scan(), [("b.yaml".to_owned(), Content::Removed)], "a.yaml is what it was");
    }

    #[test]
    fn a_folder_that_vanishes_counts_as_emptied_but_must_be_there_at_first() {
        let mut fixture = Fixture::new();
        fixture.write("a.yaml", "one");
        fixture.scan();
        fs::remove_dir_all(fixture.directory.path()).unwrap();
        assert_eq!(fixture.scan(), [("(emptied)".to_owned(), Content::Removed)]);
        let mut missing = Folder::new(fixture.directory.path());
        assert_eq!(missing.scan(SystemTime::now()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_swap_of_a_kubernetes_mount_changes_every_file_behind_it() {
        let mut fixture = Fixture::new();
        let root = fixture.directory.path().to_owned();
        for (version, content) in [("..one", "old"), ("..two", "new")] {
            fs::create_dir(root.join(version)).unwrap();
            fs::write(root.join(version).join("a.yaml"), content).unwrap();
        }
        symlink("..one", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
        assert_eq!(fixture.scan(), [text("a.yaml", "old")]);
        symlink("..two", root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        assert_eq!(fixture.scan(), [text("a.yaml", "new")]);
    }

    #[test]
    fn a_look_at_some_files_finds_what_a_look_at_all_would_find_of_them() {
        let mut fixture = Fixture::new();
        fixture.write("a.yaml", "one");
        fixture.write("b.yaml", "one");
        assert_eq!(fixture.scan().len(), 2);
        for name in ["a.yaml", "b.yaml", "c.yaml"] {
            fixture.write(name, "two");
        }
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let change = |name: &str| Change { name: name.into(), content: Content::Text("two".into()) };
        let now = SystemTime::now();
        let found = fixture.folder.scan_files(&names(&["c.yaml", "a.yaml"]), now);
        assert_eq!(found, Some(Scan::Changes(vec![change("a.yaml"), change("c.yaml")])));
        assert_eq!(fixture.folder.scan_files(&names(&["a.yaml"]), now), Some(Scan::Changes(vec![])));
        assert_eq!(fixture.scan(), [text("b.yaml", "two")], "what was not looked at is found later");
        for name in ["a.yaml", "b.yaml", "c.yaml"] {
            fs::remove_file(fixture.directory.path().join(name)).unwrap();
        }
        assert_eq!(fixture.folder.scan_files(&names(&["a.yaml"]), now), None, "perhaps all of them are gone");
        assert_eq!(fixture.scan(), [("(emptied)".to_owned(), Content::Removed)]);
        fixture.write("a.yaml", "three");
        assert_eq!(fixture.folder.scan_files(&names(&["a.yaml"]), now), None, "now the others are gone");
    }

    #[test]
    fn what_can_not_be_read_says_why() {
        let mut fixture = Fixture::new();
        let root = fixture.directory.path().to_owned();
        fs::create_dir(root.join("a.yaml")).unwrap();
        symlink("nowhere", root.join("b.yaml")).unwrap();
        fixture.write("c.yaml", b"ok: 1\nname: \xff\n");
        let reasons = fixture.scan().into_iter().map(|(name, content)| match content {
            Content::Unreadable(reason) => format!("{name} {reason}"),
            other => format!("{name} {other:?}"),
        });
        assert_eq!(
            reasons.collect::<Vec<_>>(),
            [
                "a.yaml is not a file",
                "b.yaml is a link to a file that does not exist",
                "c.yaml is not UTF-8 text, from line 2 on; save it as UTF-8",
            ]
        );
        assert_eq!(fixture.scan(), [], "the same reason is told once");
    }
}
