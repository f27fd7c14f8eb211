//! The recipe: what to train, on what and how, as TOML.
//!
//! `table!` below is the only list of keys. A key is one entry: its documentation, its name, its type, its default and
//! the range that it may take. The structs, the parser, its messages and the commented printing all read it.

mod char_cnn;
mod check;
mod choices;
mod lookup;
mod parse;
mod print;
mod schedule;
mod table;

use crate::error::{Error, Result};
use std::ops::Bound::{Excluded, Included};
use table::table;

pub use char_cnn::CharCnn;
pub use choices::{
    Activation, Attention, Builtin, Cell, ContextUse, Init, ModelKind, Norm, Optimizer, Penalty, Pool, Positions,
    Schedule, TokenizerKind,
};
pub use schedule::learning_rate;

table! {
    /// A whole training configuration.
    Recipe {
        /// Name of the recipe and of its directory under runs/; "" takes the name of the recipe's file.
        name: String = String::new();
    }
    /// The network.
    model: Model {
        /// Architecture: "transformer" is an encoder and a decoder, "gpt" a decoder alone that goes on with a text,
        /// "seq2seq" an encoder and a decoder of recurrent cells. With "gpt" other defaults hold for norm, activation,
        /// positions, scale_embedding, init and train.label_smoothing, with "seq2seq" for layers, init and tie_embeddings.
        kind: ModelKind = ModelKind::Transformer;
        /// Width of the vectors between layers; even where sinusoids are added, because they come in pairs.
        d_model: usize = 256, 2..=65_536;
        /// Attention heads of each layer; any divisor of d_model.
        heads: usize = 8, 1..=1024;
        /// Blocks of a "gpt"; recurrent layers of the encoder of a "seq2seq", and of its decoder.
        layers: usize = 4, 1..=256;
        /// Encoder blocks of a "transformer".
        encoder_layers: usize = 3, 1..=256;
        /// Decoder blocks of a "transformer".
        decoder_layers: usize = 3, 1..=256;
        /// Width inside the feed-forward layers.
        ffn: usize = 1024, 1..=262_144;
        /// Probability of dropping an element of embeddings, attention weights and the output of each sublayer.
        dropout: f64 = 0.1, 0.0..1.0;
        /// Layer norm: "post" is after each residual connection, as in the paper; "pre" is before each sublayer, inside
        /// the residual connection, with a final norm behind the encoder's and the decoder's last block. A "gpt" is "pre".
        norm: Norm = Norm::Post;
        /// Added to the variance in a layer norm.
        norm_eps: f64 = 1e-5, (Excluded(0.0), Included(1.0));
        /// Activation inside the feed-forward layers: "relu" is max(0, x), "gelu" x Phi(x) with the error function,
        /// "gelu_new" its approximation with tanh, as GPT-2 has it.
        activation: Activation = Activation::Relu;
        /// How a position is told; all but "learned" go on past the trained length.
        /// "sinusoidal": sines and cosines are added to the embeddings, interleaved, as in the paper.
        /// "sinusoidal_split": the same with all sines before all cosines, as in Marian.
        /// "learned": a trained vector is added, one for each of data.max_length positions ("gpt": train.block); longer
        /// sources are cut there, and outputs end there.
        /// "rotary": nothing is added; in self-attention, elements i and i + D/2 of each query's and key's head (size D,
        /// even) are turned by position times 10000^(-2i/D), as in LLaMA.
        positions: Positions = Positions::Sinusoidal;
        /// Multiply embeddings by sqrt(d_model).
        scale_embedding: bool = true;
        /// One matrix for target embedding and output projection, and for the source embedding too where
        /// tokenizer.shared; false: each has its own.
        tie_embeddings: bool = true;
        /// Biases in the projections and feed-forward layers; in a "gpt" in the layer norms too.
        bias: bool = true;
        /// Starting weights: "xavier" is Xavier-uniform, embeddings and learned positions N(0, width^-0.5); "gpt2" is
        /// N(0, 0.02), divided by the root of the stack's residual connections where a matrix comes before one; "uniform"
        /// is U(-init_range, init_range), but for layer norms.
        init: Init = Init::Xavier;
        /// "uniform": the range; 0 = 1 / sqrt(hidden), in the others 1 / sqrt(d_model).
        init_range: f64 = 0.0, 0.0..=1.0;
        /// A character CNN in the place of the encoder's embedding, as a table of which any part may be left out;
        /// "" = none. A "gpt" has none: its windows would see what it is to predict. Convolutions over so many characters
        /// each (widths), side by side, with so many channels for each character that they see (filters; or a list, of all
        /// channels of each), then layers that let part of their input pass (highway) and a projection to the model's
        /// width. Its characters have vectors of their own (embedding). It starts Xavier-uniform, whatever init says, and
        /// scale_embedding leaves it alone.
        /// pool = "none": the sequence stays as long as it is; needs the tokenizer "char". pool = "word": one vector a
        /// word, the maximum over its first 24 characters; needs the tokenizer "word" with shared = false. No word is
        /// unknown then: those beyond the vocabulary are spelled, too.
        char_cnn: Option<CharCnn> = None;
        /// "seq2seq": what is computed at every time.
        cell: Cell = Cell::Lstm;
        /// "seq2seq": units of a layer; of each direction where the encoder has two.
        hidden: usize = 256, 1..=16_384;
        /// "seq2seq": width of the embeddings.
        embedding: usize = 256, 1..=65_536;
        /// "seq2seq": the encoder reads from both ends, and the decoder starts from what a layer makes of both last states.
        bidirectional: bool = true;
        /// "seq2seq": how the decoder looks at the encoder's states. "bahdanau" scores them with the state before a step
        /// and joins what it finds to the step's input; "dot" and "general" score them with the state after it and join
        /// it to the output; with "none" there is one context vector, the encoder's last state.
        attention: Attention = Attention::General;
        /// "dot" and "general": what the output is made of joins the input of the next step. Slower: without it the
        /// attention of all steps is computed at once.
        input_feeding: bool = false;
        /// Attention "none": the context vector makes the first state of the decoder ("first"), or joins the input and the
        /// output of every step, too ("every").
        context: ContextUse = ContextUse::First;
    }
    /// What it learns from: source and target, or tsv, or words, or builtin, or text; exactly one of them. A "gpt" learns
    /// from text, or from pairs, reading source and target as one sequence of which it predicts the target.
    /// Paths are relative to the directory in which seqloom is started, not to the recipe's.
    data: Data {
        /// File of source sentences, one a line; "" = not set, here and below.
        source: String = String::new();
        /// File of their translations, line by line.
        target: String = String::new();
        /// File of pairs, source TAB target a line; CSV when its name ends in .csv.
        tsv: String = String::new();
        /// File of words, one a line: the program makes typing errors in them, to be corrected.
        words: String = String::new();
        /// "gpt": one file of text, all of it one sequence.
        text: String = String::new();
        /// The corpus inside the program: English and French phrases, sequences to be copied, sums, digits to be sorted,
        /// numbers to be reversed, or verbs that agree with a distant noun.
        builtin: Builtin = Builtin::None;
        /// Training pairs to take from the built-in corpus, or to make of data.words.
        pairs: usize = 40_000, 1..=10_000_000;
        /// File of source sentences to validate on.
        valid_source: String = String::new();
        /// File of their translations, line by line.
        valid_target: String = String::new();
        /// File of pairs to validate on, as tsv.
        valid_tsv: String = String::new();
        /// Without a file to validate on: the share of the data taken for it, from its end.
        valid_fraction: f64 = 0.05, (Excluded(0.0), Included(0.5));
        /// Take every so many-th pair for it instead: where the order is the alphabet's, the end is of another kind;
        /// 0 = valid_fraction decides.
        valid_every: usize = 0, 0..=1_000_000;
        /// Keep the targets beside the model as words.txt: 'seqloom correct' leaves the words in it alone.
        keep_words: bool = false;
        /// Longest sentence in tokens, `</s>` included, on either side; longer pairs are dropped and counted.
        max_length: usize = 128, 1..=65_536;
        /// A source ends with `</s>`, a target begins with `<s>` and ends with `</s>`. false: nothing marks their ends, the
        /// target's first token is given and the others are predicted; decode.start and decode.max_length say then
        /// where an output begins and ends. A "gpt" reads `<s>` between source and target, or nothing, and needs no start.
        marks: bool = true;
    }
    /// How text becomes tokens; learned from the training text and stored with the model.
    tokenizer: Tokenizer {
        /// Byte-pair encoding, single characters, or words with their punctuation split off. With "word" what is not in
        /// the vocabulary is `<unk>`, but to a model.char_cnn of words, and spaces come back by a rule that is right for
        /// ordinary sentences only.
        kind: TokenizerKind = TokenizerKind::Bpe;
        /// Most entries in the vocabulary, special tokens included; in each of the two where they are not shared.
        vocab_size: usize = 8000, 8..=1_000_000;
        /// How often a word or character must occur to have a token, and a pair of "bpe" to be merged (there at least
        /// twice).
        min_frequency: u64 = 1, 1..=1_000_000_000;
        /// Lower-case all text: fewer words, and the model writes none in capitals. References are lower-cased for BLEU
        /// and chrF too.
        lowercase: bool = false;
        /// One vocabulary for both sides, learned from both; false: one for each side.
        shared: bool = true;
    }
    /// How it learns.
    train: Train {
        /// Optimizer steps to take. A finished run goes on when there are more; "cosine", "linear" and "wsd" then follow
        /// the new number, so that the learning rate jumps.
        steps: u64 = 2000, 1..=1_000_000_000;
        /// Passes over the data to take instead; 0 = steps decides.
        epochs: u64 = 0, 0..=1_000_000;
        /// Source and target tokens in a batch, padding included.
        batch_tokens: usize = 4096, 1..=16_777_216;
        /// Pairs in a batch instead ("gpt": blocks); 0 = batch_tokens decides.
        batch_size: usize = 0, 0..=1_048_576;
        /// "gpt": tokens that the model sees at once, its context length.
        block: usize = 64, 1..=65_536;
        /// Batches whose gradients are added up for one step; the last step of an epoch has those that are left. The loss
        /// is the mean over the tokens of all of them.
        accumulate: usize = 1, 1..=65_536;
        /// Optimizer.
        optimizer: Optimizer = Optimizer::AdamW;
        /// Share of the last step that "sgd" keeps; the others do not read it.
        momentum: f64 = 0.9, 0.0..1.0;
        /// Peak learning rate; with "noam" the factor before d_model^-0.5.
        lr: f64 = 5e-4, (Excluded(0.0), Included(1000.0));
        /// Where the learning rate ends with "cosine", "linear" and "wsd", and the least that "plateau" makes of it.
        min_lr: f64 = 0.0, 0.0..=1000.0;
        /// Learning rate after the warm-up: falling with 1/sqrt(step) ("inverse_sqrt", "noam"), constant, falling to min_lr
        /// as half a cosine or a line ("cosine", "linear"), constant until the last fifth and then a line ("wsd"), or
        /// lowered when the validation loss stops falling ("plateau").
        schedule: Schedule = Schedule::InverseSqrt;
        /// Steps in which the learning rate rises linearly; 0 = none.
        warmup: u64 = 400, 0..=1_000_000_000;
        /// "plateau": evaluations in a row without a better loss that lower the learning rate.
        plateau_patience: u64 = 5, 1..=1_000_000_000;
        /// "plateau": what it is multiplied by then.
        plateau_factor: f64 = 0.5, (Excluded(0.0), Excluded(1.0));
        /// Decay of Adam's two moments per step.
        betas: [f64; 2] = [0.9, 0.98], 0.0..1.0;
        /// Added to the root of Adam's second moment.
        eps: f64 = 1e-9, (Excluded(0.0), Included(1.0));
        /// Weight decay of the matrices, embeddings included; biases and norms have none.
        weight_decay: f64 = 0.0, 0.0..=10.0;
        /// Largest global norm of the gradient, which is scaled down to it; 0 = off.
        clip: f64 = 1.0, 0.0..=1e6;
        /// Probability spread over the whole vocabulary in the loss.
        label_smoothing: f64 = 0.1, 0.0..1.0;
        /// Directory of a model to start from, a run's or transformers', with its tokenizer; "" = from the seed.
        /// The keys of model and tokenizer must say what that model is.
        init_from: String = String::new();
        /// Seed of weights, dropout and the order of the data.
        seed: u64 = 1, 0..=4_294_967_295;
        /// Steps between evaluations.
        eval_every: u64 = 200, 1..=1_000_000_000;
        /// Steps between checkpoints.
        save_every: u64 = 200, 1..=1_000_000_000;
        /// Newest checkpoints kept besides the best.
        keep: usize = 3, 1..=1_000_000;
        /// Evaluations in a row without a better loss after which training stops; 0 = off.
        patience: u64 = 0, 0..=1_000_000_000;
        /// Steps between lines of the log; each reads the loss back from the device.
        log_every: u64 = 10, 1..=1_000_000_000;
    }
    /// How a trained model writes.
    decode: Decode {
        /// Hypotheses side by side; 1 = greedy, the most likely token after each other.
        beam: usize = 1, 1..=64;
        /// With a beam: the exponent by which long translations are preferred; 0 = likelihood alone.
        length_penalty: f64 = 0.6, 0.0..=10.0;
        /// With a beam: what the logarithm of the likelihood is divided by, "gnmt": ((5 + length) / 6)^length_penalty,
        /// "power": length^length_penalty.
        penalty: Penalty = Penalty::Gnmt;
        /// Longest output in tokens; learned positions end it at data.max_length. Without data.marks the length of every
        /// output, decode.start included.
        max_length: usize = 128, 1..=65_536;
        /// Without data.marks: the token that every output begins with. With them it is `<s>`, which is not written.
        start: String = String::new();
    }
}

