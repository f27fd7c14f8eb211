//! Shader files to modules: imports, `const` lines, other directories.
//!
//! A line `import package::lib::lanes::{lanes_sum};` (the syntax of WESL) is blanked and the file `lib/lanes.wgsl`
//! appended, once, so that line numbers in messages stay those of the file.
//! A line before each module names its file, for messages about its text.

mod languages;
mod size;

pub use languages::{Bound, Kernel, Translation};

use crate::error::{Error, Result, shorten};
use crate::op::{Launch, Shader};
use std::collections::BTreeMap;

const LIBRARY: [(&str, &str); 11] = [
    ("activation", include_str!("../shaders/lib/activation.wgsl")),
    ("blocks", include_str!("../shaders/lib/blocks.wgsl")),
    ("erf", include_str!("../shaders/lib/erf.wgsl")),
    ("gates", include_str!("../shaders/lib/gates.wgsl")),
    ("grid", include_str!("../shaders/lib/grid.wgsl")),
    ("lanes", include_str!("../shaders/lib/lanes.wgsl")),
    ("mask", include_str!("../shaders/lib/mask.wgsl")),
    ("matrices", include_str!("../shaders/lib/matrices.wgsl")),
    ("philox", include_str!("../shaders/lib/philox.wgsl")),
    ("quads", include_str!("../shaders/lib/quads.wgsl")),
    ("tile", include_str!("../shaders/lib/tile.wgsl")),
];

/// Starts the line before the text of an appended module.
const FROM: &str = "// from ";

/// Where shader texts come from: the embedded ones, some of them replaced.
#[derive(Clone, Debug, Default)]
pub struct Shaders {
    replaced: BTreeMap<String, String>,
}

impl Shaders {
    /// Replaces embedded files by others: file name relative to `shaders/`, such as `lib/lanes.wgsl`, and text.
    pub fn replace(files: impl IntoIterator<Item = (String, String)>) -> Shaders {
        Shaders { replaced: files.into_iter().collect() }
    }

    /// Whether any embedded file was replaced: what was not tested runs with checks.
    pub fn is_replaced(&self) -> bool {
        !self.replaced.is_empty()
    }

    /// What embedded files were replaced by: name and text.
    pub fn replaced(&self) -> impl Iterator<Item = (&str, &str)> {
        self.replaced.iter().map(|(file, text)| (file.as_str(), text.as_str()))
    }

    fn text<'a>(&'a self, file: &str, embedded: &'a str) -> &'a str {
        self.replaced.get(file).map_or(embedded, String::as_str)
    }

    /// The WGSL of a launch: imports appended, `const` lines set.
    pub fn resolve(&self, launch: &Launch) -> Result<String> {
        let Shader { name, source } = launch.shader;
        let mut text = String::new();
        let mut pending: Vec<String> = vec![];
        let mut seen: Vec<String> = vec![];
        let file = format!("{name}.wgsl");
        self.append(&file, self.text(&file, source), &mut text, &mut pending)?;
        while let Some(module) = pending.pop() {
            if seen.contains(&module) {
                continue;
            }
            let embedded = LIBRARY.iter().find(|(name, _)| *name == module).map(|(_, text)| *text);
            let file = format!("lib/{module}.wgsl");
            let source = self.replaced.get(&file).map(String::as_str).or(embedded);
            let source = source.ok_or_else(|| {
                Error::Input(format!("{name}.wgsl: there is no module lib/{}.wgsl", shorten(&module, 60)))
            })?;
            text.push_str(&format!("{FROM}{file}\n"));
            self.append(&file, source, &mut text, &mut pending)?;
            seen.push(module);
        }
        for (tile, value) in &launch.tiles {
            text = set_const(&text, tile, *value)
                .ok_or_else(|| Error::Input(format!("{name}.wgsl: there is no line `const {tile}: u32 = ...;`")))?;
        }
        Ok(text)
    }

    fn append(&self, file: &str, source: &str, to: &mut String, imports: &mut Vec<String>) -> Result<()> {
        for (i, line) in source.lines().enumerate() {
            if let Some(path) = line.strip_prefix("import ") {
                let module = path.strip_prefix("package::lib::").and_then(|p| p.split("::").next());
                let module = module.ok_or_else(|| {
                    Error::Input(format!("{file}:{}: expected import package::lib::MODULE::{{NAMES}};", i + 1))
                })?;
                imports.push(module.trim_end_matches(';').into());
            } else {
                to.push_str(line);
            }
            to.push('\n');
        }
        Ok(())
    }
}

/// The same kernel with the lanes of a workgroup numbered from the last to the first. Nothing changes where barriers are as
/// they should be; where one is missing, the order in which a driver happens to run lanes hides less. Kernels that do not
/// ask for the index stay as they are.
pub fn mirrored(text: &str) -> String {
    const INDEX: &str = "@builtin(local_invocation_index) ";
    let cut = || {
        let (before, from_name) = text.split_once(INDEX)?;
        let (name, after) = from_name.split_once(':')?;
        let (signature, body) = after.split_once('{')?;
        let size = before.rsplit_once("@workgroup_size(")?.1.split_once(')')?.0;
        let first = format!("let {name} = u32({size}) - 1u - {name}_from_last;");
        Some(format!("{before}{INDEX}{name}_from_last:{signature}{{ {first}{body}"))
    };
    cut().unwrap_or_else(|| text.into())
}

fn set_const(text: &str, name: &str, value: u32) -> Option<String> {
    let start = text.find(&format!("const {name}: u32 = "))?;
    let end = start + text[start..].find(';')?;
    Some(format!("{}const {name}: u32 = {value}u{}", &text[..start], &text[end..]))
}

/// Parses and validates WGSL, whose entry point has the name of the shader; a mistake is one line with file, line and column.
pub fn validate(name: &str, source: &str) -> Result<(naga::Module, naga::valid::ModuleInfo)> {
    let at = |place: Option<naga::SourceLocation>, what: String| {
        let (line, column) = place.map_or((1, 1), |p| (p.line_number.max(1) as usize, p.line_position));
        let what = shorten(&what, 300);
        let above = source.lines().take(line - 1).enumerate();
        let module = above.filter_map(|(i, l)| Some((i + 1, l.strip_prefix(FROM)?))).last();
        match module {
            Some((first, file)) => Error::Input(format!("{file}:{}:{column}: {what}", line - first)),
            None => Error::Input(format!("{name}.wgsl:{line}:{column}: {what}")),
        }
    };
    if let Some((byte, what)) = size::excess(source) {
        let span = naga::Span::new(byte as u32, byte as u32 + 1);
        return Err(at(Some(span.location(source)), what));
    }
    let module = naga::front::wgsl::parse_str(source).map_err(|e| at(e.location(source), e.message().to_string()))?;
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::SUBGROUP);
    let info = validator.validate(&module).map_err(|e| {
        let mut what = e.as_inner().to_string();
        let mut cause = std::error::Error::source(e.as_inner());
        while let Some(next) = cause {
            what = format!("{what}: {next}");
            cause = next.source();
        }
        // The first span is the whole function when the mistake is one expression of it.
        let narrowest = e.spans().min_by_key(|(span, _)| span.to_range().map_or(usize::MAX, |r| r.len()));
        at(narrowest.map(|(span, _)| span.location(source)), what)
    })?;
    let is_entry = |e: &naga::EntryPoint| e.name == name && e.stage == naga::ShaderStage::Compute;
    if !module.entry_points.iter().any(is_entry) {
        return Err(Error::Input(format!("{name}.wgsl: there is no entry point {name}; expected @compute fn {name}")));
    }
    Ok((module, info))
}
