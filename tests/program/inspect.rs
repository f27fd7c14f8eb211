//! `inspect`: what it says, the page, the graphs, the plans and the kernels.

use super::Place;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

/// The data in a page.
fn data(page: &str) -> Value {
    let after = page.split_once("id=\"data\">").expect("the script of the data").1;
    serde_json::from_str(after.split("</script>").next().expect("its text")).expect("JSON")
}

#[test]
fn inspect_writes_graph_plan_and_kernels() {
    let place = Place::new();
    let inspect = "inspect --device cpu --recipe tiny.toml --out seen";
    let said = place.run(inspect).succeeds().out;
    for part in ["tiny.toml", "MarianMTModel opens it", "train ", "update ", "GFLOP", "seen/index.html"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let names = place.names("seen");
    let all =
        [".seqloom-inspect", "index.html", "kernels", "train.dot", "train.plan.txt", "update.dot", "update.plan.txt"];
    assert_eq!(names, all);

    let page = place.text("seen/index.html");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for outside in ["http:", "https:", "src=", "href=", "@import", "url(", "/* STYLE", "/* SCRIPT", "DATA"] {
        let marker = outside == "url(";
        let uses = page.matches(outside).count() - if marker { page.matches("url(#tip)").count() } else { 0 };
        assert_eq!(uses, 0, "the page asks for something: {outside}");
    }

    // The page, the graph, the plan and the summary are of the same programs.
    let data = data(&page);
    let object: Value = serde_json::from_str(&place.run(&format!("{inspect} --json")).succeeds().out).expect("JSON");
    assert_eq!(object["transformers"], "MarianMTModel");
    for (program, summary) in list(&data["programs"]).iter().zip(list(&object["programs"])) {
        let name = program["name"].as_str().expect("a name");
        assert_eq!(summary["program"], name);
        let (nodes, passes) = (list(&program["nodes"]), list(&program["passes"]));
        assert_eq!([nodes.len(), passes.len()].map(Value::from), [summary["nodes"].clone(), summary["passes"].clone()]);
        let flops: u64 = passes.iter().map(|p| p["flops"].as_u64().expect("a number")).sum();
        assert_eq!(summary["flops"], flops);
        let plan = place.text(&format!("seen/{name}.plan.txt"));
        assert_eq!(plan.lines().filter(|l| l.contains(" -> ")).count(), passes.len());
        let live: Vec<u64> = list(&program["live"]).iter().map(|n| n.as_u64().expect("a number")).collect();
        assert_eq!((live.len(), summary["peak_bytes"].as_u64()), (passes.len(), live.iter().copied().max()));
        let ids: BTreeSet<u64> = nodes.iter().map(|n| n["id"].as_u64().expect("a number")).collect();
        graph_holds(&place.text(&format!("seen/{name}.dot")), &ids);
    }
    let train = &data["programs"][0];
    let sides: BTreeSet<bool> = list(&train["nodes"]).iter().filter_map(|n| n["backward"].as_bool()).collect();
    assert_eq!(sides.len(), 2, "forward and backward");

    // Each kernel in four languages, and nothing else.
    let kernels = list(&data["kernels"]);
    let mut files = vec!["list.txt".to_string()];
    for kernel in kernels {
        let (file, shader) = (kernel["file"].as_str().expect("a name"), kernel["shader"].as_str().expect("a name"));
        files.extend(["hlsl", "metal", "spv", "wgsl"].map(|language| format!("{file}.{language}")));
        let text = |language: &str| place.text(&format!("seen/kernels/{file}.{language}"));
        assert!(text("wgsl").contains(&format!("fn {shader}(")) && !text("wgsl").contains("\nimport "), "{file}");
        assert!(text("metal").contains("kernel void ") && text("hlsl").contains("[numthreads("), "{file}");
        assert_eq!(place.read(&format!("seen/kernels/{file}.spv"))[..4], [0x03, 0x02, 0x23, 0x07], "{file}");
    }
    files.sort();
    assert_eq!(place.names("seen/kernels"), files);
    assert_eq!(place.text("seen/kernels/list.txt").lines().count(), kernels.len());
}

/// A digraph whose braces match, with these nodes, each declared once before edges use it.
fn graph_holds(dot: &str, ids: &BTreeSet<u64>) {
    assert!(dot.starts_with("digraph plan {\n") && dot.ends_with("}\n"));
    let (mut depth, mut declared, mut edges) = (0, BTreeSet::new(), 0);
    for line in dot.lines().map(str::trim) {
        // Whatever stands in quotes may hold anything.
        let bare: String = line.replace("\\\"", "").split('"').step_by(2).collect();
        depth += bare.matches('{').count();
        depth -= bare.matches('}').count();
        let number = |word: &str| word.strip_prefix('n')?.parse::<u64>().ok();
        match bare.split_once(" -> ") {
            Some((from, to)) => {
                let to = to.split(' ').next().unwrap_or_default();
                for end in [from, to].into_iter().filter_map(number) {
                    assert!(declared.contains(&end), "{line}: n{end} is not there");
                }
                assert!(line.contains("[label=\"") && line.ends_with(';'), "{line}: an edge without a type");
                edges += 1;
            }
            None => {
                if let Some(id) = bare.split(' ').next().and_then(number) {
                    assert!(declared.insert(id), "{line}: twice");
                }
            }
        }
    }
    assert_eq!((depth, &declared), (0, ids));
    assert!(edges >= ids.len(), "{edges} edges");
}

#[test]
fn inspect_plans_what_it_has_no_data_for() {
    let place = Place::new();
    fs::remove_file(place.path("a.en")).expect("a file");
    let said = place.run("inspect --device cpu --recipe tiny.toml --set model.positions=rotary --program evaluate");
    let said = said.succeeds().out;
    for part in [
        "nominal, pairs of data.max_length = 128 tokens a side: cannot read a.en: no such file",
        "tokenizer.vocab_size = 300 tokens, nominal",
        "cannot open it: it has no class for model.positions = \"rotary\"",
        "evaluate   1 × (128 + 128)",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(!said.contains("update"), "{said}");
    let said = place.run("inspect --device cpu --recipe shakespeare").succeeds().out;
    for part in
        ["decoder alone, 4 layers", "train      12 × 64 ", "GPT2LMHeadModel opens it", "the recipe names no data"]
    {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn a_model_is_inspected_with_its_own_tokenizer() {
    let place = Place::new();
    place.train("--out run --set train.steps=3").succeeds();
    let before = place.tree("run");
    let inspect = |what: &str| -> Value {
        let out = place.run(&format!("inspect --device cpu --json {what}")).succeeds().out;
        serde_json::from_str(&out).expect("one JSON object")
    };
    let (recipe, model) = (inspect("--recipe tiny.toml"), inspect("--model run"));
    for key in ["programs", "vocabulary", "parameters", "memory"] {
        assert_eq!(recipe[key], model[key], "{key}");
    }
    fs::remove_file(place.path("a.de")).expect("a file");
    let nominal = inspect("--model run");
    assert_eq!(nominal["vocabulary"], model["vocabulary"]);
    assert_eq!(nominal["parameters"], model["parameters"]);
    assert!(place.tree("run") == before);
}

#[test]
fn inspect_refuses_in_one_line() {
    let place = Place::new();
    fs::create_dir(place.path("mine")).expect("a directory");
    place.write("mine/index.html", "mine");
    place.write("mine/thesis.txt", "years of work");
    // Somebody's page, which looks like one of ours.
    fs::create_dir(place.path("site")).expect("a directory");
    place.write("site/index.html", "my page");
    let before = place.tree(".");
    for (arguments, parts) in [
        ("", &["inspect what?", "--recipe NAME|FILE", "--model DIR"][..]),
        (
            "--recipe nothing",
            &[
                "nothing is neither a built-in recipe (phrasebook, copy, multi30k, shakespeare, addition, sort, phonemes, correct, reverse, multi30k-lstm, multi30k-attention, agreement) nor a file",
            ],
        ),
        ("--recipe nothing.toml", &["cannot read nothing.toml"]),
        ("--recipe tiny.toml --set model.head=2", &["unknown key model.head"]),
        ("--recipe tiny.toml --device nothing", &["--device nothing: there is no such device"]),
        ("--recipe tiny.toml --shaders nowhere --out new", &["nowhere: there are no .wgsl files here"]),
        ("--model nothing", &["nothing is not a model directory"]),
        ("--recipe tiny.toml --out mine", &["mine is not empty; choose another --out"]),
        ("--recipe tiny.toml --out site", &["site is not empty; choose another --out"]),
        ("--recipe tiny.toml --out a.de", &["a.de"]),
        ("--recipe tiny.toml --set model.d_model=65536", &["takes 16384 MiB"]),
    ] {
        place.run(&format!("inspect {arguments}")).refuses(parts);
        assert!(place.tree(".") == before, "{arguments} left something");
    }
    for arguments in ["--recipe tiny.toml --model run", "--set train.steps=3", "--recipe tiny.toml --program all"] {
        assert_eq!(place.run(&format!("inspect {arguments}")).code, Some(2), "{arguments}");
    }
}
