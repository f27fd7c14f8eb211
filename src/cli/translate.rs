//! `seqloom translate`: standard input, line by line, to standard output.

use super::attention::AttentionArgs;
use super::decoding::DecodingArgs;
use super::run_dir::RunDir;
use super::{DeviceArgs, data, device};
use clap::Args;
use pollster::block_on;
use seqloom::decode::{Decoder, End, Penalty, Search, Translation, Written};
use seqloom::error::{Error, Result};
use seqloom::models::Architecture;
use seqloom::network::{Network, positions, trained_length};
use seqloom::recipe::{self, ModelKind, Recipe};
use seqloom::text::corpus;
use seqloom::text::tokenizer::Tokenizers;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Positions of a model that only runs: sinusoids and rotary positions go on past what it was trained for.
pub const POSITIONS: usize = 4096;

/// Arguments of `translate`.
#[derive(Args)]
pub struct Translate {
    /// The run directory
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    decoding: DecodingArgs,
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
    /// How it translates, as its recipe says.
    pub translation: Translation,
}

/// Reads the best model of a run directory onto a device.
pub fn load(dir: &Path, device: &DeviceArgs) -> Result<Loaded> {
    let run = RunDir::new(dir);
    let recipe = run.recipe()?;
    let tokenizers = run.tokenizers(&recipe)?;
    if !recipe.data.text.is_empty() {
        let dir = dir.display();
        return Err(Error::Input(format!(
            "{dir} holds a language model, which goes on with a text and translates none; try: seqloom generate --model {dir}"
        )));
    }
    let model = Architecture::new(&recipe.model, tokenizers.vocabulary());
    let (file, parameters) = run.model(&recipe, &model)?;
    let opened = device::open(device)?;
    let mut network = Network::new(opened.device, model, positions(&recipe, POSITIONS), false)?;
    network.write_parameters(&file, &parameters)?;
    let translation = translation(&recipe, data::start(&recipe, &tokenizers)?);
    Ok(Loaded { recipe, tokenizers, network, decoder: Decoder::new(), translation })
}

/// How a recipe's model translates; `start` is what outputs begin with where sentences have no marks.
pub fn translation(recipe: &Recipe, start: Option<u32>) -> Translation {
    let d = &recipe.decode;
    let search = match (d.beam, d.penalty) {
        (1, _) => Search::Greedy,
        (width, recipe::Penalty::Gnmt) => Search::Beam(width, Penalty::Gnmt(d.length_penalty)),
        (width, recipe::Penalty::Power) => Search::Beam(width, Penalty::Power(d.length_penalty)),
    };
    Translation { search, marks: recipe.data.marks, ..Translation::greedy(start, d.max_length) }
}

/// Translates; an empty line stays one.
pub fn run(args: &Translate) -> Result<ExitCode> {
    let mut bytes = vec![];
    args.attention.check()?;
    let mut loaded = load(&args.model, &args.device)?;
    let translation = Translation {
        search: args.decoding.search(&loaded.recipe.decode, false)?,
        rules: args.decoding.rules()?,
        scores: args.decoding.scores,
        best: args.decoding.best(),
        ..loaded.translation
    };
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|e| Error::Input(format!("standard input cannot be read: {e}")))?;
    let lines = if bytes.is_empty() { vec![] } else { corpus::lines("standard input", &bytes)? };
    let sources: Vec<Vec<u32>> = lines.iter().map(|line| loaded.tokenizers.source().encode(line)).collect();
    warn_of_long(&sources, &loaded.recipe, loaded.network.positions());
    let spoken: Vec<usize> = (0..lines.len()).filter(|&i| !lines[i].trim().is_empty()).collect();
    let numbered: Vec<(usize, &[u32])> = spoken.iter().map(|&i| (i, &sources[i][..])).collect();
    args.attention.check_lines(&loaded, &numbered)?;
    let chosen: Vec<(u64, &[u32])> = numbered.iter().map(|&(i, source)| (i as u64, source)).collect();
    let since = std::time::Instant::now();
    let written = block_on(loaded.decoder.translate_numbered(&mut loaded.network, &chosen, &translation))?;
    let tokens: usize = written.iter().map(|w| w[0].tokens.len()).sum();
    warn_of_unfinished(&spoken, &written, &loaded.recipe);
    let mut translations = vec![String::new(); lines.len()];
    for (&i, hypotheses) in spoken.iter().zip(&written) {
        let one = |w: &Written| {
            // One line in, one line out, whatever the model says.
            let text = loaded.tokenizers.target().decode(&w.tokens).replace(['\n', '\r'], " ");
            if args.decoding.scores { format!("{:.4}\t{text}", w.score) } else { text }
        };
        translations[i] = hypotheses.iter().map(one).collect::<Vec<_>>().join("\n");
    }
    for translation in translations {
        out!("{translation}");
    }
    let seconds = since.elapsed().as_secs_f64();
    eprintln!("{} lines, {tokens} tokens in {seconds:.1} s", spoken.len());
    let translated: Vec<_> =
        numbered.iter().zip(&written).map(|(&(i, source), w)| (i, source, &w[0].tokens[..])).collect();
    args.attention.write(&mut loaded, &translated)?;
    Ok(ExitCode::SUCCESS)
}

/// Says once that some lines are longer than the model was trained for.
pub fn warn_of_longer(sources: &[Vec<u32>], recipe: &Recipe) {
    let (trained, mark) = (trained_length(recipe), usize::from(recipe.data.marks));
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
        match recipe.model.kind {
            ModelKind::Transformer | ModelKind::Seq2Seq => {
                eprintln!("warning: line {} has more than {positions} tokens and is cut there", i + 1)
            }
            ModelKind::Gpt => eprintln!("warning: of line {} only the last {positions} tokens are read", i + 1),
        }
    }
}

/// Says which translations ended because the model has no more positions, where the recipe would let them go on.
fn warn_of_unfinished(lines: &[usize], translations: &[Vec<Written>], recipe: &Recipe) {
    let positions = positions(recipe, POSITIONS);
    for (i, _) in lines.iter().zip(translations).filter(|(_, w)| w[0].end == End::Positions) {
        eprintln!("warning: the translation of line {} is cut after the model's {positions} positions", i + 1);
    }
}
