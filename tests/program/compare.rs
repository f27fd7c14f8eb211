//! `seqloom compare`: what it prints, draws and refuses. Who is better, is not tested: nothing is learned in two steps.

use super::Place;
use serde_json::Value;

/// Every tag is closed in its place, and every attribute is in quotes.
#[track_caller]
fn is_well_formed(svg: &str) {
    let mut open: Vec<&str> = vec![];
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("no end: <{tag}"));
        assert!(!text.contains('>') && tag.matches('"').count() % 2 == 0, "<{tag}>{text}");
        let name = tag.split([' ', '\n', '/']).find(|part| !part.is_empty()).expect("a name");
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (_, true) => {}
            _ => open.push(name),
        }
    }
    assert!(open.is_empty() && svg.starts_with("<svg"), "{open:?}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "a number is not finite");
}

#[test]
fn four_models_one_table_and_one_picture() {
    let place = Place::new();
    let outcome = place.run("compare --quick --steps 2 --device cpu").succeeds();
    let out = &outcome.out;
    assert!(out.lines().all(|line| line.chars().count() <= 120 || line.ends_with('.')), "{out}");
    let names = ["RNN", "LSTM", "LSTM with attention", "Transformer"];
    for name in names {
        // Its row, its chain and its time.
        assert_eq!(out.lines().filter(|l| l.starts_with(&format!("{name:<20}"))).count(), 3, "{out}");
    }
    let json = place.json("compare/compare.json");
    let models = json["models"].as_array().expect("a list");
    let number = |v: &Value| v.as_f64().expect("a number");
    assert_eq!(models.iter().map(|m| m["name"].as_str().expect("a name")).collect::<Vec<_>>(), names);
    let most = models.iter().map(|m| number(&m["parameters"])).fold(0.0, f64::max);
    for model in models {
        assert!(number(&model["parameters"]) >= 0.95 * most, "{model}");
        assert_eq!(model["tokens"], models[0]["tokens"], "one budget for all");
        let buckets = model["accuracy"].as_array().expect("a list");
        assert!(
            buckets.len() == 8 && buckets.iter().all(|b| b["of"] == 100 && number(&b["right"]) <= 100.0),
            "{model}"
        );
        let lengths = model["lengths"].as_array().expect("a list");
        let chains: Vec<f64> = lengths.iter().map(|l| number(&l["chain"])).collect();
        assert_eq!(lengths.iter().map(|l| number(&l["length"])).collect::<Vec<_>>(), [16.0, 64.0, 256.0]);
        assert!(lengths.iter().all(|l| number(&l["seconds"]) > 0.0), "{model}");
        let grown = [chains[1] - chains[0], chains[2] - chains[1]];
        // Along the sentence and back, or not at all.
        assert_eq!(grown, if model["name"] == "Transformer" { [0.0, 0.0] } else { [96.0, 384.0] }, "{model}");
    }
    let svg = place.text("compare/compare.svg");
    is_well_formed(&svg);
    for sentence in json["text"].as_array().expect("a list") {
        let sentence = sentence.as_str().expect("a text");
        assert!(svg.contains(sentence) && out.contains(sentence), "{sentence}");
    }
}

#[test]
fn mistakes_are_one_line() {
    let place = Place::new();
    place.write("file", "");
    for (arguments, what) in [
        ("--out file", "--out file: there is something else of this name"),
        ("--out nowhere/..", "ends in no name"),
        ("--device nothing", "--device nothing: there is no such device"),
        ("--steps 0", "--steps"),
        ("--seed x", "--seed"),
    ] {
        let outcome = place.run(&format!("compare --quick {arguments}"));
        assert!(outcome.code == Some(2) && outcome.err.contains(what), "{arguments}: {}", outcome.err);
    }
}
