//! Every case of every operation: kernels and the faster CPU path against the definitions, gradients against finite
//! differences. Without an adapter these tests fail; they are never skipped.

use pollster::block_on;
use seqloom::case::Case;
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::op::Launch;
use seqloom::ops::cases;
use seqloom::shader::Shaders;
use seqloom::tensor::{DType, Tensor};
use seqloom::verify::{GRADIENT_BOUND, absent, compare, gradient_error, launches, verify};
use std::collections::BTreeSet;

/// A new seed each run, printed, unless SEQLOOM_SEED gives one.
fn seed() -> u64 {
    let given = std::env::var("SEQLOOM_SEED").ok().and_then(|s| s.parse().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_millis() as u64);
    let seed = given.unwrap_or_else(now) % 1_000_000;
    println!("SEQLOOM_SEED={seed}");
    seed
}

fn all_cases_pass(options: Options) {
    cases_pass(options, |_| true)
}

fn cases_pass(options: Options, wanted: impl Fn(&Launch) -> bool) {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("these tests need a GPU or a software Vulkan driver; run scripts/test.sh");
    println!("{} ({})", found.name(), found.driver());
    let mut gpu = block_on(Gpu::open(found, options)).expect("a device");
    let limits = gpu.limits().clone();
    let (mut failures, mut runs) = (vec![], 0);
    for (room, case) in cases(seed()) {
        let want = case.definition();
        for launch in launches(&case, &limits).into_iter().filter(&wanted) {
            let outcome = block_on(verify(&mut gpu, &case, &launch, &want));
            let outcome = outcome.unwrap_or_else(|e| panic!("{room} {}: {e}", case.name));
            runs += 1;
            if !outcome.passed() {
                let Launch { shader, variant, .. } = &launch;
                let torn = if outcome.torn.is_empty() { "" } else { "guard bands torn, " };
                failures.push(format!("{room}/{} {} [{variant}]: {torn}{}", shader.name, case.name, outcome.worst));
            }
        }
    }
    assert!(runs > 100, "only {runs} runs");
    assert!(failures.is_empty(), "{} of {runs} failed:\n{}", failures.len(), failures.join("\n"));
}

/// What runs lanes in another order finds other missing barriers: software drivers have one order each.
#[test]
fn kernels_with_barriers_agree_with_definitions_with_lanes_mirrored() {
    let options = Options { portable: true, mirrored: true, ..Options::default() };
    let resolve = |launch: &Launch| Shaders::default().resolve(launch).expect("imports and tiles exist");
    cases_pass(options, |launch| resolve(launch).contains("Barrier()") && !launch.variant.starts_with("1 lane"));
}

/// Every shader that this adapter can run is run by some case, and all of them where subgroups have 8 lanes.
#[test]
fn every_shader_is_dispatched_or_named() {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("these tests need a GPU or a software Vulkan driver; run scripts/test.sh");
    let gpu = block_on(Gpu::open(found, Options::default())).expect("a device");
    let cases = cases(1);
    let run = |(_, case): &(&str, Case)| launches(case, gpu.limits()).into_iter().map(|l| l.shader.name);
    let run: BTreeSet<&str> = cases.iter().flat_map(run).collect();
    let absent = absent(cases.iter().map(|c| &c.1), &gpu.limits().adapter);
    for absent in &absent {
        assert!(absent.why.contains("subgroups of 8 lanes"), "{absent:?}");
    }
    if gpu.limits().adapter.subgroup == Some(8) {
        assert_eq!(absent, []);
    }
    let told: BTreeSet<&str> = run.into_iter().chain(absent.iter().map(|a| a.shader)).collect();
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")).expect("the folder exists");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("names are ASCII"));
    let names: Vec<String> = names.collect();
    let stems: BTreeSet<&str> = names.iter().filter_map(|name| name.strip_suffix(".wgsl")).collect();
    assert_eq!(told, stems);
}

/// A fault of each kind, where it stands in the file, is found on this adapter: what is not noticed here is not proven.
#[test]
fn planted_faults_are_found() {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("these tests need a GPU or a software Vulkan driver; run scripts/test.sh");
    let faults = [
        ("softmax", "row % run.z + 1u", "row % run.z", false),
        ("column_sum", "    workgroupBarrier();", "", false),
        ("add_norm", "vec4(q, row % run.z, row / run.z,", "vec4(q, row / run.z, row % run.z,", false),
        // Lanes that come first read what lanes that come later overwrite.
        ("cross_entropy", "            storageBarrier();", "", true),
    ];
    let cases = cases(1);
    for (name, good, bad, mirrored) in faults {
        let of_room = || cases.iter().filter(|c| c.0 == name).map(|c| &c.1);
        let launch = |case| launches(case, &Default::default()).into_iter().find(|l| l.shader.name == name);
        let source = of_room().find_map(launch).expect("a case of the shader").shader.source;
        assert!(source.contains(good), "{name}.wgsl has no {good}");
        let shaders = Shaders::replace([(format!("{name}.wgsl"), source.replacen(good, bad, 1))]);
        let mut gpu =
            block_on(Gpu::open(found, Options { shaders, mirrored, ..Options::default() })).expect("a device");
        let limits = gpu.limits().clone();
        // Hardware may run all lanes that meet at a barrier in step: there its absence shows by luck.
        if good.contains("Barrier") && !limits.adapter.software {
            continue;
        }
        let mut failed = |case: &Case| {
            let want = case.definition();
            let mut fails = |launch| {
                let outcome = block_on(verify(&mut gpu, case, &launch, &want)).expect("it compiles");
                let told = outcome.worst.to_string();
                let all =
                    ["output ", "the definition says ", "the bound is ", "beyond"].iter().all(|s| told.contains(s));
                !outcome.passed() && all
            };
            launches(case, &limits).into_iter().any(&mut fails)
        };
        assert!(of_room().any(&mut failed), "{name}.wgsl with {bad:?} for {good:?} passes");
    }
}

