//! Where configuration comes from: a folder of YAML files, read whole at the start and again, file by file, when it changes.
//!
//! The rules: names ending in `.yaml` or `.yml`, in the order of their names, hidden ones left out, symbolic links followed
//! (Kubernetes mounts a ConfigMap as links through `..data`, which it swaps). Files are read on a thread of their own, so
//! that a file system that hangs delays neither a drain nor the admin. Start at [`Folder::scan`]; [`watch`] says when to.

mod files;
mod folder;
mod watch;

pub use files::FileWatch;
pub use folder::{Change, Content, Digest, FILE_BYTES_MAX, Folder, Scan, Text};
pub use watch::{Rereader, watch};
