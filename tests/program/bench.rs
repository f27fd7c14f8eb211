//! `seqloom bench`: what it prints and what it refuses. How fast anything is, is not tested.

use super::Place;
use serde_json::Value;

/// A few milliseconds of the smallest kernels.
const SHORT: &str = "bench --quick --seconds 0";

#[test]
fn one_object_with_limits_and_times() {
    let place = Place::new();
    let outcome = place.run(&format!("{SHORT} --op scale --json --svg roof.svg")).succeeds();
    assert_eq!(outcome.out.matches('\n').count(), 1, "{}", outcome.out);
    let object: Value = serde_json::from_str(&outcome.out).expect("a JSON object");
    for limit in ["flops_per_second", "bytes_per_second", "dispatch_seconds"] {
        assert!(object["limits"][limit].as_f64().is_some_and(|n| n > 0.0), "{limit}: {object}");
    }
    assert!(object["limits"]["submission_seconds"].as_f64().is_some_and(|n| n >= 0.0));
    let cases = object["cases"].as_array().expect("a list");
    assert_eq!((cases.len(), object["wrong"].as_u64()), (1, Some(0)), "{object}");
    let case = &cases[0];
    assert_eq!((&case["op"], &case["kernel"], &case["default"]), (&"scale".into(), &"scale".into(), &true.into()));
    let (seconds, bytes) = (case["seconds"].as_f64().expect("a time"), case["bytes"].as_f64().expect("bytes"));
    assert_eq!(bytes, 64.0 * 1024.0 * 1024.0);
    let rate = case["bytes_per_second"].as_f64().expect("a rate");
    assert!((rate * seconds / bytes - 1.0).abs() < 1e-9);
    let [low, high] = [0, 1].map(|i| case["range"][i].as_f64().expect("a time"));
    assert!(0.0 < low && low <= seconds && seconds <= high && case["runs"].as_u64() >= Some(3));
    let share = case["share"].as_f64().expect("a share");
    let copied = object["limits"]["bytes_per_second"].as_f64().expect("a rate");
    assert!((share - rate / copied).abs() < 1e-9 && case["limit"] == "copy", "{object}");

    let svg = place.text("roof.svg");
    assert!(svg.starts_with("<svg") && svg.contains(">scale</text>") && svg.contains("prefers-color-scheme:dark"));
}

#[test]
fn the_table_fits_a_terminal() {
    let out = Place::new().run(&format!("{SHORT} --op clip --variants")).succeeds().out;
    assert!(
        out.lines().next().is_some_and(|l| l.starts_with("limits: ") && l.contains("GFLOP/s") && l.contains("GB/s"))
    );
    let kernels: Vec<&str> = out.lines().filter(|l| l.starts_with("clip ")).collect();
    assert_eq!(kernels.len(), 2, "{out}");
    assert!(out.lines().all(|l| l.chars().count() <= 120), "{out}");
}

/// What computes nothing takes no time.
#[test]
fn a_kernel_that_writes_nothing_is_not_fast() {
    let place = Place::new();
    std::fs::create_dir(place.path("mine")).expect("a new directory");
    let source = include_str!("../../shaders/scale.wgsl");
    let lazy = source.replace("y[i] = SCALE * x[i];", "if (x[i].x > 2.0) { y[i] = SCALE * x[i]; }");
    assert_ne!(lazy, source);
    place.write("mine/scale.wgsl", lazy);
    let outcome = place.run(&format!("{SHORT} --op scale --shaders mine"));
    assert!(outcome.code == Some(1) && outcome.out.contains("WRONG output 0 [0] was not written"), "{}", outcome.out);
    assert!(outcome.err.contains("warning: shaders run with bounds and loop checks"), "{}", outcome.err);
    let json = place.run(&format!("{SHORT} --op scale --shaders mine --unchecked --json"));
    let object: Value = serde_json::from_str(&json.out).expect("a JSON object");
    assert_eq!((json.code, &object["wrong"], &object["cases"][0]["seconds"]), (Some(1), &1.into(), &Value::Null));
}

#[test]
fn a_slower_kernel_fails_and_what_is_missing_is_named() {
    let place = Place::new();
    let bench = |more: &str| place.run(&format!("{SHORT} --op clip {more}"));
    let stored = bench("--json").succeeds().out;
    let mut object: Value = serde_json::from_str(&stored).expect("a JSON object");
    // So slow, and then so fast, that no machine is between them.
    object["cases"][0]["seconds"] = 1e6.into();
    place.write("slow.json", object.to_string());
    let fine = bench("--baseline slow.json").succeeds();
    assert!(fine.out.contains("0 of 1 are more than 1.25 times slower"), "{}", fine.out);
    object["cases"][0]["seconds"] = 1e-12.into();
    place.write("fast.json", object.to_string());
    let slower = bench("--baseline fast.json");
    assert!(slower.code == Some(1) && slower.out.contains("SLOWER"), "{}", slower.out);
    let json: Value = serde_json::from_str(&bench("--baseline fast.json --json").out).expect("a JSON object");
    assert_eq!(json["baseline"]["ratios"][0]["slower"], true);
    assert_eq!(bench("--baseline fast.json --threshold 1e30").code, Some(0));
    object["cases"][0]["kernel"] = "clop".into();
    place.write("other.json", object.to_string());
    let other = bench("--baseline other.json");
    assert_eq!(other.code, Some(1), "{}", other.out);
    assert!(other.out.contains("the baseline has no time of clip, 1024 sums"), "{}", other.out);
}

#[test]
fn mistakes_are_one_line_that_says_what_there_is() {
    let place = Place::new();
    place.write("other.json", "{\"loss\": 1}");
    for (arguments, what) in [
        ("--op matmull", "no operation has matmull in its name; there are accumulate, adam, "),
        ("--op=", "--op: expected a part of a name; there are accumulate, adam, "),
        ("--op softmax --shape 7x7", "no case has 7x7 in its name; there are 16384x512, 4096x512"),
        ("--op clip --variants 9", "no variant has 9 in its name; there are 1 lanes, 64 lanes"),
        ("--baseline missing.json", "cannot read missing.json: no such file"),
        ("--baseline other.json", "--baseline other.json: this is not what bench --json prints"),
        ("--svg nowhere/roof.svg", "cannot write nowhere/roof.svg: no such file"),
        ("--device cpu", "bench times a GPU's kernels"),
    ] {
        place.run(&format!("bench {arguments}")).refuses(&[what]);
    }
}
