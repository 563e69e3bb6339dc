//! The memory's file: read, and replaced whole.
//!
//! One header line with the format's version, then a JSON array a line: host, when it last
//! answered, when it had booted (seconds since 1970, or null). Only a regular file of the user's
//! own is read or replaced: no link, FIFO or device, and nobody else's.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;

use super::{MOST, Memory, Seen};
use crate::escape;

/// The first line, before the version.
const HEADER: &str = "ruptime memory ";
/// The only version so far.
const VERSION: u32 = 1;
/// The most that is read, bytes: [`MOST`] hosts with names of 400 bytes.
const LARGEST: u64 = 32 << 20;
/// How long another call may hold the lock: it needs milliseconds, unless it is stopped.
const LOCKED: Duration = Duration::from_secs(2);

/// Where a memory is kept.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// What this process holds against the file; then it is not written either.
    refused: bool,
}

impl Store {
    /// A memory in `folder`, which need not exist.
    pub(crate) fn new(folder: PathBuf) -> Store {
        Store {
            folder,
            refused: false,
        }
    }

    /// Reads what is known; nothing, and one line, where it cannot be read.
    pub(crate) fn load(&mut self) -> (Memory, Option<String>) {
        let (known, complaint) = match self.read() {
            Ok(known) => known,
            Err(complaint) => {
                self.refused = true;
                (HashMap::new(), Some(complaint))
            }
        };
        let memory = Memory {
            known,
            ..Memory::default()
        };
        (memory, complaint)
    }

    /// Adds what `memory` has learned to the file.
    ///
    /// # Errors
    /// One line: what kept it from being written. The file is as it was then.
    pub(crate) fn save(&self, memory: &Memory, now: i64) -> Result<(), String> {
        if self.refused || memory.learned.is_empty() {
            return Ok(());
        }
        // The specification's mode for folders that do not exist.
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|error| told(&self.folder, &error))?;
        let _lock = self.lock()?;
        let (mut known, _) = self.read()?;
        memory.merge_into(&mut known, now);
        if known.len() > MOST {
            return Err(format!(
                "{}: more than {MOST} hosts; what this call has seen is not kept",
                shown(&self.path())
            ));
        }
        self.replace(&known)
            .map_err(|error| told(&self.path(), &error))
    }

    fn path(&self) -> PathBuf {
        self.folder.join("memory")
    }

    /// What the file says, and one line where a part of it is spoilt.
    fn read(&self) -> Result<(HashMap<String, Seen>, Option<String>), String> {
        let path = self.path();
        match own_file(OpenOptions::new().read(true), &path) {
            Ok(file) => parse(BufReader::new(file.take(LARGEST)))
                .map_err(|reason| format!("{}: {reason}", shown(&path)))
                .map(|(known, spoilt)| {
                    let spoilt = (spoilt > 0)
                        .then(|| format!("{}: spoilt lines dropped: {spoilt}", shown(&path)));
                    (known, spoilt)
                }),
            // ENOTDIR is told when it comes to writing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((HashMap::new(), None)),
            Err(error) => Err(told(&path, &error)),
        }
    }

    /// Waits for other calls, with a bound: one that is stopped must not stop this one.
    fn lock(&self) -> Result<Flock<File>, String> {
        let path = self.folder.join("lock");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let mut file = own_file(options, &path).map_err(|error| told(&path, &error))?;
        let end = Instant::now() + LOCKED;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, Errno::EAGAIN | Errno::EINTR)) if Instant::now() < end => {
                    file = again;
                    sleep(Duration::from_millis(5));
                }
                Err((_, Errno::EAGAIN)) => {
                    let secs = LOCKED.as_secs();
                    return Err(format!(
                        "{}: locked by another process for {secs} s",
                        shown(&path)
                    ));
                }
                Err((_, errno)) => return Err(told(&path, &errno.into())),
            }
        }
    }

    /// Writes all of it beside the file, and renames that into its place: a reader, a full disk or
    /// a crash meets a whole file.
    fn replace(&self, known: &HashMap<String, Seen>) -> io::Result<()> {
        let new = self.folder.join("memory.new");
        // Left by a call that was killed.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        let written = write(&file, known)
            // Else a crash soon after could leave the new name with an old, empty file.
            .and_then(|()| file.sync_data())
            .and_then(|()| fs::rename(&new, self.path()));
        if written.is_err() {
            // What is wrong has been said; the next call removes it too.
            let _ = fs::remove_file(&new);
        }
        written
    }
}

