//! The four models, as wide as gives them the Transformer's number of parameters.

use seqloom::error::Result;
use seqloom::models::{Architecture, Vocabulary};
use seqloom::recipe::{Attention, Cell, Init, ModelKind, Norm, Recipe};

/// Tokens of the sentences that steps are timed on.
pub const LENGTHS: [usize; 6] = [16, 32, 64, 128, 256, 512];
/// The same with `--quick`.
pub const QUICK_LENGTHS: [usize; 3] = [16, 64, 256];
/// Width of the Transformer and of every embedding.
const WIDTH: usize = 32;
/// Training sentences: with fewer the vocabulary is not complete, and more take memory but teach nothing new.
const SENTENCES: [u64; 2] = [4_000, 200_000];

/// A model that takes part.
pub struct Contestant {
    /// What people call it.
    pub name: &'static str,
    /// How it is trained.
    pub recipe: Recipe,
    /// How many numbers it learns.
    pub parameters: usize,
}

impl Contestant {
    /// How wide it is, for people.
    pub fn width(&self) -> String {
        match self.recipe.model.kind {
            ModelKind::Seq2Seq => format!("{} units", self.recipe.model.hidden),
            ModelKind::Transformer | ModelKind::Gpt => format!("width {}", self.recipe.model.d_model),
        }
    }
}

/// The task and how all learn it: the recipe `agreement` for so many steps.
pub fn task(steps: u64, seed: u64) -> Result<Recipe> {
    let text = Recipe::builtin("agreement").expect("a built-in recipe");
    let mut recipe = Recipe::parse("agreement", text, &[])?;
    recipe.train.steps = steps;
    recipe.train.seed = seed;
    let sentences = steps.saturating_mul(recipe.train.batch_size as u64);
    recipe.data.pairs = sentences.clamp(SENTENCES[0], SENTENCES[1]) as usize;
    Ok(recipe)
}

/// RNN, LSTM, LSTM with attention, Transformer. All read a sentence once from its first word to its last, or all of it at once.
pub fn contestants(base: &Recipe, vocabulary: Vocabulary) -> Result<Vec<Contestant>> {
    let of = |kind: ModelKind| {
        let Recipe { name, data, tokenizer, train, decode, .. } = base.clone();
        Recipe { name, model: Recipe::of_kind(kind).model, data, tokenizer, train, decode }
    };
    let mut transformer = of(ModelKind::Transformer);
    let m = &mut transformer.model;
    (m.d_model, m.heads, m.encoder_layers, m.decoder_layers, m.ffn) = (WIDTH, 4, 2, 1, 2 * WIDTH);
    (m.norm, m.dropout, m.tie_embeddings) = (Norm::Pre, 0.0, false);
    let wanted = parameters(&transformer, vocabulary);
    let recurrent = |name, cell, attention| {
        let mut recipe = of(ModelKind::Seq2Seq);
        let m = &mut recipe.model;
        (m.cell, m.attention, m.embedding, m.bidirectional, m.dropout) = (cell, attention, WIDTH, false, 0.0);
        // As the Transformer's: from the smaller weights of "uniform" attention takes more than twice as many steps to begin.
        m.init = Init::Xavier;
        let count = |hidden: usize| {
            let mut recipe = recipe.clone();
            recipe.model.hidden = hidden;
            parameters(&recipe, vocabulary)
        };
        // Kernels like even widths.
        recipe.model.hidden = (2..=512).step_by(2).min_by_key(|&h| count(h).abs_diff(wanted)).expect("some widths");
        let parameters = parameters(&recipe, vocabulary);
        Contestant { name, recipe, parameters }
    };
    Ok(vec![
        recurrent("RNN", Cell::Rnn, Attention::None),
        recurrent("LSTM", Cell::Lstm, Attention::None),
        recurrent("LSTM with attention", Cell::Lstm, Attention::General),
        Contestant { name: "Transformer", recipe: transformer, parameters: wanted },
    ])
}

fn parameters(recipe: &Recipe, vocabulary: Vocabulary) -> usize {
    let model = Architecture::new(&recipe.model, vocabulary);
    model.declarations(recipe.data.max_length).iter().map(|d| d.dims.iter().product::<usize>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_as_many_parameters_within_a_twentieth() {
        let base = task(2, 1).expect("a recipe");
        for vocabulary in [Vocabulary::Separate { source: 86, target: 52 }, Vocabulary::Shared(20)] {
            let all = contestants(&base, vocabulary).expect("four models");
            let most = all.iter().map(|c| c.parameters).max().expect("some");
            for c in &all {
                assert!(c.parameters as f64 >= 0.95 * most as f64, "{}: {} of {most}", c.name, c.parameters);
                c.recipe.check_model().expect("the keys fit");
                assert_eq!((&c.recipe.train, &c.recipe.data), (&base.train, &base.data));
            }
        }
    }
}
