//! The kernels of plans: who uses them, and their texts.

use seqloom::error::Result;
use seqloom::op::{Cost, Launch};
use seqloom::plan::Plan;
use seqloom::shader::{Kernel, Shaders};

/// A pipeline, and what runs it.
pub struct Use {
    /// One of its launches.
    pub launch: Launch,
    /// What its files are called, without an extension.
    pub file: String,
    /// The operations.
    pub ops: Vec<&'static str>,
    /// How many passes.
    pub passes: usize,
    /// What they cost together.
    pub cost: Cost,
}

/// FLOPs that a GPU can do while it moves a byte, about: desktop GPUs of today have 20 to 60.
pub const FLOPS_PER_BYTE: u64 = 32;

/// What a cost weighs on the roofline of such a GPU, in FLOPs.
pub fn weight(cost: Cost) -> u64 {
    cost.flops.max(cost.bytes * FLOPS_PER_BYTE)
}

/// The distinct pipelines of plans, the costliest first.
pub fn uses<'a>(plans: impl IntoIterator<Item = &'a Plan>) -> Vec<Use> {
    let passes = plans.into_iter().flat_map(|plan| &plan.passes);
    distinct(passes.map(|pass| (pass.op, pass.launch.clone(), pass.cost)))
}

/// The distinct pipelines among launches of operations, the costliest first.
pub fn distinct(launches: impl Iterator<Item = (&'static str, Launch, Cost)>) -> Vec<Use> {
    let mut all: Vec<Use> = vec![];
    for (op, launch, cost) in launches {
        match all.iter_mut().find(|u| u.launch.same_pipeline(&launch)) {
            Some(u) => {
                u.passes += 1;
                u.cost.flops += cost.flops;
                u.cost.bytes += cost.bytes;
                if !u.ops.contains(&op) {
                    u.ops.push(op);
                }
            }
            None => all.push(Use { launch, file: String::new(), ops: vec![op], passes: 1, cost }),
        }
    }
    all.sort_by_key(|u| std::cmp::Reverse(weight(u.cost)));
    for i in 0..all.len() {
        let name = all[i].launch.shader.name;
        let of_name = |u: &&Use| u.launch.shader.name == name;
        let number = all[..i].iter().filter(of_name).count() + 1;
        let several = all.iter().filter(of_name).count() > 1;
        all[i].file = if several { format!("{name}-{number}") } else { name.to_string() };
    }
    all
}

/// The texts of a kernel: names and contents.
pub fn files_of(u: &Use, shaders: &Shaders, checked: bool) -> Result<Vec<(String, Vec<u8>)>> {
    let kernel = Kernel::new(shaders, &u.launch)?;
    let (msl, hlsl) = (kernel.msl(checked)?, kernel.hlsl(checked)?);
    let spirv: Vec<u8> = kernel.spirv(checked)?.into_iter().flat_map(u32::to_le_bytes).collect();
    let head = |entry: &str| format!("// {}; entry point {entry}\n", described(&u.launch));
    let text = |entry: &str, text: &str| (head(entry) + text).into_bytes();
    Ok(vec![
        (format!("{}.wgsl", u.file), text(kernel.name, &kernel.wgsl)),
        (format!("{}.spv", u.file), spirv),
        (format!("{}.metal", u.file), text(&msl.entry, &msl.text)),
        (format!("{}.hlsl", u.file), text(&hlsl.entry, &hlsl.text)),
    ])
}

/// Variant, constants and tiles.
fn described(launch: &Launch) -> String {
    let mut parts = vec![match launch.variant.as_str() {
        "" => launch.shader.name.to_string(),
        variant => format!("{} [{variant}]", launch.shader.name),
    }];
    parts.push(settings(launch));
    parts.retain(|p| !p.is_empty());
    parts.join(", ")
}

/// Constants and tiles, as they are set.
pub fn settings(launch: &Launch) -> String {
    let constants = launch.constants.iter().map(|(name, value)| format!("{name}={}", *value as f32));
    let tiles = launch.tiles.iter().map(|(name, value)| format!("{name}={value}"));
    constants.chain(tiles).collect::<Vec<_>>().join(" ")
}

/// A line for each kernel: its files, its passes, what it is.
pub fn listing(uses: &[Use]) -> String {
    let widest = uses.iter().map(|u| u.file.len()).max().unwrap_or(0);
    let line = |u: &Use| {
        let (file, ops) = (&u.file, u.ops.join(", "));
        format!(
            "{file:widest$}  {:4} passes  {:10.4} GFLOP  {:10.3} MiB  {}  # {ops}\n",
            u.passes,
            u.cost.flops as f64 / 1e9,
            u.cost.bytes as f64 / (1u64 << 20) as f64,
            described(&u.launch)
        )
    };
    uses.iter().map(line).collect()
}
