//! The mean of a run's last checkpoints.

use super::Place;
use safetensors::SafeTensors;
use std::collections::BTreeMap;

/// The tensors of a file, as numbers.
fn tensors(bytes: &[u8]) -> BTreeMap<String, Vec<f32>> {
    let numbers = |data: &[u8]| data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    file.tensors().into_iter().map(|(name, view)| (name, numbers(view.data()))).collect()
}

#[test]
fn an_average_is_the_mean_of_the_last_checkpoints() {
    let place = Place::new();
    place.train("--out run --set train.steps=15 --set train.keep=9").succeeds();
    let before = place.tree("run");
    let outcome = place.run("average run/ --last 3").succeeds();
    assert_eq!(outcome.err, "run-average: the mean of the models after steps 9, 12, 15\n");
    assert!(place.tree("run") == before, "the run was changed");

    let of = |step: u64| tensors(&place.read(&format!("run/checkpoints/step-{step:06}/model.safetensors")));
    let (a, b, c) = (of(9), of(12), of(15));
    // Beside its parameters a directory has what transformers wants, the same in each.
    let mut mean = tensors(&place.read("run-average/model.safetensors"));
    for (name, extra) in tensors(&place.read("run/model.safetensors")) {
        assert!(a.contains_key(&name) || mean.remove(&name) == Some(extra), "{name}");
    }
    assert!(mean.keys().eq(a.keys()));
    let mut differ = 0;
    for name in a.keys() {
        for (i, mean) in mean[name].iter().enumerate() {
            let [a, b, c] = [&a, &b, &c].map(|set| set[name][i] as f64);
            assert_eq!(*mean, ((a + b + c) / 3.0) as f32, "{name}[{i}]");
            differ += u64::from(a != b && b != c);
        }
    }
    assert!(differ > 10_000, "the checkpoints are all alike");

    // What is needed to use it, and nothing to go on from.
    let files = "config.json generation_config.json model.safetensors recipe.toml tokenizer.json tokenizer_config.json";
    assert_eq!(place.names("run-average").join(" "), files);
    for name in files.split(' ').filter(|name| *name != "model.safetensors") {
        assert!(place.read(&format!("run-average/{name}")) == place.read(&format!("run/{name}")), "{name}");
    }
    let translated = place.feed("translate --device cpu --model run-average", b"der hund\n").succeeds();
    assert_eq!(translated.out.lines().count(), 1);
    place.run("evaluate --device cpu --model run-average --source a.de --reference a.en --json").succeeds();
    place.train("--out run-average").refuses(&["run-average is not empty and holds no run"]);

    // What the run's model has beside its parameters is no part of a mean.
    place.write("run/checkpoints/step-000015/model.safetensors", place.read("run/model.safetensors"));
    place.run("average run --last 2 --out beside").succeeds();
    place.write(
        "run/checkpoints/step-000015/model.safetensors",
        &before[&place.path("run/checkpoints/step-000015/model.safetensors")],
    );

    // The mean of one is that one.
    place.run("average run --last 1 --out deep/one").succeeds();
    let one = tensors(&place.read("deep/one/model.safetensors"));
    assert!(c.iter().all(|(name, values)| one[name] == *values));
}

#[test]
fn an_average_that_cannot_be_is_refused() {
    let place = Place::new();
    place.train("--out run --set train.keep=1").succeeds();
    place.train("--out other --set model.ffn=32 --set train.steps=3").succeeds();
    std::fs::create_dir(place.path("there")).expect("a directory");
    let kept = place.names("run/checkpoints").len();
    let refuses = |arguments: &str, parts: &[&str]| place.run(&format!("average {arguments}")).refuses(parts);
    refuses(
        "run --last 5",
        &[&format!("run holds {kept} of the 5 checkpoints that --last asks for"), "train.keep than 1"],
    );
    refuses("run --last 1 --out there", &["there exists; choose another --out"]);
    refuses("nothing --last 1", &["nothing is not a model directory"]);
    refuses("there --last 1", &["there is not a model directory"]);
    refuses(". --last 1", &[". is not a model directory"]);
    refuses("a.de --last 1", &["a.de"]);
    for arguments in ["run", "run --last 0", "run --last many"] {
        assert_eq!(place.run(&format!("average {arguments}")).code, Some(2), "{arguments}");
    }

    // Another model among the checkpoints, and one that is cut off.
    place.run("average other --last 1 --out once").succeeds();
    refuses("once --last 1", &["once holds 0 of the 1 checkpoints"]);
    std::fs::create_dir_all(place.path("other/checkpoints/step-000001")).expect("a directory");
    place.write("other/checkpoints/step-000001/model.safetensors", place.read("run/model.safetensors"));
    refuses("other --last 2", &["other/checkpoints/step-000001/model.safetensors", "fc1", "expected"]);
    place.write("other/checkpoints/step-000003/model.safetensors", "half");
    refuses("other --last 1", &["other/checkpoints/step-000003/model.safetensors", "not a safetensors file"]);
    assert!(!place.path("other-average").exists());
}
