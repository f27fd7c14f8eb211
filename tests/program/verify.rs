//! `seqloom verify`: a shader that was edited on purpose, and what is said about it.

use super::Place;
use serde_json::Value;
use std::fs;

/// A built-in shader with one thing changed, in a directory of its own.
fn plant(place: &Place, directory: &str, shader: &str, good: &str, bad: &str) {
    let text = fs::read_to_string(format!("{}/shaders/{shader}.wgsl", env!("CARGO_MANIFEST_DIR"))).expect("a shader");
    assert!(text.contains(good), "{shader}.wgsl has no {good}");
    fs::create_dir_all(place.path(directory)).expect("a directory");
    place.write(&format!("{directory}/{shader}.wgsl"), text.replacen(good, bad, 1));
}

#[test]
fn a_fault_is_found_and_named() {
    let place = Place::new();
    // A query sees one key too few.
    plant(&place, "faulty", "softmax", "row % run.z + 1u", "row % run.z");
    let told = place.run("verify --shaders faulty --op softmax --variants default --seed 5");
    assert_eq!(told.code, Some(1), "{}", told.err);
    let mut lines = told.out.lines().skip_while(|line| !line.starts_with("FAIL"));
    let (which, what) = (lines.next().expect("a failure"), lines.next().expect("its numbers"));
    for part in ["softmax ", "[3, 2, 6, 6] lengths [6, 0, 4] causal", "f32 u32", "intact"] {
        assert!(which.contains(part), "{part} is not in: {which}");
    }
    // The first row saw one key, with a weight of one, and sees nothing now.
    for part in ["output 0 [0, 0, 0, 0]: 0.0, but the definition says 1.0", "the bound is", "beyond their bounds"] {
        assert!(what.contains(part), "{part} is not in: {what}");
    }
    assert!(told.out.lines().last().is_some_and(|line| line.contains(" failed (seed 5)")), "{}", told.out);

    let told = place.run("verify --shaders faulty --op softmax --variants default --seed 5 --json");
    assert_eq!(told.code, Some(1), "{}", told.err);
    let json: Value = serde_json::from_str(&told.out).expect("one object");
    let failed = json["cases"].as_array().expect("a list").iter().find(|case| case["passed"] == false);
    let worst = &failed.expect("a failure")["worst"];
    assert_eq!((&worst["output"], &worst["index"], &worst["want"]), (&0.into(), &0.into(), &1.0.into()), "{worst}");
    assert!(json["failed"].as_u64().is_some_and(|failed| failed > 0));
}

#[test]
fn what_is_not_run_is_said() {
    let place = Place::new();
    let told = place.run("verify --op matmul_add --limits default").succeeds().out;
    assert!(told.contains("not run: matmul_lanes [lanes 16x4]: needs subgroups of 8 lanes"), "{told}");
    let refused = place.run("verify --op matmul_add --limits default --variants lanes");
    refused.refuses(&["nothing of it runs here; matmul_lanes needs subgroups of 8 lanes"]);
    place.run("verify --op nothing").refuses(&["no operation has nothing in its name", "layer_norm_vjp"]);
    place.run("verify --op=").refuses(&["--op: expected a part of a name; there are accumulate, adam, "]);
    place.run("verify --op matmul --variants tale").refuses(&["no launch is called tale", "direct 8x8, "]);
}

#[test]
fn every_device_is_in_the_table() {
    let place = Place::new();
    let json: Value = serde_json::from_str(&place.run("devices --json").succeeds().out).expect("one object");
    let names: Vec<&Value> = json["devices"].as_array().expect("a list").iter().map(|d| &d["name"]).collect();
    let told = place.run("verify --all-devices --op record --json").succeeds().out;
    let json: Value = serde_json::from_str(&told).expect("one object");
    let devices = json["devices"].as_array().expect("a list");
    assert_eq!(devices.iter().map(|d| &d["device"]).collect::<Vec<_>>(), names);
    assert!(devices.iter().all(|d| d["cases"].as_array().is_some_and(|cases| !cases.is_empty())));
    let told = place.run("verify --all-devices --op record").succeeds().out;
    assert!(told.lines().any(|line| line.starts_with("record  ")), "{told}");
}
