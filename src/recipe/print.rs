//! A recipe as commented TOML.

use super::{Recipe, SECTIONS};

/// The column of the comments behind the values; a longer value pushes its own further out.
const COLUMN: usize = 32;
/// The longest line.
const WIDTH: usize = 120;

/// Every key with its documentation above it, what it may be and its default behind it, or above it where that is long.
pub(super) fn to_toml(recipe: &Recipe) -> String {
    let defaults = Recipe::of_kind(recipe.model.kind);
    let mut out = String::new();
    let doc = |lines: &[&str]| lines.iter().map(|line| format!("#{line}\n")).collect::<String>();
    for section in SECTIONS {
        if !section.name.is_empty() {
            out += &format!("\n{}[{}]\n", doc(section.doc), section.name);
        }
        for key in section.keys {
            let setting = format!("{} = {}", key.name, (key.get)(recipe));
            let comment = format!("{}; default {}", (key.expected)(), (key.get)(&defaults));
            let line = format!("{setting:<COLUMN$}  # {comment}\n");
            out += &doc(key.doc);
            out += &if line.len() <= WIDTH { line } else { format!("# {comment}\n{setting}\n") };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn round_trip(recipe: &Recipe) -> Recipe {
        Recipe::parse("effective.toml", &recipe.to_toml(), &[]).unwrap()
    }

    #[test]
    fn defaults_round_trip() {
        let recipe = Recipe {
            name: "mine".into(),
            data: Data { builtin: Builtin::Phrasebook, ..Data::default() },
            ..Recipe::default()
        };
        assert_eq!(round_trip(&recipe), recipe);
    }

    #[test]
    fn floats_come_back_bit_for_bit() {
        for lr in [0.1 + 0.2, 1.0 / 3.0, f64::MIN_POSITIVE, 5e-324, 1000.0, 1.0 - f64::EPSILON] {
            let mut recipe = Recipe::default();
            recipe.data.builtin = Builtin::Phrasebook;
            recipe.train.lr = lr;
            recipe.train.betas = [0.1 * 3.0, lr.min(0.5)];
            let back = round_trip(&recipe).train;
            assert_eq!(back.lr.to_bits(), lr.to_bits());
            assert_eq!(back.betas.map(f64::to_bits), recipe.train.betas.map(f64::to_bits));
        }
    }

    #[test]
    fn strings_of_any_kind_round_trip() {
        for tsv in ["my file.txt", r"C:\data\pairs.tsv", "it's \"quoted\" # not a comment", "tab\tnewline\n\u{7f}é'''"]
        {
            let mut recipe = Recipe { name: "x".into(), ..Recipe::default() };
            recipe.data.tsv = tsv.into();
            assert_eq!(round_trip(&recipe), recipe);
        }
    }

    #[test]
    fn every_key_is_printed_with_its_comment() {
        let text = Recipe::default().to_toml();
        assert!(text.starts_with("# Name of the recipe and of its directory under runs/;"), "{text}");
        for expected in [
            "\n\n# The network.\n[model]\n# Architecture: \"transformer\" is",
            "\nkind = \"transformer\"              \
             # \"transformer\", \"gpt\" or \"seq2seq\"; default \"transformer\"\n",
            "\nlr = 0.0005                       # a number above 0 and at most 1000; default 0.0005\n",
            "\nbetas = [0.9, 0.98]               # a list of two numbers from 0 to below 1; default [0.9, 0.98]\n",
            "\nbuiltin = \"\"                      # \"\", \"phrasebook\", \"copy\", \"addition\", \"sort\", \"reverse\" or \"agreement\"; default \"\"\n",
            "\n# \"inverse_sqrt\", \"noam\", \"constant\", \"cosine\", \"linear\", \"wsd\" or \"plateau\"; default \"inverse_sqrt\"\n\
             schedule = \"inverse_sqrt\"\n",
            "\noptimizer = \"adamw\"               # \"adamw\", \"adam\" or \"sgd\"; default \"adamw\"\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            assert!(!key.doc.is_empty(), "{} has no documentation", key.path);
        }
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }
}
