//! Every case of every operation: kernels and the faster CPU path against the definitions, gradients against finite
//! differences. Without an adapter these tests fail; they are never skipped.

use pollster::block_on;
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::ops::cases;
use seqloom::verify::{GRADIENT_BOUND, compare, gradient_error, launches, verify};

/// A new seed each run, printed, unless SEQLOOM_SEED gives one.
fn seed() -> u64 {
    let given = std::env::var("SEQLOOM_SEED").ok().and_then(|s| s.parse().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_millis() as u64);
    let seed = given.unwrap_or_else(now) % 1_000_000;
    println!("SEQLOOM_SEED={seed}");
    seed
}

fn all_cases_pass(options: Options) {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("these tests need a GPU or a software Vulkan driver; run scripts/test.sh");
    println!("{} ({})", found.name(), found.driver());
    let mut gpu = block_on(Gpu::open(found, options)).expect("a device");
    let limits = gpu.limits().clone();
    let (mut failures, mut runs) = (vec![], 0);
    for (room, case) in cases(seed()) {
        let want = case.definition();
        for launch in launches(&case, &limits) {
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
    assert!(failures.is_empty(), "{} of {runs} failed:\n{}", failures.len(), failures.join("\n"));
}

use seqloom::op::Launch;

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
