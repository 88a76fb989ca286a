//! How much memory there is, and how much of it is in use. Source: the kernel's "Control Group v2", "Memory", and cgroup-v1,
//! "Memory Resource Controller"; proc(5), `statm`.
//!
//! The limit is that of the command line, or else the narrowest of the control groups that this process is in. In use is what of
//! the process is in memory, and what the group's sockets hold, which a proxy may have more of than of anything else. It is not
//! the group's own count: others may be in the group, and requests would be refused for what we can't give back.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Version 1 writes a number of this size where there is no limit.
const UNLIMITED: u64 = 1 << 60;

/// What the command line says of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLimit {
    /// The control group's, if it has one.
    #[default]
    Found,
    /// None.
    Off,
    /// So many bytes.
    Bytes(u64),
}

/// Memory under a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Memory {
    limit: u64,
    /// `statm` of the process.
    process: PathBuf,
    /// The folder of the group that sets the limit.
    group: Option<(Version, PathBuf)>,
}

/// Of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Memory {
    /// What there is; nothing where nobody sets a limit.
    pub(crate) fn find(limit: MemoryLimit) -> Option<Self> {
        Self::find_in(Path::new("/"), limit)
    }

    fn find_in(root: &Path, limit: MemoryLimit) -> Option<Self> {
        let process = root.join("proc/self/statm");
        match limit {
            MemoryLimit::Off => None,
            MemoryLimit::Bytes(limit) => Some(Self { limit, process, group: None }),
            MemoryLimit::Found => {
                let written = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
                let groups = written.lines().filter_map(|line| group_of_line(root, line));
                let (limit, version, folder) = groups.min_by_key(|(limit, ..)| *limit)?;
                Some(Self { limit, process, group: Some((version, folder)) })
            }
        }
    }

    /// Bytes.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes in use.
    ///
    /// # Errors
    /// If the system doesn't say.
    pub(crate) fn used(&self) -> io::Result<u64> {
        let pages = fs::read_to_string(&self.process)?.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
        let process = pages.saturating_mul(rustix::param::page_size() as u64);
        Ok(process.saturating_add(self.group.as_ref().map_or(0, |(version, folder)| version.sockets(folder))))
    }
}

impl fmt::Display for Memory {
    /// `512.0 MiB, as the control group /sys/fs/cgroup says`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.limit as f64 / f64::from(1 << 20))?;
        self.group.as_ref().map_or(Ok(()), |(_, folder)| write!(f, ", as the control group {} says", folder.display()))
    }
}

impl Version {
    fn limit(self, folder: &Path) -> Option<u64> {
        let name = if self == Self::One { "memory.limit_in_bytes" } else { "memory.max" };
        number(&folder.join(name)).filter(|limit| *limit < UNLIMITED)
    }

    /// Bytes that the group's sockets hold, as far as they are counted.
    fn sockets(self, folder: &Path) -> u64 {
        let counted = match self {
            Self::One => number(&folder.join("memory.kmem.tcp.usage_in_bytes")),
            Self::Two => fs::read_to_string(folder.join("memory.stat")).ok().and_then(|stat| {
                let mut counts = stat.lines().filter_map(|line| line.strip_prefix("sock "));
                counts.find_map(|count| count.parse().ok())
            }),
        };
        counted.unwrap_or(0)
    }
}

/// The narrowest limit for the group that a line of `/proc/self/cgroup` names: its own, or that of one above it.
fn group_of_line(root: &Path, line: &str) -> Option<(u64, Version, PathBuf)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (version, mount) = match controllers {
        "" => (Version::Two, root.join("sys/fs/cgroup")),
        _ if controllers.split(',').any(|one| one == "memory") => (Version::One, root.join("sys/fs/cgroup/memory")),
        _ => return None,
    };
    // In a container the path may be one of the machine's, and the group that is mounted our own.
    let own = mount.join(path.trim_start_matches('/'));
    let folders = own.ancestors().take_while(|folder| folder.starts_with(&mount));
    let limited = folders.filter_map(|folder| Some((version.limit(folder)?, version, folder.to_owned())));
    limited.min_by_key(|(limit, ..)| *limit)
}

/// The number that a file holds; `max` is none.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit, and the bytes in use besides those of 25 pages, in a machine with these files.
    fn found(files: &[(&str, &str)]) -> Option<(u64, u64)> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files.iter().chain(&[("proc/self/statm", "900 25 7 1 0 30 0\n")]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let memory = Memory::find_in(root.path(), MemoryLimit::Found)?;
        Some((memory.limit(), memory.used().unwrap() - 25 * rustix::param::page_size() as u64))
    }

    #[test]
    fn the_narrowest_limit_of_a_group_and_those_above_it_counts() {
        let pod = ("sys/fs/cgroup/pod/memory.max", "1000\n");
        let own = "sys/fs/cgroup/pod/own/memory.max";
        let rest = [
            ("proc/self/cgroup", "0::/pod/own\n"),
            ("sys/fs/cgroup/pod/own/memory.stat", "anon 7\nsock 50\n"),
            ("sys/fs/cgroup/pod/memory.stat", "sock 100\nsock_of_others 1\n"),
        ];
        let with = |own: (&'static str, &'static str)| [&rest[..], &[pod, own]].concat();
        assert_eq!(found(&with((own, "500\n"))), Some((500, 50)));
        assert_eq!(found(&with((own, "max\n"))), Some((1000, 100)));
        assert_eq!(found(&with((own, "5000\n"))), Some((1000, 100)));
        assert_eq!(found(&rest), None);
    }

    #[test]
    fn a_container_whose_path_is_the_machines_has_the_group_that_is_mounted() {
        let files = [("proc/self/cgroup", "0::/kubepods/pod1/abc\n"), ("sys/fs/cgroup/memory.max", "800\n")];
        assert_eq!(found(&files), Some((800, 0)));
    }

    #[test]
    fn the_first_version_is_read_too() {
        let with = |limit: &'static str| {
            [
                ("proc/self/cgroup", "9:name=systemd:/\n5:memory:/box\n0::/\n"),
                ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", limit),
                ("sys/fs/cgroup/memory/box/memory.kmem.tcp.usage_in_bytes", "400\n"),
            ]
        };
        assert_eq!(found(&with("600\n")), Some((600, 400)));
        assert_eq!(found(&with("9223372036854771712\n")), None, "that is how it says that there is none");
    }

    #[test]
    fn a_limit_that_is_written_goes_before_all() {
        let memory = Memory::find(MemoryLimit::Bytes(1 << 20)).unwrap();
        assert_eq!((memory.limit(), &*memory.to_string()), (1 << 20, "1.0 MiB"));
        assert!(memory.used().unwrap() > 1 << 20, "this process is larger");
        assert_eq!(Memory::find(MemoryLimit::Off), None);
        assert_eq!(Memory::find_in(Path::new("/nowhere"), MemoryLimit::Found), None);
    }
}
