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
    /// Where it is; none for the CPU.
    pub found: Option<Found>,
    /// What it was opened with.
    pub options: Options,
    /// Name and driver; a run stores it.
    pub name: String,
    /// Checksum of the shaders that it has instead of the built-in ones; "" where there are none.
    pub shaders: String,
}

/// The shaders that the arguments ask for, and whether they run with checks.
pub fn options(args: &DeviceArgs) -> Result<Options> {
    let shaders = match &args.shaders {
        Some(dir) => Shaders::replace(files::shaders(dir)?),
        None => Shaders::default(),
    };
    let checked = args.checked || (shaders.is_replaced() && !args.unchecked);
    Ok(Options { shaders, checked, ..Options::default() })
}

/// Opens what the arguments ask for, and says on standard error what it is. `auto` goes on to the next adapter when one
/// refuses, and to the CPU after the last.
pub fn open(args: &DeviceArgs) -> Result<Opened> {
    let options = options(args)?;
    let shaders = match options.shaders.is_replaced() {
        true => {
            let replaced = options.shaders.replaced().flat_map(|(file, text)| [file, "\0", text, "\0"]);
            fnv(replaced.flat_map(str::bytes).map(u64::from))
        }
        false => String::new(),
    };
    let candidates = match args.device.as_str() {
        "auto" => block_on(enumerate()),
        word => choose(word)?.into_iter().collect(),
    };
    for found in candidates {
        let name = format!("{} ({}, {})", found.name(), found.kind(), found.driver());
        match block_on(Gpu::open(&found, options.clone())) {
            Ok(gpu) => {
                eprintln!("device: {name}{}", if options.checked { ", shaders checked" } else { "" });
                return Ok(Opened { device: Device::Gpu(Box::new(gpu)), found: Some(found), options, name, shaders });
            }
            Err(e) if args.device == "auto" => eprintln!("warning: {e}"),
            Err(e) => return Err(e),
        }
    }
    match args.device.as_str() {
        "auto" => eprintln!("device: cpu, since no GPU was found; {INSTALL}"),
        _ => eprintln!("device: cpu"),
    }
    Ok(Opened { device: Device::cpu(), found: None, options, name: "cpu".into(), shaders: String::new() })
}

/// FNV-1a over numbers, as 16 digits.
pub fn fnv(words: impl IntoIterator<Item = u64>) -> String {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x100000001b3);
    format!("{:016x}", words.into_iter().fold(0xcbf29ce484222325, step))
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
    let by_name = |f: &Found| !word.is_empty() && f.name().to_lowercase().contains(&word.to_lowercase());
    let at = match word.parse::<usize>() {
        Ok(index) => (index < adapters.len()).then_some(index),
        Err(_) => adapters.iter().position(by_name),
    };
    match at {
        Some(i) => Ok(Some(adapters.swap_remove(i))),
        None => Err(Error::Input(format!(
            "--device {word}: there is no such device; 'seqloom devices' lists {}, and auto and cpu always work",
            adapters.len()
        ))),
    }
}
