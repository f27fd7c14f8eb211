//! Every shader as every case launches it, without a device: bindings by reflection, the limits that WebGPU
//! guarantees, translation to the three languages of the drivers, and what a mistake looks like.

use naga::AddressSpace;
use seqloom::case::Case;
use seqloom::op::{Adapter, Launch, Shader};
use seqloom::ops::cases;
use seqloom::shader::{Kernel, Shaders, validate};
use seqloom::tensor::{DType, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Of each binding whether it is written, and its element type where that matters.
type Bindings = Vec<(bool, Option<DType>)>;

/// A launch and the bindings that its operation means.
struct Use {
    launch: Launch,
    bindings: Bindings,
}

/// Every launch of every case on both kinds of adapter, those that make the same pipeline once.
fn uses() -> Vec<Use> {
    let mut distinct = BTreeMap::new();
    for (_, case) in cases(1) {
        for (software, subgroup) in [(false, None), (false, Some(8)), (true, None), (true, Some(8))] {
            for (launch, bindings) in candidates(&case, &Adapter { software, subgroup }) {
                let key = format!("{} {:?} {:?} {bindings:?}", launch.shader.name, launch.constants, launch.tiles);
                distinct.entry(key).or_insert(Use { launch, bindings });
            }
        }
    }
    assert!(distinct.len() > 60, "{} pipelines", distinct.len());
    distinct.into_values().collect()
}

/// Launches and their bindings. An input that repeats an earlier one stands for one that the launch does not read, of
/// whatever type.
fn candidates(case: &Case, adapter: &Adapter) -> Vec<(Launch, Bindings)> {
    let x: Vec<&Type> = case.inputs.iter().map(|t| t.ty()).collect();
    let y = case.op.types(&x).expect("the types of a case fit");
    let taken = |i: usize| case.op.in_place().iter().any(|pair| pair.0 == i);
    let repeats = |i: usize| case.inputs[..i].contains(&case.inputs[i]);
    let dtype = |i: usize| (!repeats(i)).then(|| x[i].dtype);
    let reads = (0..x.len()).filter(|&i| !taken(i)).map(|i| (false, dtype(i)));
    let bindings = reads.chain(y.iter().map(|t| (true, Some(t.dtype)))).collect::<Vec<_>>();
    let launches = case.op.launches(&x, &y.iter().collect::<Vec<_>>(), adapter);
    assert!(!launches.is_empty(), "{:?} has no launch", case.op);
    launches.into_iter().map(|launch| (launch, bindings.clone())).collect()
}

fn compile(launch: &Launch) -> Kernel {
    Kernel::new(&Shaders::default(), launch).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn bindings_are_the_inputs_then_the_outputs() {
    for Use { launch, bindings } in uses() {
        let name = launch.shader.name;
        let module = compile(&launch).module;
        let mut storage = BTreeMap::new();
        for (_, global) in module.global_variables.iter() {
            let Some(at) = global.binding else { continue };
            match (at.group, global.space) {
                (0, AddressSpace::Storage { access }) => {
                    let element = match module.types[global.ty].inner {
                        naga::TypeInner::Array { base, .. } => module.types[base].inner.scalar(),
                        _ => None,
                    };
                    let kind = element.unwrap_or_else(|| panic!("{name}: {:?} is not an array", global.name)).kind;
                    storage.insert(at.binding, (access, kind));
                }
                (1, AddressSpace::Uniform) => {
                    assert_eq!((at.binding, global.name.as_deref()), (0, Some("run")), "{name}");
                    let run = naga::TypeInner::Vector { size: naga::VectorSize::Quad, scalar: naga::Scalar::U32 };
                    assert_eq!(module.types[global.ty].inner, run, "{name}: the type of run");
                }
                _ => panic!("{name}: {:?} is bound at {at:?}", global.name),
            }
        }
        let want = bindings.iter().enumerate().map(|(i, &(written, dtype))| {
            let access = match written {
                true => naga::StorageAccess::LOAD | naga::StorageAccess::STORE,
                false => naga::StorageAccess::LOAD,
            };
            // A copy moves words, whatever they mean.
            let kind = match dtype {
                None => storage[&(i as u32)].1,
                Some(DType::U32) => naga::ScalarKind::Uint,
                Some(_) if name.starts_with("copy") => naga::ScalarKind::Uint,
                Some(_) => naga::ScalarKind::Float,
            };
            (i as u32, (access, kind))
        });
        assert_eq!(storage, want.collect::<BTreeMap<_, _>>(), "{name}: bindings of group 0, access and element");
    }
}

#[test]
fn the_entry_point_and_the_constants_are_those_of_the_launch() {
    for Use { launch, .. } in uses() {
        let name = launch.shader.name;
        let module = compile(&launch).module;
        let entries: Vec<&str> = module.entry_points.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(entries, [name]);
        let set: Vec<&str> = launch.constants.iter().map(|c| c.0).collect();
        assert_eq!(set.iter().collect::<BTreeSet<_>>().len(), set.len(), "{name} sets a constant twice: {set:?}");
        let overrides = || module.overrides.iter().map(|(_, o)| (o.name.as_deref().unwrap_or("unnamed"), o.init));
        for constant in &set {
            assert!(overrides().any(|o| o.0 == *constant), "{name} has no override {constant}");
        }
        for (constant, init) in overrides() {
            assert!(init.is_some() || set.contains(&constant), "{name}: the launch does not set {constant}");
        }
    }
}

/// What WebGPU guarantees: 8 storage buffers, 256 invocations, 16 KiB of workgroup memory, 65,535 workgroups in a row.
#[test]
fn launches_stay_within_the_limits_of_webgpu() {
    for Use { launch, bindings } in uses() {
        let name = format!("{} [{}]", launch.shader.name, launch.variant);
        assert!(bindings.len() <= 8, "{name} binds {} buffers", bindings.len());
        assert!(launch.grid.iter().all(|n| (1..=65_535).contains(n)), "{name}: {:?} workgroups", launch.grid);
        let Kernel { fixed, info, .. } = compile(&launch);
        let [x, y, z] = fixed.entry_points[0].workgroup_size;
        assert!(x <= 256 && y <= 256 && z <= 64 && x * y * z <= 256, "{name}: {x}x{y}x{z} invocations");
        let shared = fixed.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
        let used = shared.filter(|(handle, _)| !info.get_entry_point(0)[*handle].is_empty());
        let bytes: u32 = used.map(|(_, v)| fixed.types[v.ty].inner.size(fixed.to_ctx()).next_multiple_of(16)).sum();
        assert!(bytes <= 16_384, "{name}: {bytes} bytes of workgroup memory");
    }
}

/// SPIR-V for Vulkan, MSL for Metal, HLSL for DX12: as trusted kernels run, and with every check.
#[test]
fn shaders_translate_for_every_backend() {
    for Use { launch, .. } in uses() {
        let (name, kernel) = (launch.shader.name, compile(&launch));
        for checked in [false, true] {
            let words = kernel.spirv(checked).unwrap_or_else(|e| panic!("{e}, checked {checked}"));
            assert!(words.len() > 100 && words[0] == 0x0723_0203, "{name} to SPIR-V, checked {checked}");
            let msl = kernel.msl(checked).unwrap_or_else(|e| panic!("{e}, checked {checked}"));
            assert!(
                msl.text.contains(&format!("kernel void {}(", msl.entry)),
                "{name}: no entry point in\n{}",
                msl.text
            );
            let hlsl = kernel.hlsl(checked).unwrap_or_else(|e| panic!("{e}, checked {checked}"));
            assert!(hlsl.text.contains(&format!("void {}(", hlsl.entry)), "{name}: no entry point in\n{}", hlsl.text);
        }
    }
}

/// Stems and texts of the files in a folder of the repository.
fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder).expect("the folder exists").map(|entry| entry.expect("an entry").path());
    let shaders = paths.filter(|path| path.is_file());
    let file = |path: std::path::PathBuf| {
        assert_eq!(path.extension().and_then(|e| e.to_str()), Some("wgsl"), "{path:?}");
        let stem = path.file_stem().and_then(|s| s.to_str()).expect("names are ASCII").to_string();
        (stem, std::fs::read_to_string(path).expect("a readable file"))
    };
    let mut files: Vec<(String, String)> = shaders.map(file).collect();
    files.sort();
    files
}

