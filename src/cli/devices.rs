//! `seqloom devices`: adapters, features, limits, and which would be used.

use super::device::INSTALL;
use clap::Args;
use pollster::block_on;
use seqloom::error::Result;
use seqloom::gpu::{Found, enumerate};
use std::process::ExitCode;

/// Arguments of `devices`.
#[derive(Args)]
pub struct Devices {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Lists them on standard output.
pub fn run(args: &Devices) -> Result<ExitCode> {
    let adapters = block_on(enumerate());
    if args.json {
        let object = serde_json::json!({ "auto": if adapters.is_empty() { "cpu" } else { "0" },
            "devices": adapters.iter().map(json).collect::<Vec<_>>() });
        out!("{object}");
        return Ok(ExitCode::SUCCESS);
    }
    for (i, f) in adapters.iter().enumerate() {
        let (binding, memory, threads) = f.limits();
        out!("{i}  {} ({}, {}){}", f.name(), f.kind(), f.backend(), if i == 0 { "  <- auto" } else { "" });
        out!("   driver    {}", f.driver());
        out!("   features  {}", f.features().join(", "));
        out!(
            "   limits    {} MiB a binding, {} KiB of workgroup memory, {threads} threads a workgroup",
            binding >> 20,
            memory >> 10
        );
    }
    out!("cpu  the CPU reference{}", if adapters.is_empty() { "  <- auto" } else { "" });
    if adapters.is_empty() {
        out!("No GPU was found: {INSTALL}.");
    }
    Ok(ExitCode::SUCCESS)
}

fn json(f: &Found) -> serde_json::Value {
    let (binding, memory, threads) = f.limits();
    serde_json::json!({ "name": f.name(), "kind": f.kind(), "backend": f.backend(), "driver": f.driver(),
        "features": f.features(), "max_storage_buffer_binding_size": binding,
        "max_compute_workgroup_storage_size": memory, "max_compute_invocations_per_workgroup": threads })
}
