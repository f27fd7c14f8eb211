//! A model on a device: its parameters and the table of positions, shared by training, evaluation and decoding.

use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, Memory, Resident, Value};
use crate::models::spelling::{CHARS, LONGEST, Spelling, spell};
use crate::models::{Architecture, Context, Tokens};
use crate::parameters::Parameters;
use crate::recipe::{ModelKind, Positions, Recipe};
use crate::tensor::{Tensor, Type};

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
    /// How words are spelled, where a character CNN reads them: what [`spell`] gives.
    spelling: Option<[Resident; 3]>,
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
        let words = model.vocabulary().source();
        let spelling = model.reads_words().then(|| {
            let of = [
                ("chars", vec![words, LONGEST]),
                ("lengths", vec![words]),
                ("by_char", vec![CHARS + 1 + words * LONGEST]),
            ];
            of.map(|(part, dims)| memory.declare(format!("spelling.{part}"), Type::u32(dims)))
        });
        device.allocate(&memory);
        if let (Some(table), Some(numbers)) = (table, numbers) {
            device.write_resident(table, 0, &numbers);
        }
        Ok(Network { device, memory, model, parameters, table, spelling, positions })
    }

    /// The longest sequence that there are positions for.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Says how the source's words are spelled, by their ids, where the model reads that; until then they are all empty.
    ///
    /// # Panics
    ///
    /// If there are not as many words as the model knows.
    pub fn spell<S: AsRef<str>>(&mut self, words: &[S]) {
        assert_eq!(words.len(), self.model.vocabulary().source(), "a spelling for every word");
        let Some(residents) = self.spelling else { return };
        for (resident, tensor) in residents.into_iter().zip(spell(words)) {
            self.device.write_resident(resident, 0, &tensor);
        }
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
        let spelling = self.spelling.map(|parts| {
            let [chars, lengths, by_char] = parts.map(|part| whole(g, part));
            Spelling { chars, lengths, by_char }
        });
        Context { step, positions, spelling, start: g.input("start", Type::u32([rows])), record: false }
    }

    /// Adds the inputs `source`, `source_lengths` and `source_by_token` for a batch of (rows, length) source tokens.
    pub fn source_tokens(&self, g: &mut Graph, rows: usize, length: usize) -> Tokens {
        tokens(g, "source", rows, length, self.model.vocabulary().source())
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
    }
}