/// Opens a regular file that belongs to this user, and nothing else: a FIFO would block, a link may
/// lead anywhere, and another user's file is not what this one remembers.
fn own_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = options.custom_flags(flags.bits()).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if about.uid() != geteuid().as_raw() {
        return Err(io::Error::other("belongs to another user"));
    }
    Ok(file)
}

/// The hosts, and how many lines are none.
fn parse(mut file: impl BufRead) -> Result<(HashMap<String, Seen>, usize), String> {
    let mut header = String::new();
    let read = file.by_ref().take(64).read_line(&mut header);
    let version = header.strip_prefix(HEADER).map(str::trim_end);
    match (read, version.map(str::parse::<u32>)) {
        (Ok(_), Some(Ok(VERSION))) => {}
        (Ok(_), Some(Ok(later))) if later > VERSION => {
            return Err(format!(
                "written by a later ruptime (version {later}); left alone"
            ));
        }
        (Err(error), _) if error.kind() != io::ErrorKind::InvalidData => {
            return Err(reason(&error));
        }
        _ => return Err("not a memory of ruptime's; remove it to start anew".to_owned()),
    }
    let (mut known, mut spoilt) = (HashMap::new(), 0);
    for line in file.split(b'\n') {
        let line = line.map_err(|error| reason(&error))?;
        match serde_json::from_slice::<(String, i64, Option<i64>)>(&line) {
            Ok((host, last, boot)) if known.len() < MOST => {
                known.insert(host, Seen { last, boot });
            }
            _ => spoilt += 1,
        }
    }
    Ok((known, spoilt))
}

