//! Scratch files of the operating system, and those in memory that stand for them in the simulation.
//!
//! Invariant: a scratch file has no name, or none from before its first use on, so nothing of it is found by a later
//! process.

use std::fs::{File, OpenOptions, remove_file};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::port::{DiskResult, Scratch};
use super::real::disk_error;
use super::volume::{Space, fallocate, memory_file, punch, written_out};

/// A scratch file; see the file's invariant.
pub(super) struct ScratchFile {
    file: File,
    /// For messages.
    place: PathBuf,
    on: Medium,
}

#[derive(PartialEq, Eq)]
enum Medium {
    Volume,
    Memory,
}

impl ScratchFile {
    /// One on the volume of a directory.
    pub(super) fn in_directory(directory: &Path) -> DiskResult<Self> {
        let unnamed = options().custom_flags(libc::O_TMPFILE).open(directory);
        let file = unnamed.or_else(|_| named_and_removed(directory));
        let place = directory.join("(a file without a name)");
        file.map(|file| Self { file, place: place.clone(), on: Medium::Volume })
            .map_err(|error| disk_error("create", &place, &error))
    }

    /// One in memory.
    pub(super) fn in_memory() -> DiskResult<Self> {
        let place = PathBuf::from("(a file in memory)");
        let file = memory_file().map_err(|error| disk_error("create", &place, &error))?;
        Ok(Self { file, place, on: Medium::Memory })
    }
}

impl ScratchFile {
    /// Refuses what would take the last space of the volume from files that must survive.
    fn leave_room(&self, len: u64) -> io::Result<()> {
        if self.on == Medium::Memory {
            return Ok(());
        }
        let space = Space::of(&self.file)?;
        let kept = kept_free(space.bytes);
        if space.free >= kept.saturating_add(len) {
            return Ok(());
        }
        let message = format!(
            "{} of {} bytes are free, and {kept} are kept for files that must survive",
            space.free, space.bytes
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, message))
    }
}

/// Bytes of a volume of this size that scratch files leave free.
pub(super) fn kept_free(volume_bytes: u64) -> u64 {
    (volume_bytes / 16).min(4 << 30)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// For file systems without files that have no name.
fn named_and_removed(directory: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!(".scratch-{}-{number}", std::process::id()));
    // One of a process that ended between the two steps is empty and in nobody's way.
    let file = options().create(true).truncate(true).open(&path)?;
    remove_file(&path)?;
    Ok(file)
}

impl Scratch for ScratchFile {
    fn allocate(&mut self, offset: u64, len: u64) -> DiskResult<()> {
        self.leave_room(len).and_then(|()| fallocate(&self.file, offset, len)).map_err(|error| {
            self.free(offset, len);
            disk_error("allocate", &self.place, &error)
        })
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> DiskResult<()> {
        self.file.write_all_at(data, offset).map_err(|error| disk_error("write", &self.place, &error))
    }

    fn free(&mut self, offset: u64, len: u64) {
        // What cannot be given back is given back with the file.
        let _ = punch(&self.file, offset, len);
    }

    fn check(&self) -> DiskResult<()> {
        written_out(&self.file).map_err(|error| disk_error("write out", &self.place, &error))
    }

    fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A file system that promises more space than its device has.
    struct Overcommitted(tempfile::TempDir);

    impl Overcommitted {
        /// None where the machine cannot have one: not root, or loop devices are not allowed.
        fn new() -> Option<Self> {
            let this = Self(tempfile::tempdir().unwrap());
            let (device, image) = (this.path("device"), this.path("device/image"));
            std::fs::create_dir(&device).unwrap();
            std::fs::create_dir(this.path("disk")).unwrap();
            let done = |program: &str, arguments: &[&str], paths: &[&Path]| {
                Command::new(program).args(arguments).args(paths).status().is_ok_and(|status| status.success())
            };
            let made = done("mount", &["-t", "tmpfs", "-o", "size=20m", "none"], &[&device])
                && File::create(&image).unwrap().set_len(64 << 20).is_ok()
                && done("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", "-E", "nodiscard"], &[&image])
                && done("mount", &["-o", "loop"], &[&image, &this.path("disk")]);
            made.then_some(this)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    impl Drop for Overcommitted {
        fn drop(&mut self) {
            for name in ["disk", "device"] {
                let _ =
                    Command::new("umount").arg("-l").arg(self.path(name)).stderr(std::process::Stdio::null()).status();
            }
        }
    }

    #[test]
    fn what_was_lost_when_it_was_written_out_is_told() {
        let Some(volume) = Overcommitted::new() else {
            println!("skipped: a loop device needs root and the right to mount");
            return;
        };
        let mut scratch = ScratchFile::in_directory(&volume.path("disk")).unwrap();
        scratch.allocate(0, 40 << 20).unwrap();
        scratch.write(0, &vec![7; 40 << 20]).unwrap();
        let _ = Command::new("sync").arg("-f").arg(volume.path("disk")).status().unwrap();
        scratch.check().unwrap_err();
    }
}
