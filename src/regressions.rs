//! What fuzzing has found, replayed by the property tests: one file for each input in
//! `tests/fuzz/regressions`, below the name of its target.

use std::path::Path;

/// The inputs that once broke this target.
pub(crate) fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/regressions")
        .join(target);
    // No folder: nothing was found.
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| std::fs::read(entry.expect("an entry").path()).expect("an input"))
        .collect()
}