#[test]
fn every_file_is_used() {
    let launched: BTreeSet<String> = uses().into_iter().map(|u| u.launch.shader.name.to_string()).collect();
    let present: BTreeSet<String> = files("shaders").into_iter().map(|f| f.0).collect();
    assert_eq!(launched, present, "what is launched, and what lies in shaders/");

    let texts: Vec<String> = files("shaders").into_iter().chain(files("shaders/lib")).map(|f| f.1).collect();
    for (module, _) in files("shaders/lib") {
        let import = format!("import package::lib::{module}::{{");
        assert!(texts.iter().any(|t| t.contains(&import)), "nothing imports lib/{module}.wgsl");
    }
}

#[test]
fn files_start_with_their_formula_and_say_the_shapes_of_buffers() {
    for (name, text) in files("shaders") {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("// ") && first.contains(" = "), "{name}.wgsl:1: no formula: {first}");
        assert!(text.lines().nth(1).is_some_and(|l| l.starts_with("// ")), "{name}.wgsl:2: who does what?");
        for (i, line) in text.lines().enumerate().filter(|(_, l)| l.contains("@group")) {
            let comment = line.split_once("; // ").map(|(_, comment)| comment);
            let good = comment.is_some_and(|c| line.contains("<uniform>") || c.starts_with('('));
            assert!(good, "{name}.wgsl:{}: a binding without its shape: {line}", i + 1);
        }
    }
    for (name, text) in files("shaders/lib") {
        assert!(text.starts_with("// "), "lib/{name}.wgsl:1: what is it?");
        assert!(!text.contains("@group"), "lib/{name}.wgsl has a binding of its own");
    }
}

