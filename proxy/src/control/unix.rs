//! Files of Unix sockets. One that a program left behind when it ended is replaced, as nobody listens on it any more; one where
//! somebody listens, and a file that is no socket, are not ours to take away. Source: Envoy, `Pipe`, which removes whatever is there.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;

use socket2::{Domain, SockAddr, Socket, Type};

use super::sockets::BACKLOG;

/// Bytes of a path at most, as the system has it. Source: `unix(7)`.
const PATH_MAX: usize = 107;

/// The address of the socket at `path`; of one without a file if the path begins with `@`.
fn address(path: &str) -> io::Result<SockAddr> {
    let name = path.strip_prefix('@').map(|name| format!("\0{name}"));
    SockAddr::unix(name.as_deref().unwrap_or(path))
}

/// What is bound, as a Sidecar writes it.
pub(super) fn path(bound: &SockAddr) -> Option<String> {
    let named = bound.as_abstract_namespace().map(|name| format!("@{}", String::from_utf8_lossy(name)));
    named.or_else(|| Some(bound.as_pathname()?.to_str()?.to_owned()))
}

/// A socket that listens at `path`.
///
/// # Errors
/// In words, with the cure.
pub(super) fn listen(path: &str) -> Result<Socket, String> {
    if path.len() > PATH_MAX {
        return Err(format!("its path is longer than {PATH_MAX} bytes: write a shorter one"));
    }
    let bound = match bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_behind(path) => {
            fs::remove_file(path).and_then(|()| bind(path))
        }
        other => other,
    };
    bound.map_err(|error| reason(path, &error))
}

fn bind(path: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn is_socket(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Whether there is a socket at `path` where nobody listens.
fn is_left_behind(path: &str) -> bool {
    let refused = || -> io::Result<bool> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Where somebody listens, but doesn't accept, it would wait.
        socket.set_nonblocking(true)?;
        let connected = socket.connect(&address(path)?);
        Ok(connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
    };
    is_socket(path) && refused().unwrap_or(false)
}

fn reason(path: &str, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse if !path.starts_with('@') && !is_socket(path) => {
            "there is a file that is no socket: remove it, or correct `bind` of the Sidecar".to_owned()
        }
        ErrorKind::AddrInUse => "another program listens there: stop it, or correct `bind` of the Sidecar".to_owned(),
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            "its folder does not exist: make it, or correct `bind` of the Sidecar".to_owned()
        }
        ErrorKind::PermissionDenied => {
            "no permission to make a file in its folder: allow it, or correct `bind` of the Sidecar".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Takes away the file of a socket where we listen no more.
pub(super) fn remove(path: &str) {
    if is_socket(path) {
        // If it can't be, whoever listens there next replaces it.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn what_a_program_left_behind_is_replaced_and_what_it_still_uses_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("mesh.sock");
        let path = place.to_str().unwrap();
        let first = listen(path).unwrap();
        assert_eq!(super::path(&first.local_addr().unwrap()).as_deref(), Some(path));
        assert!(listen(path).unwrap_err().starts_with("another program listens there"));
        drop(first);
        assert!(UnixStream::connect(path).is_err(), "the file is still there");
        let second = listen(path).unwrap();
        assert!(UnixStream::connect(path).is_ok());
        drop(second);
        remove(path);
        assert!(!place.exists());
    }

    #[test]
    fn somebody_who_listens_and_does_not_accept_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("busy.sock");
        let path = place.to_str().unwrap();
        let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        busy.bind(&address(path).unwrap()).unwrap();
        busy.listen(0).unwrap();
        let _waiting = UnixStream::connect(path).unwrap();
        assert!(listen(path).unwrap_err().starts_with("another program listens there"));
    }

    #[test]
    fn a_name_without_a_file_is_bound_as_it_stands() {
        let name = format!("@tidegate-test-{}", std::process::id());
        let socket = listen(&name).unwrap();
        assert_eq!(path(&socket.local_addr().unwrap()), Some(name.clone()));
        assert!(listen(&name).unwrap_err().starts_with("another program listens there"));
    }

    #[test]
    fn every_reason_names_its_cure_and_no_file_is_harmed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("file"), "kept").unwrap();
        for (path, reason) in [
            (at("file"), "there is a file that is no socket"),
            (at("none/mesh.sock"), "its folder does not exist"),
            (at("file/mesh.sock"), "its folder does not exist"),
            (at(&"x".repeat(108)), "its path is longer than 107 bytes"),
        ] {
            assert!(listen(&path).unwrap_err().starts_with(reason), "{path}");
        }
        remove(&at("file"));
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "kept");
        let listens = UnixListener::bind(at("other")).unwrap();
        assert!(is_socket(&at("other")));
        drop(listens);
    }
}
