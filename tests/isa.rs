//! What Mesa's RADV makes of the kernels for GFX1100 (RDNA 3): no GPU is needed, the program is run with that driver.

#![cfg(target_os = "linux")]

use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Command;

const GOLDEN: &str = "tests/golden/isa.json";

/// Arguments that have no spaces in them.
fn isa(arguments: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seqloom"));
    command.args("inspect --isa --family GFX1100 --json".split(' ')).args(arguments.split_whitespace());
    let output = command.output().expect("the program starts");
    // Without the driver this says what to install.
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn kernels(object: &Value) -> &Vec<Value> {
    object["kernels"].as_array().expect("a list")
}

fn name(kernel: &Value) -> String {
    let word = |key: &str| kernel[key].as_str().expect("text");
    format!("{} [{}] {}", word("kernel"), word("variant"), word("constants"))
}

fn number(kernel: &Value, key: &str) -> u64 {
    kernel["registers"][key].as_u64().unwrap_or_else(|| panic!("{}: no {key} in {kernel}", name(kernel)))
}

/// Every launch of every case that hardware may be given.
#[test]
fn no_kernel_spills() {
    let object = isa("");
    assert!(kernels(&object).len() > 60, "{} kernels", kernels(&object).len());
    let bad: Vec<String> = kernels(&object)
        .iter()
        .filter(|k| number(k, "spills") + number(k, "scratch") > 0)
        .map(|k| format!("{}: {} spills, {} bytes of scratch", name(k), number(k, "spills"), number(k, "scratch")))
        .collect();
    assert!(bad.is_empty(), "with {}:\n{}", object["driver"], bad.join("\n"));
    // Figures that are all zero would be no figures.
    assert!(kernels(&object).iter().all(|k| number(k, "vgprs") > 0 && number(k, "instructions") > 0));
}

/// Registers and the share of FMAs in the kernels of the built-in recipe, as stored beside the driver's version.
#[test]
fn code_is_as_good_as_it_was() {
    let object = isa("--recipe phrasebook");
    let mut figures = Map::new();
    for k in kernels(&object) {
        let counts = k["loop"].as_object();
        let share = counts.map(|counts| {
            let all: u64 = counts.values().map(|n| n.as_u64().expect("a count")).sum();
            counts["fma"].as_u64().expect("a count") * 1000 / all
        });
        figures.insert(name(k), json!({ "vgprs": number(k, "vgprs"), "fma_per_mille": share }));
    }
    let now = json!({ "driver": object["driver"], "family": "GFX1100", "kernels": figures });
    let text = serde_json::to_string_pretty(&now).expect("plain data") + "\n";
    let have = Path::new(env!("CARGO_TARGET_TMPDIR")).join("isa.json");
    std::fs::write(&have, &text).expect("a file");
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(&stored).expect(GOLDEN)).expect("JSON");
    let differ: Vec<String> = figures
        .iter()
        .filter(|(name, figure)| golden["kernels"][*name] != **figure)
        .map(|(name, figure)| format!("{name}: {figure}, was {}", golden["kernels"][name]))
        .collect();
    if golden["driver"] != now["driver"] {
        // Another compiler makes other code; `no_kernel_spills` holds for it all the same.
        println!("{} kernels differ between {} and {}:", differ.len(), golden["driver"], now["driver"]);
        println!("{}", differ.join("\n"));
        return;
    }
    assert!(
        differ.is_empty() && golden["kernels"].as_object().map(Map::len) == Some(figures.len()),
        "{}\nIf that is meant: cp {} {GOLDEN}",
        differ.join("\n"),
        have.display()
    );
}

#[test]
fn the_machine_code_is_written() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let out = place.path().join("code");
    let object = isa(&format!("--op matmul --recipe copy --out {}", out.display()));
    let mut files: Vec<_> =
        std::fs::read_dir(&out).expect("a directory").map(|f| f.expect("an entry").path()).collect();
    files.sort();
    assert_eq!(files.len(), kernels(&object).len());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        assert!(text.contains("v_fma") && text.contains("s_endpgm"), "{}", file.display());
    }
    let refused = Command::new(env!("CARGO_BIN_EXE_seqloom"))
        .args(["inspect", "--isa", "--family", "NO_SUCH_GPU"])
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("knows no such GPU"), "{said}");
}