/// The default launch of a shader, as some case has it.
fn launch(name: &str) -> Launch {
    let found = uses().into_iter().find(|u| u.launch.shader.name == name);
    found.unwrap_or_else(|| panic!("no case launches {name}")).launch
}

/// The text of a shader with one line replaced, and that line's number.
fn planted(name: &str, good: &str, bad: &str) -> (Shaders, usize) {
    let source = launch(name).shader.source;
    let line = source.lines().position(|l| l.contains(good)).unwrap_or_else(|| panic!("{name}.wgsl has no {good}"));
    let text = source.replacen(good, bad, 1);
    (Shaders::replace([(format!("{name}.wgsl"), text)]), line + 1)
}

#[test]
fn a_mistake_is_reported_with_its_line_and_column() {
    // What the parser finds and what the validator finds, after lines that import modules.
    for (name, good, bad, column, what) in [
        ("softmax", "    part += e;", "    part += f;", 17, "no definition in scope for identifier: `f`"),
        ("bias", "    y[i] = x[i] + b[i % run.y];", "    y[i] = x[i] + missing;", 19, "`missing`"),
        ("bias", "    y[i] = x[i] + b[i % run.y];", "    x[i] = 1.0;", 5, "pointer"),
    ] {
        let (shaders, line) = planted(name, good, bad);
        let text = shaders.resolve(&launch(name)).expect("its imports exist");
        let message = validate(name, &text).expect_err("a mistake was planted").to_string();
        let place = format!("{name}.wgsl:{line}:{column}: ");
        assert!(message.starts_with(&place), "{message}, not {place}");
        assert!(message.contains(what) && !message.contains('\n'), "{message:?} does not say {what}");
    }
}