#[test]
fn kernels_agree_with_definitions_unchecked() {
    all_cases_pass(Options { portable: true, ..Options::default() });
}

#[test]
fn kernels_agree_with_definitions_checked() {
    all_cases_pass(Options { portable: true, checked: true, ..Options::default() });
}

/// With what the adapter has beyond WebGPU's guarantees: variants with subgroups, where their size is fixed.
#[test]
fn kernels_agree_with_definitions_with_every_feature() {
    all_cases_pass(Options::default());
}

#[test]
fn fast_cpu_paths_agree_with_definitions() {
    for (room, case) in cases(seed()) {
        let worst = compare(&case, &case.fast(), &case.definition());
        assert!(worst.ratio <= 1.0, "{room} {}: {worst}", case.name);
    }
}

/// What runs outside of a case is judged by its operation's bound: a case's own may be stricter, never wider.
#[test]
fn bounds_of_cases_are_within_those_of_operations() {
    for (room, case) in cases(seed()) {
        let want = case.definition();
        let (own, of_op) = ((case.bound)(&case.inputs, &want), case.op.bound(&case.inputs, &want));
        assert_eq!(of_op.len(), want.len(), "{room} {}", case.name);
        for ((own, of_op), want) in own.iter().zip(&of_op).zip(&want) {
            assert_eq!(of_op.len(), want.ty().elements(), "{room} {}", case.name);
            let wider = own.iter().zip(of_op).position(|(own, of_op)| own > of_op || own.is_nan() || of_op.is_nan());
            assert!(wider.is_none(), "{room} {} {:?}: element {wider:?}", case.name, case.op);
        }
    }
}

#[test]
fn derivatives_agree_with_finite_differences() {
    let mut checked = 0;
    for (room, case) in cases(seed()) {
        if !case.wrt.is_empty() {
            let error = gradient_error(&case, 7);
            assert!(error.error <= GRADIENT_BOUND, "{room} {} {:?}: {error}", case.name, case.op);
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked} cases have a derivative");
}

/// A model that has broken down must not go on as if nothing were: in the forward pass NaN stays NaN, also where `clamp`, `min`
/// or `max` could make a number of it. What is not finite there is known by the loss.
#[test]
fn what_is_no_number_stays_none() {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("these tests need a GPU or a software Vulkan driver; run scripts/test.sh");
    let mut gpu = block_on(Gpu::open(found, Options::default())).expect("a device");
    let limits = gpu.limits().clone();
    let rooms = ["tanh", "sigmoid", "relu", "gelu", "highway", "cell", "recurrence", "softmax", "layer_norm", "matmul"];
    let mut met = BTreeSet::new();
    for (room, case) in cases(seed()) {
        if !rooms.contains(&room) || case.op.name().contains("vjp") {
            continue;
        }
        for at in (0..case.inputs.len()).filter(|&i| case.inputs[i].ty().dtype == DType::F32) {
            let mut inputs = case.inputs.clone();
            inputs[at].as_f32_mut()[0] = f32::NAN;
            let want = case.evaluate(&inputs, |x, y| case.op.cpu(x, y));
            let types: Vec<_> = want.iter().map(|t| t.ty().clone()).collect();
            for launch in launches(&case, &limits) {
                let probe = block_on(gpu.probe(&*case.op, &inputs, &types, &launch)).expect("it runs");
                for (have, want) in probe.outputs.iter().zip(&want) {
                    let nan = |t: &Tensor| t.as_f32().iter().map(|v| v.is_nan()).collect::<Vec<_>>();
                    let what = format!("{room} {} [{}], input {at}", case.name, launch.variant);
                    assert_eq!(nan(have), nan(want), "{what}");
                    if nan(want).contains(&true) {
                        met.insert((room, at));
                    }
                }
            }
        }
    }
    let met: BTreeSet<&str> = met.into_iter().map(|(room, _)| room).collect();
    assert_eq!(met, BTreeSet::from(rooms));
}
