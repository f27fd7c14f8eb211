//! What the outside world can do wrong: files, recipes, text, adapters.
//!
//! A wrong graph is not here: that is a caller's bug and panics with the operation and the types.

/// One line that says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user's mistake: a missing file, an unknown key, an impossible size. Exit code 2.
    #[error("{0}")]
    Input(String),
    /// The device: no adapter, out of memory, lost, a shader that does not compile. Exit code 1.
    #[error("{0}")]
    Device(String),
    /// What was computed is not a number, or does not agree with what was stored. Exit code 1.
    #[error("{0}")]
    Run(String),
}

/// The result of everything that touches the outside world.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The process's exit code: 2 for the user's mistakes, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input(_) => 2,
            Error::Device(_) | Error::Run(_) => 1,
        }
    }
}