#[test]
fn a_mistake_in_a_module_is_reported_with_the_modules_line() {
    let good = include_str!("../shaders/lib/lanes.wgsl");
    let line = good.lines().position(|l| l.contains("let top = ")).expect("a line to break") + 1;
    let bad = good.replacen("let top = ", "let top = 1u + ", 1);
    let shaders = Shaders::replace([("lib/lanes.wgsl".to_string(), bad)]);
    for name in ["softmax", "layer_norm", "sum"] {
        let text = shaders.resolve(&launch(name)).expect("its imports exist");
        let message = validate(name, &text).expect_err("a mistake was planted").to_string();
        assert!(message.starts_with(&format!("lib/lanes.wgsl:{line}:")), "{message}");
    }
}

#[test]
fn an_import_that_does_not_exist_is_an_error() {
    let import = "import package::lib::grid::{workgroup_index};";
    let message = |bad: &str| {
        let (shaders, line) = planted("bias", import, bad);
        (shaders.resolve(&launch("bias")).expect_err("a mistake was planted").to_string(), line)
    };
    let (text, _) = message("import package::lib::gird::{workgroup_index};");
    assert_eq!(text, "bias.wgsl: there is no module lib/gird.wgsl");
    let (text, line) = message("import grid;");
    assert_eq!(text, format!("bias.wgsl:{line}: expected import package::lib::MODULE::{{NAMES}};"));
}

#[test]
fn a_tile_that_does_not_exist_is_an_error() {
    let bias = launch("bias").tile("TM", 4);
    let text = Shaders::default().resolve(&bias).expect_err("bias has no tiles").to_string();
    assert_eq!(text, "bias.wgsl: there is no line `const TM: u32 = ...;`");
}

#[test]
fn a_replaced_file_is_used() {
    let (shaders, _) = planted("softmax", "part += e;", "part += 2.0 * e;");
    assert!(shaders.is_replaced() && !Shaders::default().is_replaced());
    assert!(shaders.resolve(&launch("softmax")).expect("its imports exist").contains("part += 2.0 * e;"));
    // Others are left alone, and a module is replaced wherever it is imported.
    assert_eq!(shaders.resolve(&launch("bias")).ok(), Shaders::default().resolve(&launch("bias")).ok());
    let lanes = "override LANES: u32 = 1u;\nfn lanes_sum(value: f32, index: u32) -> f32 { return value; }\n\
                 fn lanes_max(value: f32, index: u32) -> f32 { return value; }\n";
    let shaders = Shaders::replace([("lib/lanes.wgsl".to_string(), lanes.to_string())]);
    for name in ["softmax", "layer_norm"] {
        let text = shaders.resolve(&launch(name)).expect("its imports exist");
        assert!(text.contains("{ return value; }") && !text.contains("lanes_scratch"), "{text}");
        validate(name, &text).expect("the replacement is good");
    }
}

/// A module that is imported along two ways is appended once, and a new one may come with the replaced files.
#[test]
fn modules_may_import_modules() {
    let source = "// y = x\n// One thread.\nimport package::lib::first::{first};\nimport package::lib::grid::{workgroup_index};\n\
                  @compute @workgroup_size(1)\nfn own() { _ = first() + workgroup_index(vec3(0u), vec3(1u)); }\n";
    let first = "import package::lib::grid::{workgroup_index};\nfn first() -> u32 { return workgroup_index(vec3(0u), vec3(1u)); }\n";
    let shaders = Shaders::replace([("lib/first.wgsl".to_string(), first.to_string())]);
    let launch = Launch::groups(Shader { name: "own", source }, 1, [0; 4]);
    let text = shaders.resolve(&launch).expect("both modules exist");
    assert_eq!(text.matches("fn workgroup_index").count(), 1);
    validate("own", &text).expect("a module is appended once");
}