/// The recipes inside the program: name and TOML.
const BUILTIN: &[(&str, &str)] = &[
    ("phrasebook", include_str!("../recipes/phrasebook.toml")),
    ("copy", include_str!("../recipes/copy.toml")),
    ("multi30k", include_str!("../recipes/multi30k.toml")),
    ("shakespeare", include_str!("../recipes/shakespeare.toml")),
    ("addition", include_str!("../recipes/addition.toml")),
    ("sort", include_str!("../recipes/sort.toml")),
    ("phonemes", include_str!("../recipes/phonemes.toml")),
    ("correct", include_str!("../recipes/correct.toml")),
    ("reverse", include_str!("../recipes/reverse.toml")),
    ("multi30k-lstm", include_str!("../recipes/multi30k-lstm.toml")),
    ("multi30k-attention", include_str!("../recipes/multi30k-attention.toml")),
    ("agreement", include_str!("../recipes/agreement.toml")),
];

impl Recipe {
    /// Reads a recipe's `text`, then applies `overrides`, each "section.key=value" as after `--set`.
    ///
    /// A value in an override is TOML, and what is not TOML is a string. An override that sets data.source,
    /// data.target, data.tsv, data.text or data.builtin replaces the recipe's data: the text's sources and validation files are
    /// forgotten. An override of train.steps or train.batch_tokens replaces the text's train.epochs or train.batch_size,
    /// and what overrides leave without effect is forgotten. Nothing is opened: `file` names the text in messages, and the recipe where the text gives no name.
    ///
    /// # Errors
    /// [`Error::Input`], one line: where (`my.toml:12` or the override), the key, and
    /// what was expected.
    pub fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Recipe> {
        parse::parse(file, text, overrides)
    }

