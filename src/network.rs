//! A model on a device: its parameters and the table of positions, shared by training, evaluation and decoding.

use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, Memory, Resident, Value};
use crate::models::spelling::{CHARS, LONGEST, Spelled};
use crate::models::{Architecture, Context, Tokens};
use crate::parameters::Parameters;
use crate::recipe::{ModelKind, Positions, Recipe};
use crate::tensor::{Tensor, Type};
use crate::text::batch::by_token;
use crate::text::lexicon::Lexicon;

/// The longest sequence that a recipe's model is trained on.
pub fn trained_length(recipe: &Recipe) -> usize {
    match recipe.model.kind {
        ModelKind::Transformer | ModelKind::Seq2Seq => recipe.data.max_length,
        ModelKind::Gpt => recipe.train.block,
    }
}

/// How many positions the network of a recipe has: `least`, and enough for its batches, which are padded to multiples
/// of four, and for what it decodes. Learned ones are parameters: there are data.max_length of them, for a language model
/// train.block, which never changes in a run, and neither sources nor outputs go further.
pub fn positions(recipe: &Recipe, least: usize) -> usize {
    let trained = trained_length(recipe);
    match (recipe.model.kind, recipe.model.positions) {
        (ModelKind::Transformer | ModelKind::Gpt, Positions::Learned) => trained,
        _ => trained.max(recipe.decode.max_length).max(least).next_multiple_of(4),
    }
}

/// A model, its parameters, and the device that they are on.
pub struct Network {
    /// What plays the plans.
    pub device: Device,
    /// The resident buffers of every program.
    pub memory: Memory,
    /// The model.
    pub model: Architecture,
    /// Where its parameters lie.
    pub parameters: Parameters,
    /// The table of positions, where they are no parameters.
    table: Option<Resident>,
    /// The source's words, where the model reads how they are spelled.
    lexicon: Option<Lexicon>,
    positions: usize,
}

impl Network {
    /// Lays out a model on a device, for sequences of up to `positions` tokens. The parameters are zeros until they
    /// are written. Errors: a parameter is larger than a binding can be.
    pub fn new(device: Device, model: impl Into<Architecture>, positions: usize, training: bool) -> Result<Network> {
        let binding = device.limits().binding;
        Network::with_binding(device, model, positions, training, binding)
    }

    /// Like [`Network::new`], with flat buffers of at most `binding` bytes.
    pub fn with_binding(
        mut device: Device,
        model: impl Into<Architecture>,
        positions: usize,
        training: bool,
        binding: u64,
    ) -> Result<Network> {
        let (model, mut memory) = (model.into(), Memory::default());
        let parameters = Parameters::new(model.declarations(positions), &mut memory, binding, training)?;
        let numbers = model.position_table(positions);
        let table = numbers.as_ref().map(|numbers| memory.declare("positions", numbers.ty().clone()));
        device.allocate(&memory);
        if let (Some(table), Some(numbers)) = (table, numbers) {
            device.write_resident(table, 0, &numbers);
        }
        Ok(Network { device, memory, model, parameters, table, lexicon: None, positions })
    }

    /// The longest sequence that there are positions for.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Says which words the source's ids stand for, which a model needs that reads how they are spelled.
    pub fn spell(&mut self, lexicon: Option<&Lexicon>) {
        self.lexicon = lexicon.cloned();
    }

    /// Overwrites every parameter by name. Errors: one is missing, of another shape, or too many.
    pub fn write_parameters(&mut self, file: &str, tensors: &[(String, Tensor)]) -> Result<()> {
        self.parameters.write(&mut self.device, file, tensors, |shard| shard.values)
    }

    /// Every parameter by name. Errors: the device failed.
    pub async fn read_parameters(&self) -> Result<Vec<(String, Tensor)>> {
        self.parameters.read(&self.device, |shard| shard.values).await
    }

    /// Positions, and dropout where there is a step state, for a graph. Adds the input `start` (1).
    pub fn context(&self, g: &mut Graph, step: Option<Value>) -> Context {
        self.context_of_rows(g, 1, step)
    }

    /// The same where each of so many rows has a start of its own: the input `start` has as many elements.
    pub fn context_of_rows(&self, g: &mut Graph, rows: usize, step: Option<Value>) -> Context {
        let whole = |g: &mut Graph, r: Resident| g.resident(self.memory.name(r), r, 0, self.memory.ty(r).clone());
        let positions = self.table.map(|table| whole(g, table));
        Context { step, positions, start: g.input("start", Type::u32([rows])), record: false }
    }

    /// Adds the inputs that [`Network::source_inputs`] gives of a batch of (rows, length) source tokens.
    pub fn source_tokens(&self, g: &mut Graph, rows: usize, length: usize) -> Tokens {
        if !self.model.reads_words() {
            return tokens(g, "source", rows, length, self.model.vocabulary().source());
        }
        let words = rows * length;
        Tokens {
            ids: g.input("source", Type::u32([rows, length, LONGEST])),
            lengths: g.input("source_lengths", Type::u32([rows])),
            by_token: g.input("source_by_token", Type::u32([CHARS + 1 + words * LONGEST])),
            letters: Some(g.input("source_letters", Type::u32([words]))),
        }
    }

    /// The inputs `source`, `source_lengths` and `source_by_token` of rows of source tokens; words that the model reads
    /// as they are spelled are characters there, and `source_letters` says of how many.
    ///
    /// # Panics
    ///
    /// If the model reads how words are spelled, and nobody has said that ([`Network::spell`]).
    pub fn source_inputs(&self, ids: &[u32], lengths: &[u32]) -> Vec<(&'static str, Tensor)> {
        let (rows, length) = (lengths.len(), ids.len() / lengths.len());
        let list = |list: Vec<u32>| Tensor::u32([list.len()], list);
        let lengths_of = ("source_lengths", list(lengths.into()));
        if !self.model.reads_words() {
            let sorted = by_token(ids, self.model.vocabulary().source());
            let ids = Tensor::u32([rows, length], ids.into());
            return vec![("source", ids), lengths_of, ("source_by_token", list(sorted))];
        }
        let lexicon = self.lexicon.as_ref().expect("Network::spell says how words are spelled");
        let Spelled { chars, letters, by_char } = Spelled::new(lexicon, ids, lengths);
        let chars = Tensor::u32([rows, length, LONGEST], chars);
        vec![("source", chars), lengths_of, ("source_by_token", list(by_char)), ("source_letters", list(letters))]
    }

    /// Adds the inputs `NAME`, `NAME_lengths` and `NAME_by_token` for a batch of (rows, length) target tokens.
    pub fn target_tokens(&self, g: &mut Graph, name: &str, rows: usize, length: usize) -> Tokens {
        tokens(g, name, rows, length, self.model.vocabulary().target())
    }
}

fn tokens(g: &mut Graph, name: &str, rows: usize, length: usize, vocabulary: usize) -> Tokens {
    Tokens {
        ids: g.input(name, Type::u32([rows, length])),
        lengths: g.input(&format!("{name}_lengths"), Type::u32([rows])),
        by_token: g.input(&format!("{name}_by_token"), Type::u32([vocabulary + 1 + rows * length])),
        letters: None,
    }
}