fn write(file: &File, known: &HashMap<String, Seen>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    writeln!(out, "{HEADER}{VERSION}")?;
    for (host, seen) in known {
        serde_json::to_writer(&mut out, &(host, seen.last, seen.boot))?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {}", shown(path), reason(error))
}

/// A path as a line of a message has it.
fn shown(path: &Path) -> Cow<'_, str> {
    escape::line(path.as_os_str().as_bytes())
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        // O_NOFOLLOW (open(2)).
        Some(Errno::ELOOP) => "a symbolic link, which is not followed".to_owned(),
        // A FIFO that nobody reads, a socket.
        Some(Errno::ENXIO) => "not a regular file".to_owned(),
        Some(errno) => errno.desc().to_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    const NOW: i64 = 1_795_371_389;

    /// A folder of the test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("ruptime-memory-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).expect("a folder");
            Folder(path)
        }
        fn store(&self) -> Store {
            Store::new(self.0.join("state/ruptime"))
        }
        /// With a folder for the file, and something else in its place.
        fn store_with(&self, put: impl FnOnce(&Path)) -> Store {
            let store = self.store();
            fs::create_dir_all(&store.folder).expect("a folder");
            put(&store.path());
            store
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn remember(store: &mut Store, host: &str, at: i64) -> Result<(), String> {
        let (mut memory, _) = store.load();
        memory.note(host, at, Some(60));
        store.save(&memory, at)
    }

    #[test]
    fn what_was_noted_is_known_to_the_next_call() {
        let folder = Folder::new();
        let odd = "unix:/a \"b\"\n\u{202e}\\";
        for host in ["web1", odd] {
            remember(&mut folder.store(), host, NOW).expect("written");
        }
        let (memory, complaint) = folder.store().load();
        assert_eq!(complaint, None);
        let seen = Seen {
            last: NOW,
            boot: Some(NOW - 60),
        };
        assert_eq!(memory.seen("web1"), Some(seen));
        assert_eq!(memory.seen(odd), Some(seen));
        assert_eq!(memory.seen("web2"), None);
        let mode = fs::metadata(folder.store().path())
            .expect("the file")
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn calls_side_by_side_lose_nothing() {
        let folder = Folder::new();
        thread::scope(|scope| {
            for number in 0..8 {
                let mut store = folder.store();
                scope.spawn(move || {
                    for turn in 0..10 {
                        let host = format!("host{number}-{turn}");
                        remember(&mut store, &host, NOW).expect("written");
                    }
                });
            }
        });
        let (memory, _) = folder.store().load();
        assert_eq!(memory.known.len(), 80);
    }

    #[test]
    fn what_is_no_file_of_ours_is_left_alone() {
        type Put = fn(&Path);
        let attacks: [(&str, Put); 5] = [
            ("not a regular file", |path| {
                fs::create_dir(path).expect("a directory");
            }),
            ("not a regular file", |path| {
                nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
            }),
            ("symbolic link", |path| {
                fs::write(path.with_extension("real"), "ruptime memory 1\n").expect("a file");
                symlink(path.with_extension("real"), path).expect("a link");
            }),
            ("not a memory of ruptime's", |path| {
                fs::write(path, "#!/bin/sh\n").expect("a file");
            }),
            ("a later ruptime (version 2)", |path| {
                fs::write(path, "ruptime memory 2\nanything\n").expect("a file");
            }),
        ];
        for (words, put) in attacks {
            let folder = Folder::new();
            let mut store = folder.store_with(put);
            let before = fs::symlink_metadata(store.path()).expect("it").ino();
            let (mut memory, complaint) = store.load();
            let complaint = complaint.expect("one line");
            assert!(complaint.contains(words), "{complaint}");
            assert!(!complaint.contains('\n'), "{complaint}");
            memory.note("web1", NOW, None);
            assert_eq!(store.save(&memory, NOW), Ok(()), "it was told once");
            let after = fs::symlink_metadata(store.path()).expect("it").ino();
            assert_eq!(before, after, "{words}");
        }
    }

    #[test]
    fn spoilt_lines_are_dropped_and_the_others_kept() {
        let folder = Folder::new();
        let mut store = folder.store_with(|path| {
            let text = "ruptime memory 1\n[\"a\",1795371000,null]\n[\"b\",17\nnull\n";
            fs::write(path, text).expect("a file");
        });
        let (memory, complaint) = store.load();
        assert!(
            complaint
                .expect("one line")
                .contains("spoilt lines dropped: 2")
        );
        assert!(memory.seen("a").is_some());
        remember(&mut store, "c", NOW).expect("written");
        let (memory, complaint) = folder.store().load();
        assert_eq!((memory.known.len(), complaint), (2, None));
    }

    #[test]
    fn the_number_of_hosts_is_bounded() {
        let folder = Folder::new();
        let (mut memory, _) = folder.store().load();
        for number in 0..=MOST {
            memory.note(&number.to_string(), NOW, None);
        }
        let told = folder.store().save(&memory, NOW).expect_err("too many");
        assert!(told.contains("more than 65536 hosts"), "{told}");
        assert!(!folder.store().path().exists());
    }

    #[test]
    fn a_lock_that_is_held_is_told() {
        let folder = Folder::new();
        let mut store = folder.store_with(|_| {});
        let lock = store.lock().expect("the lock");
        let told = remember(&mut store, "a", NOW).expect_err("locked");
        assert!(told.contains("locked by another process"), "{told}");
        drop(lock);
        remember(&mut store, "a", NOW).expect("written");
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes[..]);
            let with_header = [b"ruptime memory 1\n", &bytes[..]].concat();
            let _ = parse(&with_header[..]);
        }
    }
}
