//! `--op`: what a part of a name stands for.

use seqloom::error::{Error, Result};
use std::collections::BTreeSet;

/// Whether one of the names has the word in it: those of something's room, operation and shaders.
pub fn named(word: &str, names: &[&str]) -> bool {
    names.iter().any(|name| name.contains(word))
}

/// Keeps what the word after `--op` stands for, where there is one. Errors: the word is empty, or nothing has it in its
/// names.
pub fn select<T>(all: Vec<T>, word: Option<&str>, names: impl Fn(&T) -> Vec<&'static str>) -> Result<Vec<T>> {
    let Some(word) = word else { return Ok(all) };
    if word.is_empty() || !all.iter().any(|one| named(word, &names(one))) {
        let there: BTreeSet<&str> = all.iter().flat_map(&names).collect();
        let there = there.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Error::Input(match word {
            "" => format!("--op: expected a part of a name; there are {there}"),
            _ => format!("--op: no operation has {word} in its name; there are {there}"),
        }));
    }
    Ok(all.into_iter().filter(|one| named(word, &names(one))).collect())
}

#[cfg(test)]
mod tests {
    use super::select;

    #[test]
    fn a_word_is_a_part_of_any_name() {
        let all = || {
            vec![("norm", "layer_norm", "rows"), ("norm", "layer_norm_vjp", "rows_vjp"), ("matmul", "matmul", "direct")]
        };
        let chosen = |word| select(all(), word, |&(room, op, shader)| vec![room, op, shader]);
        let ops = |word| chosen(word).expect("something").iter().map(|one| one.1).collect::<Vec<_>>();
        assert_eq!(ops(None).len(), 3);
        // A room, an operation, a shader.
        assert_eq!(ops(Some("norm")), ["layer_norm", "layer_norm_vjp"]);
        assert_eq!(ops(Some("m_vjp")), ["layer_norm_vjp"]);
        assert_eq!(ops(Some("direct")), ["matmul"]);
        for word in ["", "adam"] {
            let error = chosen(Some(word)).expect_err("no such thing").to_string();
            let there = "there are direct, layer_norm, layer_norm_vjp, matmul, norm, rows, rows_vjp";
            assert!(error.contains(word) && error.ends_with(there), "{error}");
        }
    }
}
