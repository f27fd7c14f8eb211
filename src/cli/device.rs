//! `--device`: the words that people say, and the device that they get.

use super::{DeviceArgs, files};
use pollster::block_on;
use seqloom::device::Device;
use seqloom::error::{Error, Result};
use seqloom::gpu::{Found, Gpu, Options, enumerate};
use seqloom::shader::Shaders;

/// What to install where there is no adapter.
pub const INSTALL: &str =
    "install a Vulkan driver for a GPU, or mesa-vulkan-drivers (Debian, Ubuntu) for a software one";

/// A device that was opened, and what to call it.
pub struct Opened {
    /// The device.
    pub device: Device,
    /// Name and driver; a run stores it.
    pub name: String,
}

/// Opens what the arguments ask for, and says on standard error what it is.
pub fn open(args: &DeviceArgs) -> Result<Opened> {
    let shaders = match &args.shaders {
        Some(dir) => Shaders::replace(files::shaders(dir)?),
        None => Shaders::default(),
    };
    let checked = args.checked || (shaders.is_replaced() && !args.unchecked);
    let opened = match choose(&args.device)? {
        None => {
            match args.device.as_str() {
                "auto" => eprintln!("device: cpu, since no GPU was found; {INSTALL}"),
                _ => eprintln!("device: cpu"),
            }
            Opened { device: Device::cpu(), name: "cpu".into() }
        }
        Some(found) => {
            let gpu = block_on(Gpu::open(&found, Options { shaders, checked, portable: false }))?;
            let name = format!("{} ({}, {})", found.name(), found.kind(), found.driver());
            eprintln!("device: {name}{}", if checked { ", shaders checked" } else { "" });
            Opened { device: Device::Gpu(Box::new(gpu)), name }
        }
    };
    Ok(opened)
}

/// The adapter for the word after `--device`; none is the CPU. Errors: there is no such adapter.
pub fn choose(word: &str) -> Result<Option<Found>> {
    if word == "cpu" {
        return Ok(None);
    }
    let mut adapters = block_on(enumerate());
    if word == "auto" {
        return Ok((!adapters.is_empty()).then(|| adapters.swap_remove(0)));
    }
    let by_index = word.parse::<usize>().ok();
    let by_name = |f: &Found| f.name().to_lowercase().contains(&word.to_lowercase());
    let at = by_index.filter(|i| *i < adapters.len()).or_else(|| adapters.iter().position(by_name));
    match at {
        Some(i) => Ok(Some(adapters.swap_remove(i))),
        None => Err(Error::Input(format!(
            "--device {word}: there is no such device; 'seqloom devices' lists {}, and auto and cpu always work",
            adapters.len()
        ))),
    }
}
