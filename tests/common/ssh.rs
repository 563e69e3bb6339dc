//! OpenSSH's server on loopback, with a key and a configuration of a test's own: neither the
//! machine's nor the user's are read.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fake::{self, Ran};
use super::temp::TempDir;
use super::{is_installed, wait_for};

/// A server, and how to reach it.
pub(crate) struct Sshd {
    pub(crate) files: TempDir,
    pub(crate) port: u16,
    server: Child,
}

impl Sshd {
    /// On every address of loopback. None (told) where it is not installed.
    pub(crate) fn new() -> Option<Sshd> {
        if !is_installed("sshd", "openssh-server") || !is_installed("ssh", "openssh-client") {
            return None;
        }
        let files = TempDir::new();
        for key in ["host", "user", "other"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
                .arg(files.join(key))
                .status();
            assert!(made.expect("ssh-keygen").success());
        }
        let read = |name: &str| std::fs::read_to_string(files.join(name)).expect(name);
        files.file("authorized", read("user.pub"));
        files.file("known", format!("* {}", read("host.pub")));
        // Where sshd wants it, as root (sshd(8), FILES).
        let _ = std::fs::create_dir_all("/run/sshd");
        let (server, port) = wait_for("an sshd that listens", || serve(&files));
        let dir = files.path().display();
        files.file(
            "ssh_config",
            format!(
                "Host *\nPort {port}\nIdentityFile {dir}/user\nIdentitiesOnly yes\n\
                 UserKnownHostsFile {dir}/known\nGlobalKnownHostsFile none\n\
                 StrictHostKeyChecking yes\nKexAlgorithms curve25519-sha256\n"
            ),
        );
        Some(Sshd {
            files,
            port,
            server,
        })
    }

    /// Puts lines before the others of the client's configuration: the first word for an option
    /// counts (ssh_config(5)).
    pub(crate) fn configure(&self, lines: &str) {
        let path = self.files.join("ssh_config");
        let old = std::fs::read_to_string(&path).expect("ssh_config");
        std::fs::write(path, format!("{lines}\n{old}")).expect("ssh_config");
    }

    /// Runs ruptime, which asks with the ssh of this configuration.
    pub(crate) fn ruptime(&self, arguments: &[&str]) -> Ran {
        let config = self.files.join("ssh_config");
        self.ruptime_with(&format!("ssh -F {}", config.display()), arguments)
    }

    /// Runs ruptime with another program for ssh.
    pub(crate) fn ruptime_with(&self, ssh: &str, arguments: &[&str]) -> Ran {
        let mut client = fake::client(arguments);
        client
            .env("RUPTIME_SSH", ssh)
            .env("HOME", self.files.path());
        fake::run(&mut client, b"")
    }

    /// A program of the test's own.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.files.file(name, format!("#!/bin/sh\n{text}\n"));
        executable(&path);
        path.display().to_string()
    }
}

/// Starts it on a port that was free a moment ago; None where somebody else has taken that since, as
/// the tests beside this one do for their connections.
fn serve(files: &TempDir) -> Option<(Child, u16)> {
    let (_, free) = fake::closed_port("127.0.0.1");
    let port = free.port();
    let dir = files.path().display();
    let config = files.file(
        "sshd_config",
        format!(
            "Port {port}\nListenAddress 0.0.0.0\nHostKey {dir}/host\nPidFile none\n\
             AuthorizedKeysFile {dir}/authorized\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nMaxStartups 500\nMaxSessions 500\n"
        ),
    );
    let mut server = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(config)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sshd");
    wait_for("sshd listens, or ends", || {
        let ended = server.try_wait().expect("a child").is_some();
        let listens = || std::net::TcpStream::connect(fake::at("127.0.0.1", port)).is_ok();
        (ended || listens()).then_some(ended)
    });
    let ended = server.try_wait().expect("a child").is_some();
    (!ended).then_some((server, port))
}

fn executable(path: &Path) {
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a mode");
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.server.id()).expect("a process number"));
        // It ends its sessions, too.
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.server.wait();
    }
}
