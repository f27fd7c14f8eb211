//! `cargo bench -- [ARGUMENTS]` is `seqloom bench [ARGUMENTS]`.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, without the flag that `cargo bench` adds.
    let (flags, arguments): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a == "--bench");
    if flags.is_empty() {
        println!("kernels are timed by cargo bench");
        return ExitCode::SUCCESS;
    }
    let status = Command::new(env!("CARGO_BIN_EXE_seqloom")).arg("bench").args(arguments).status();
    match status.expect("the program that was just built starts").code() {
        Some(0) => ExitCode::SUCCESS,
        code => ExitCode::from(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
    }
}
