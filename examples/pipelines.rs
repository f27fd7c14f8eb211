//! Writes every pipeline that any case needs on any adapter to standard output, as WGSL with its constants, for another
//! compiler to look at: `scripts/tint.sh` does.
//!
//! `cargo run --release --example pipelines -- [DIR]`; shaders in DIR replace the built-in ones. The output is a JSON array
//! of objects: `shader` (its entry point too), `variant`, `constants` (values of `override` declarations), `subgroups`
//! (whether the text needs `enable subgroups;`, which browsers require and naga refuses) and `wgsl` (imports and `const`
//! lines resolved; a line `// from FILE` starts what was appended).

use seqloom::ops::cases;
use seqloom::shader::Shaders;
use seqloom::verify::pipelines;
use std::path::Path;

// The program's own reading of a directory of shaders.
#[allow(dead_code)]
#[path = "../src/cli/files.rs"]
mod files;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shaders = match std::env::args().nth(1) {
        Some(dir) => Shaders::replace(files::shaders(Path::new(&dir))?),
        None => Shaders::default(),
    };
    let cases = cases(1);
    let mut objects = vec![];
    for launch in pipelines(cases.iter().map(|c| &c.1)) {
        let wgsl = shaders.resolve(&launch)?;
        let code = || wgsl.lines().filter_map(|line| line.split("//").next());
        let subgroups =
            code().any(|c| ["subgroupAdd(", "subgroupBroadcast(", "subgroup_"].iter().any(|s| c.contains(s)));
        let constants: serde_json::Map<_, _> =
            launch.constants.iter().map(|(name, value)| (name.to_string(), (*value).into())).collect();
        objects
            .push(serde_json::json!({ "shader": launch.shader.name, "variant": launch.variant, "constants": constants,
            "subgroups": subgroups, "wgsl": wgsl }));
    }
    println!("{}", serde_json::Value::Array(objects));
    Ok(())
}
