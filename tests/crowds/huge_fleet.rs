//! A hundred thousand hosts in one call, within a memory that would not hold their answers.

use crate::common::fake::{closed_port, run, wrapped};

#[test]
fn those_that_are_late_are_told_a_few_at_a_time() {
    let (_closed, closed) = closed_port("0.0.0.0");
    let hosts = format!("127.[1-4].[0-199].[1-250]:{}", closed.port());
    let script = format!("ulimit -n 1024; ulimit -d {}; exec \"$@\"", 32 << 10);
    let shell = ["sh", "-c", &script, "sh"];
    let arguments = ["-o", "jsonl", "--deadline", "0.001", &hosts];
    let ran = run(&mut wrapped(&shell, &arguments), b"");
    assert!(ran.status == 1, "{} {}", ran.status, ran.err);
    assert_eq!(ran.text().lines().count(), 200_000, "{}", ran.err);
}

#[test]
fn what_a_call_keeps_of_each_host_is_small() {
    let (_closed, closed) = closed_port("0.0.0.0");
    let hosts = format!("127.[1-2].[0-199].[1-250]:{}", closed.port());
    // KiB of private memory, unoptimised; what is beyond cannot be had.
    for (format, most) in [("jsonl", 24 << 10), ("table", 32 << 10)] {
        let script = format!("ulimit -n 1024; ulimit -d {most}; exec \"$@\"");
        let shell = ["sh", "-c", &script, "sh"];
        let ran = run(&mut wrapped(&shell, &["-o", format, &hosts]), b"");
        assert!(ran.status == 1, "{format}: {} {}", ran.status, ran.err);
        let refused = ran.text().matches("connection refused").count();
        assert_eq!(refused, 100_000, "{format}: {}", ran.err);
    }
}
