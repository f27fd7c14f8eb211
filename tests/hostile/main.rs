//! Files that are damaged, or made to do damage: every loader of the library answers with one line, and takes no more memory
//! than the file's length explains.
//!
//! Each loader meets a corpus of named files, whose messages are asserted, and files that are drawn: a good one with some
//! edits, or bytes by chance. `PROPTEST_CASES=100000 cargo test --release --test hostile` draws for longer. What was found
//! once is drawn again first: `regressions.txt` has the seeds.

mod alloc;
mod imported;
mod mutate;
mod recipes;
mod shaders;
mod tensors;
mod texts;
mod tokenizers;

use alloc::Taken;
use proptest::test_runner::{Config, FileFailurePersistence};
use seqloom::error::Error;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// As many cases as `PROPTEST_CASES` says.
fn config() -> Config {
    let regressions = FileFailurePersistence::Direct("tests/hostile/regressions.txt");
    Config { failure_persistence: Some(Box::new(regressions)), max_shrink_iters: 4000, ..Config::default() }
}

/// Whether an error is one line for people about this file.
#[track_caller]
fn refused(error: &Error, file: &str) -> String {
    let message = error.to_string();
    assert_eq!(error.exit_code(), 2, "{message}");
    assert!(message.contains(file), "{message} does not name {file}");
    assert!(!message.contains(char::is_control), "{message:?}");
    assert!(message.chars().count() < 400, "{message}");
    message
}

/// Checks what loading so many bytes took: no single allocation of more than 16 times as much and 1 MiB, and `times` as much
/// and 4 MiB at a time.
#[track_caller]
fn modest(taken: Taken, bytes: usize, times: usize) {
    within(taken, bytes, [16, times]);
}

/// The same with a factor for the largest allocation too, for parsers of the settings, which are short.
#[track_caller]
fn within(taken: Taken, bytes: usize, [largest, times]: [usize; 2]) {
    assert!(taken.largest <= largest * bytes + (1 << 20), "one allocation of {} for {bytes} bytes", taken.largest);
    assert!(taken.peak <= times * bytes + (4 << 20), "{} at a time for {bytes} bytes", taken.peak);
}
