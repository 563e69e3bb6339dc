//! Two hundred machines that are asked through ssh, some of them dead or unknown.

use crate::common::ssh::Sshd;
use crate::common::tell;

#[test]
fn two_hundred_hosts_are_asked_through_ssh() {
    let Some(sshd) = Sshd::new() else { return };
    let dir = sshd.files.path().display();
    sshd.configure(&format!(
        "Host 127.0.?.7 127.0.?.77\nUserKnownHostsFile {dir}/none\n\
         Host 127.0.?.9 127.0.?.99\nPort 1\nHost *"
    ));
    // In two halves: all of them together keep a slow machine busy for a minute.
    for hosts in ["ssh:127.0.0.[1-99,200]", "ssh:127.0.1.[1-100]"] {
        let ran = sshd.ruptime(&["-o", "jsonl", "--timeout", "100", hosts]);
        let text = ran.text();
        tell(&format!("100 hosts through ssh: {:?}", ran.took));
        assert!(ran.status == 1 && ran.err.is_empty(), "{ran:?}");
        for (what, count) in [
            (r#""status":"up""#, 96),
            ("Host key verification failed.", 2),
            ("port 1: Connection refused", 2),
        ] {
            assert_eq!(text.matches(what).count(), count, "{what}: {text}");
        }
    }
}
