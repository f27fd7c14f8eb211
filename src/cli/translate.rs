//! `seqloom translate`: standard input, line by line, to standard output.

use super::attention::AttentionArgs;
use super::run_dir::RunDir;
use super::{DeviceArgs, data, device};
use clap::Args;
use pollster::block_on;
use seqloom::decode::Decoder;
use seqloom::error::{Error, Result};
use seqloom::models::transformer::Transformer;
use seqloom::network::{Network, positions};
use seqloom::recipe::{ModelKind, Recipe};
use seqloom::text::corpus;
use seqloom::text::tokenizer::Tokenizers;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Positions of a model that only runs: sinusoids and rotary positions go on past what it was trained for.
const POSITIONS: usize = 4096;

/// Arguments of `translate`.
#[derive(Args)]
pub struct Translate {
    /// The run directory
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    attention: AttentionArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A model that was read from a run directory.
pub struct Loaded {
    /// The recipe that it was trained with.
    pub recipe: Recipe,
    /// Its tokenizers.
    pub tokenizers: Tokenizers,
    /// The model on a device.
    pub network: Network,
    /// A decoder for it.
    pub decoder: Decoder,
}

/// Reads the best model of a run directory onto a device.
pub fn load(dir: &Path, device: &DeviceArgs) -> Result<Loaded> {
    let run = RunDir::new(dir);
    let recipe = run.recipe()?;
    let tokenizers = run.tokenizers(&recipe)?;
    if recipe.model.kind == ModelKind::Gpt {
        let dir = dir.display();
        return Err(Error::Input(format!("{dir} holds a language model, which goes on with a text and translates none")));
    }
    let model = Transformer::new(&recipe.model, tokenizers.vocabulary());
    let (file, parameters) = run.model(&recipe, &model)?;
    let opened = device::open(device)?;
    let mut network = Network::new(opened.device, model, positions(&recipe, POSITIONS), false)?;
    network.write_parameters(&file, &parameters)?;
    let decoder = decoder(&mut network, &recipe, data::start(&recipe, &tokenizers)?);
    Ok(Loaded { recipe, tokenizers, network, decoder })
}

/// A decoder as the recipe has it; `start` is what outputs begin with where sentences have no marks.
pub fn decoder(network: &mut Network, recipe: &Recipe, start: Option<u32>) -> Decoder {
    let decoder = Decoder::new(network, recipe.decode.max_length);
    match start {
        Some(start) => decoder.unmarked(start),
        None => decoder,
    }
}

/// Translates; an empty line stays one.
pub fn run(args: &Translate) -> Result<ExitCode> {
    let mut bytes = vec![];
    args.attention.check()?;
    let mut loaded = load(&args.model, &args.device)?;
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|e| Error::Input(format!("standard input cannot be read: {e}")))?;
    let lines = if bytes.is_empty() { vec![] } else { corpus::lines("standard input", &bytes)? };
    let sources: Vec<Vec<u32>> = lines.iter().map(|line| loaded.tokenizers.source().encode(line)).collect();
    warn_of_long(&sources, &loaded.recipe, loaded.network.positions());
    let spoken: Vec<usize> = (0..lines.len()).filter(|&i| !lines[i].trim().is_empty()).collect();
    let numbered: Vec<(usize, &[u32])> = spoken.iter().map(|&i| (i, &sources[i][..])).collect();
    args.attention.check_lines(&loaded, &numbered)?;
    let chosen: Vec<Vec<u32>> = spoken.iter().map(|&i| sources[i].clone()).collect();
    let ids = block_on(loaded.decoder.greedy(&mut loaded.network, &chosen))?;
    warn_of_unfinished(&spoken, &ids, &loaded.recipe, loaded.network.positions());
    let mut translations = vec![String::new(); lines.len()];
    for (&i, ids) in spoken.iter().zip(&ids) {
        // One line in, one line out, whatever the model says.
        translations[i] = loaded.tokenizers.target().decode(ids).replace(['\n', '\r'], " ");
    }
    for translation in translations {
        out!("{translation}");
    }
    let translated: Vec<_> = numbered.iter().zip(&ids).map(|(&(i, source), ids)| (i, source, &ids[..])).collect();
    args.attention.write(&mut loaded, &translated)?;
    Ok(ExitCode::SUCCESS)
}

/// Says once that some lines are longer than the model was trained for.
pub fn warn_of_longer(sources: &[Vec<u32>], recipe: &Recipe) {
    let (trained, mark) = (recipe.data.max_length, usize::from(recipe.data.marks));
    let longer = sources.iter().filter(|s| s.len() + mark > trained).count();
    if longer > 0 {
        eprintln!("warning: {longer} lines have more than the {trained} tokens that the model was trained for");
    }
}

/// Says which lines are longer than the model was trained for, and which ones are cut.
fn warn_of_long(sources: &[Vec<u32>], recipe: &Recipe, positions: usize) {
    warn_of_longer(sources, recipe);
    let mark = usize::from(recipe.data.marks);
    for (i, _) in sources.iter().enumerate().filter(|(_, s)| s.len() + mark > positions) {
        eprintln!("warning: line {} has more than {positions} tokens and is cut there", i + 1);
    }
}

/// Says which translations ended because the model has no more positions, where the recipe would let them go on.
fn warn_of_unfinished(lines: &[usize], translations: &[Vec<u32>], recipe: &Recipe, positions: usize) {
    // Without marks the first token is given, and takes none.
    let most = positions + usize::from(!recipe.data.marks);
    let unfinished = |(_, t): &(&usize, &Vec<u32>)| t.len() == most && most < recipe.decode.max_length;
    let unfinished = lines.iter().zip(translations).filter(unfinished);
    for (i, _) in unfinished {
        eprintln!("warning: the translation of line {} is cut after the model's {positions} positions", i + 1);
    }
}
