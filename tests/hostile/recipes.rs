//! Recipes: what is read is printed and read again, what is not is named with its line.

use super::alloc::taken;
use super::mutate::{edited_text, edits, nested};
use super::{config, refused, within};
use proptest::prelude::*;
use proptest::sample::select;
use seqloom::recipe::Recipe;

const FILE: &str = "bad.toml";

/// Reads as a recipe and as a run's; the message of the former.
fn check(text: &str) -> Option<String> {
    let (result, first) = taken(|| Recipe::parse(FILE, text, &[]));
    let (stored, second) = taken(|| Recipe::parse_stored(FILE, text));
    // A key of TOML with its place and its value takes so much; settings have at most 1 MiB.
    within(first, text.len(), [64, 200]);
    within(second, text.len(), [64, 200]);
    for recipe in [&result, &stored].into_iter().flatten() {
        assert_eq!(recipe.check_model(), Ok(()));
        assert_eq!(Recipe::parse_stored("again", &recipe.to_toml()).as_ref().ok(), Some(recipe));
    }
    if let Err(e) = &stored {
        refused(e, FILE);
    }
    result.err().map(|e| refused(&e, FILE))
}

#[test]
fn named_recipes_are_refused_with_a_reason() {
    let long = "x".repeat(200_000);
    let cases = [
        ("a bracket", "[model".to_string(), "bad.toml:1: not TOML"),
        ("deep lists", format!("a = {}", nested(500_000)), "bad.toml:1: not TOML: "),
        ("deep tables", format!("a = {}", "{a=".repeat(300_000)), "bad.toml:1: not TOML: "),
        ("deep keys", format!("{}a = 1", "a.".repeat(400_000)), "bad.toml:1: not TOML: "),
        ("deep sections", format!("[{}a]", "a.".repeat(400_000)), "bad.toml:1: not TOML: "),
        ("many sections", (0..50_000).map(|i| format!("[a{i}]\n")).collect(), "bad.toml:1: unknown section [a0]"),
        ("many keys", (0..100_000).map(|i| format!("a{i}=1\n")).collect(), "bad.toml:1: unknown key a0"),
        ("a long key", format!("{long} = 1"), "bad.toml:1: unknown key xxx"),
        ("a long section", format!("[{long}]"), "bad.toml:1: unknown section [xxx"),
        (
            "a long value",
            format!("[model]\nnorm = \"{long}\""),
            "bad.toml:2: model.norm: expected \"post\" or \"pre\", found \"xxx",
        ),
        (
            "a long number",
            format!("[model]\nheads = {}", "9".repeat(200_000)),
            "bad.toml:2: model.heads: expected a whole number",
        ),
        ("a long name", format!("name = \"{long}/\""), "bad.toml:1: name: \"xxx"),
        ("a name with an escape", "name = \"\\u001b[2J\"".into(), "bad.toml:1: name: \"\\u{1b}[2J\""),
        ("a key with an escape", "\"a\\nb\\u001b\" = 1".into(), "bad.toml:1: unknown key"),
        ("control characters", "name = \"a\u{1}\"".into(), "bad.toml:1: not TOML"),
        ("a zero byte", "name = \"a\0\"".into(), "bad.toml:1: not TOML"),
        ("not a number", "[train]\nlr = nan".into(), "bad.toml:2: train.lr: expected a number above 0"),
        ("no end", "[train]\nlr = inf".into(), "bad.toml:2: train.lr: expected a number above 0"),
        ("negative", "[model]\nlayers = -1".into(), "bad.toml:2: model.layers: expected a whole number from 1 to 256"),
        (
            "too many layers",
            "[model]\nencoder_layers = 1_000_000_000".into(),
            "bad.toml:2: model.encoder_layers: expected",
        ),
        ("no width", "[model]\nd_model = 0".into(), "bad.toml:2: model.d_model: expected a whole number from 2"),
        (
            "heads that do not divide",
            "[model]\nheads = 7".into(),
            "bad.toml:2: model.heads: 7 does not divide model.d_model",
        ),
        ("past a u64", "[train]\nsteps = 18446744073709551616".into(), "bad.toml:2: train.steps: expected"),
        ("a key twice", "[model]\nheads = 2\nheads = 4".into(), "bad.toml:3: not TOML: duplicate key"),
        ("a section twice", "[model]\n[model]".into(), "bad.toml:2: not TOML: duplicate key"),
    ];
    for (name, text, reason) in cases {
        let message = check(&text).unwrap_or_else(|| panic!("{name} is read"));
        assert!(message.contains(reason), "{name}: {message} does not say {reason}");
    }
    let stored = refused(&Recipe::parse_stored(FILE, "").expect_err("an empty recipe of a run"), FILE);
    assert!(stored.ends_with("[model] is missing: this is not the whole recipe of a run"), "{stored}");
}

/// A value by chance after a key by chance.
fn lines() -> impl Strategy<Value = String> {
    let key = select(vec![
        "heads", "d_model", "layers", "norm", "kind", "lr", "betas", "steps", "seed", "tsv", "start", "marks", "name",
    ]);
    let value = prop_oneof![
        "-?[0-9]{1,22}",
        "-?[0-9]{1,3}\\.[0-9]{0,3}(e-?[0-9]{1,4})?",
        "(true|false|nan|inf|0x[0-9a-f]{1,20})",
        "\"[a-z_/]{0,8}\"",
        "\"\\PC{0,8}\"",
        "'[^']{0,8}'",
        "\\[[0-9., ]{0,12}\\]",
        "\\{a = [0-9]\\}",
        "1979-05-2[0-9]",
    ];
    let section = select(vec!["", "[model]\n", "[data]\n", "[train]\n", "[tokenizer]\n", "[decode]\n"]);
    proptest::collection::vec((section, key, value).prop_map(|(s, k, v)| format!("{s}{k} = {v}\n")), 0..6)
        .prop_map(|l| l.concat())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn edits_of_a_recipe(i in 0usize..8, whole in any::<bool>(), edits in edits()) {
        let names: Vec<&str> = Recipe::builtin_names().collect();
        let text = Recipe::builtin(names[i % names.len()]).expect("a recipe");
        let whole = whole.then(|| Recipe::parse("good.toml", text, &[]).expect("a recipe").to_toml());
        check(&edited_text(whole.as_deref().unwrap_or(text), &edits));
    }

    #[test]
    fn settings_by_chance(text in lines()) {
        check(&text);
    }

    #[test]
    fn characters_by_chance(text in "[\\[\\]{}=.,\"'#\\\\a-e0-9 \\n\\r\\t\\PC]{0,80}") {
        check(&text);
    }
}