    /// Reads the recipe of a run directory, which has every section.
    ///
    /// # Errors
    /// As [`Recipe::parse`]; a section is missing.
    pub fn parse_stored(file: &str, text: &str) -> Result<Recipe> {
        parse::parse_stored(file, text)
    }

    /// Sets the key of this path, such as "model.heads", to a value as TOML writes it. Panics when there is no such key.
    ///
    /// # Errors
    /// What was expected.
    #[track_caller]
    pub fn set(&mut self, path: &str, value: &str) -> std::result::Result<(), String> {
        let key = lookup::find(path).unwrap_or_else(|| panic!("there is no key {path}"));
        let set = toml::de::DeValue::parse(value).ok().and_then(|value| (key.set)(self, value.get_ref()));
        set.ok_or_else(|| format!("expected {}", (key.expected)()))
    }

    /// Whether the keys fit each other.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check_model(&self) -> std::result::Result<(), String> {
        check::conflict(self).map_or(Ok(()), |conflict| Err(conflict.text))
    }

    /// The defaults of an architecture.
    pub fn of_kind(kind: ModelKind) -> Recipe {
        let mut recipe = Recipe::default();
        recipe.model.kind = kind;
        if kind == ModelKind::Gpt {
            let m = &mut recipe.model;
            (m.norm, m.activation, m.positions) = (Norm::Pre, Activation::Gelu, Positions::Learned);
            (m.scale_embedding, m.init) = (false, Init::Gpt2);
            recipe.train.label_smoothing = 0.0;
        }
        if kind == ModelKind::Seq2Seq {
            let m = &mut recipe.model;
            (m.layers, m.init, m.tie_embeddings) = (1, Init::Uniform, false);
        }
        recipe
    }

    /// Fails when there is nothing to learn from: a recipe may leave the files to who trains with it. `file` is its name
    /// for the message.
    pub fn require_data(&self, file: &str) -> Result<()> {
        match (check::has_data(self), self.model.kind) {
            (true, _) => Ok(()),
            (false, ModelKind::Gpt) => Err(Error::Input(format!(
                "{file}: there is nothing to learn from; add --set data.text=FILE, a file of text, or set \
                 data.source with data.target, data.tsv or data.builtin"
            ))),
            (false, ModelKind::Transformer | ModelKind::Seq2Seq) => Err(Error::Input(format!(
                "{file}: there is nothing to learn from; add --set data.source=FILE --set data.target=FILE, two files \
                 of which line n of one translates line n of the other, or set data.tsv or data.builtin"
            ))),
        }
    }

    /// The recipe as TOML with every key, its documentation, what it may be and its default.
    /// [`Recipe::parse`] reads it back to an equal recipe.
    pub fn to_toml(&self) -> String {
        print::to_toml(self)
    }

    /// The first key whose value differs in `other`: its path, the value here, the value there, as TOML.
    pub fn difference(&self, other: &Recipe) -> Option<(&'static str, String, String)> {
        let keys = SECTIONS.iter().flat_map(|section| section.keys);
        keys.map(|key| (key.path, (key.get)(self), (key.get)(other))).find(|(_, here, there)| here != there)
    }

    /// The TOML of a built-in recipe.
    pub fn builtin(name: &str) -> Option<&'static str> {
        BUILTIN.iter().find(|(builtin, _)| *builtin == name).map(|(_, text)| *text)
    }

    /// The names that [`Recipe::builtin`] knows.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_recipe_parses_and_is_called_by_its_name() {
        for name in Recipe::builtin_names() {
            assert_eq!(Recipe::parse("builtin.toml", Recipe::builtin(name).unwrap(), &[]).unwrap().name, name);
        }
        assert_eq!(Recipe::builtin("nothing"), None);
    }

    #[test]
    fn the_first_difference_is_named() {
        let mut other = Recipe::default();
        assert_eq!(Recipe::default().difference(&other), None);
        (other.model.d_model, other.train.betas) = (64, [0.9, 0.999]);
        assert_eq!(Recipe::default().difference(&other), Some(("model.d_model", "256".into(), "64".into())));
    }

    #[test]
    fn phrasebook_is_small() {
        let recipe = Recipe::parse("phrasebook", Recipe::builtin("phrasebook").unwrap(), &[]).unwrap();
        let model = Model {
            d_model: 128,
            heads: 4,
            encoder_layers: 2,
            decoder_layers: 2,
            ffn: 256,
            dropout: 0.0,
            ..Model::default()
        };
        assert_eq!(recipe.model, model);
        assert_eq!(recipe.data, Data { builtin: Builtin::Phrasebook, ..Data::default() });
        assert_eq!(recipe.tokenizer, Tokenizer { vocab_size: 2000, ..Tokenizer::default() });
        let train = Train { steps: 850, batch_tokens: 3072, lr: 3e-3, warmup: 100, ..Train::default() };
        assert_eq!(recipe.train, train);
    }
}
