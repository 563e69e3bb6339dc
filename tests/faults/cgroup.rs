//! What `TasksMax=` and `MemoryMax=` of systemd.resource-control(5) do: limits of a control group
//! (cgroups(7)), in a group of the test's own.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::unistd::{getuid, mkdtemp};

use crate::common::process::Launch;
use crate::common::{BOUND, LOOK, leave_out};
use crate::service::{Got, Mode, Service};

/// A control group with one limit; removed in the end, when nobody is left in it.
struct Group {
    path: PathBuf,
}

impl Group {
    /// None, and why has been told, where this machine does not let us make one.
    fn new(controller: &str, limit: u64) -> Option<Group> {
        let group = Group::with_limit(controller, limit);
        if group.is_none() {
            leave_out(&format!(
                "no control group with a limit of {controller} can be made here"
            ));
        }
        group
    }

    fn with_limit(controller: &str, limit: u64) -> Option<Group> {
        if !getuid().is_root() {
            return None;
        }
        // One hierarchy for all controllers, or one for each (cgroups(7), version 1).
        let root = Path::new("/sys/fs/cgroup");
        let (parent, file) = if root.join("cgroup.controllers").exists() {
            let file = format!("{controller}.max");
            (root.to_owned(), file)
        } else if controller == "memory" {
            (root.join(controller), "memory.limit_in_bytes".to_owned())
        } else {
            (root.join(controller), format!("{controller}.max"))
        };
        let path = mkdtemp(&parent.join("ruptimed-test.XXXXXX")).ok()?;
        let group = Group { path };
        std::fs::write(group.path.join(file), limit.to_string()).ok()?;
        if controller == "memory" {
            group.forbid_swap(limit).ok()?;
        }
        Some(group)
    }

    /// A command that eats memory is to meet the limit, and not to fill the machine's swap first.
    fn forbid_swap(&self, limit: u64) -> std::io::Result<()> {
        // Version 1 counts memory and swap together.
        for (file, value) in [
            ("memory.swap.max", 0),
            ("memory.memsw.limit_in_bytes", limit),
        ] {
            match OpenOptions::new().write(true).open(self.path.join(file)) {
                Ok(mut file) => file.write_all(value.to_string().as_bytes())?,
                // A kernel that does not count swap.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// For a prologue: the shell that becomes the daemon goes in first.
    fn enter(&self, launch: Launch) -> Launch {
        launch.prologue(&format!("echo $$ >{}/cgroup.procs", self.path.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Those who were in it are being reaped: EBUSY until then. A second panic would abort all
        // tests, so after a first one it is left where it cannot be removed.
        let end = Instant::now() + BOUND;
        while let Err(error) = std::fs::remove_dir(&self.path) {
            if Instant::now() >= end {
                assert!(std::thread::panicking(), "a control group is left: {error}");
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

#[test]
fn a_limit_of_tasks_is_lived_with() {
    for (limit, wanted) in [(3, Got::Answer), (1, Got::Refusal)] {
        let Some(group) = Group::new("pids", limit) else {
            return;
        };
        let service = Service::start_as(Mode::Exec, &[], |daemon| {
            daemon.change(|launch| group.enter(launch))
        });
        let mut askers: Vec<_> = (0..20).map(|_| service.ask()).collect();
        for asker in &mut askers {
            assert_eq!(asker.wait(BOUND), wanted, "{limit} tasks");
        }
        let records = service.records();
        assert!(records.len() <= 2, "{records:?}");
        assert!(
            limit > 1 || records[0].contains("cannot start /usr/bin/uptime: "),
            "{records:?}"
        );
        drop(service);
    }
}

/// The kernel kills who has taken most, and that is the command.
#[test]
fn a_command_that_eats_the_memory_is_told_of_and_the_daemon_goes_on() {
    let Some(group) = Group::new("memory", 48 << 20) else {
        return;
    };
    let service = Service::start_as(Mode::Exec, &["--child-timeout", "600"], |daemon| {
        // The last line of what has no line's end.
        daemon
            .command(&["/usr/bin/tail", "-n", "1", "/dev/zero"])
            .change(|launch| group.enter(launch))
    });
    for _ in 0..3 {
        assert_eq!(service.ask().wait(BOUND), Got::Refusal);
    }
    let records = service.records();
    assert!(
        records.len() == 1 && records[0].contains("killed by SIGKILL"),
        "{records:?}"
    );
    drop(service);
}
