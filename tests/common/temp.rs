//! Folders of a test's own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::mkdtemp;

/// A folder that is removed, with all that is in it, when the test is over. Its name is short,
/// because a UNIX socket's path may have 107 bytes (unix(7)).
pub(crate) struct TempDir {
    path: PathBuf,
}

impl TempDir {
    pub(crate) fn new() -> Self {
        // A name that nobody has: process numbers come again, and a killed test leaves its folder.
        let template = std::env::temp_dir().join("ruptimed-test.XXXXXX");
        let path = mkdtemp(&template).expect("a folder for the test");
        // Programs in it are run by other users too.
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a mode");
        TempDir { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file, and gives its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// The same as text, for command lines and scripts.
    pub(crate) fn text(&self, name: &str) -> String {
        self.join(name).display().to_string()
    }

    /// How many entries have a name that begins so.
    pub(crate) fn entries(&self, prefix: &str) -> usize {
        std::fs::read_dir(&self.path)
            .expect("the folder")
            .filter(|entry| {
                let name = entry.as_ref().expect("an entry").file_name();
                name.to_string_lossy().starts_with(prefix)
            })
            .count()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A test that fails to remove its folder has told enough by whatever else went wrong.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
