//! One reader for files whose paths come from a configuration: it takes regular files of bounded size alone, and never
//! waits for the other end of a pipe. Only the configuration itself may come through one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// The content of a file of at most `max_kib` × 1,024 bytes.
pub(crate) fn read(path: &Path, max_kib: u64) -> io::Result<Vec<u8>> {
    // Without this flag, opening a pipe waits for its other end.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    read_all(file, found.len(), max_kib)
}

/// The same; a pipe is read until its other end is closed.
pub(crate) fn read_or_drain(path: &Path, max_kib: u64) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.file_type().is_fifo() {
        read_all(File::open(path)?, u64::MAX, max_kib)
    } else {
        read(path, max_kib)
    }
}

/// What is expected to be so many bytes at most.
fn read_all(file: File, expected: u64, max_kib: u64) -> io::Result<Vec<u8>> {
    let (max, too_large) = (max_kib * 1024, format!("it is larger than {max_kib} KiB"));
    // Of full size at once: growing would leave parts of a secret in memory that is given back.
    let mut content = Vec::with_capacity(usize::try_from(expected.min(max)).unwrap_or(0) + 1);
    file.take(max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > max {
        return Err(io::Error::new(ErrorKind::FileTooLarge, too_large));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        fs::write(&file, vec![b'x'; 2048]).unwrap();
        assert_eq!(read(&file, 2).unwrap(), vec![b'x'; 2048]);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for (path, max_kib, fault) in [
            (file.as_path(), 1, "it is larger than 1 KiB"),
            (folder.path(), 1, "it is not a regular file"),
            (&pipe, 1, "it is not a regular file"),
            (Path::new("/dev/zero"), 1, "it is not a regular file"),
            (Path::new("/nonexistent"), 1, "No such file or directory (os error 2)"),
        ] {
            assert_eq!(read(path, max_kib).unwrap_err().to_string(), fault, "{}", path.display());
            if path != pipe {
                assert_eq!(read_or_drain(path, max_kib).unwrap_err().to_string(), fault);
            }
        }
        for (max_kib, expected) in [(1, Err("it is larger than 1 KiB".into())), (2, Ok(2048))] {
            let other_end = pipe.clone();
            let writer = std::thread::spawn(move || fs::write(other_end, [b'x'; 2048]));
            let content = read_or_drain(&pipe, max_kib).map(|content| content.len());
            assert_eq!(content.map_err(|error| error.to_string()), expected);
            let _ = writer.join();
        }
    }
}
