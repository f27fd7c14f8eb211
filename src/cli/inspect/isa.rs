use super::Inspect;
use clap::Args;
use seqloom::error::Result;
use std::process::ExitCode;
#[derive(Args)]
pub struct IsaArgs {
    #[arg(long)]
    isa: bool,
}
impl IsaArgs { pub fn asked(&self) -> bool { self.isa } }
pub fn run(_: &Inspect) -> Result<ExitCode> { Ok(ExitCode::SUCCESS) }
