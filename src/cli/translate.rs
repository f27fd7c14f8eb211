//! `seqloom translate`: standard input, line by line, to standard output.

use super::attention::{AttentionArgs, Expected, Passage, Subject};
use super::converse::converse;
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
use std::io::{IsTerminal, Read};
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
    network.spell(tokenizers.source().lexicon());
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
    args.attention.check()?;
    let mut loaded = load(&args.model, &args.device)?;
    args.attention.check_model(&loaded.network)?;
    loaded.translation = Translation {
        search: args.decoding.search(&loaded.recipe.decode, false)?,
        rules: args.decoding.rules()?,
        scores: args.decoding.scores,
        best: args.decoding.best(),
        ..loaded.translation
    };
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return ask(args, &mut loaded);
    }
    let mut bytes = vec![];
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|e| Error::Input(format!("standard input cannot be read: {e}")))?;
    let lines = if bytes.is_empty() { vec![] } else { corpus::lines("standard input", &bytes)? };
    let sources: Vec<Source> = (0..).zip(&lines).filter_map(|(i, line)| loaded.source(i, line)).collect();
    args.attention.check_lines(&loaded.network, &loaded.expected(&sources))?;
    warn_of_long(&sources, &loaded.recipe, loaded.network.positions());
    let since = std::time::Instant::now();
    let written = translate(&mut loaded, &sources)?;
    let mut translations = vec![String::new(); lines.len()];
    for (source, hypotheses) in sources.iter().zip(&written) {
        translations[source.line] = text(args, &loaded, hypotheses);
    }
    for translation in translations {
        out!("{translation}");
    }
    let tokens: usize = written.iter().map(|w| w[0].tokens.len()).sum();
    let seconds = since.elapsed().as_secs_f64();
    eprintln!("{} lines, {tokens} tokens in {seconds:.1} s", sources.len());
    show(args, &mut loaded, &sources, &written)?;
    Ok(ExitCode::SUCCESS)
}

/// A prompt on a terminal, until it is closed. What is written is the same as for a file of these lines.
fn ask(args: &Translate, loaded: &mut Loaded) -> Result<ExitCode> {
    eprintln!("the model translates what you write, line by line; Ctrl-D ends");
    converse(&mut std::io::stdin().lock(), &mut std::io::stderr(), |number, line| {
        let Some(source) = loaded.source(number, line) else { return Ok(()) };
        let sources = [source];
        if let Err(e) = args.attention.check_lines(&loaded.network, &loaded.expected(&sources)) {
            // The next line may be shorter.
            eprintln!("error: {e}");
            return Ok(());
        }
        warn_of_long(&sources, &loaded.recipe, loaded.network.positions());
        let written = translate(loaded, &sources)?;
        out!("{}", text(args, loaded, &written[0]));
        show(args, loaded, &sources, &written)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A line that says something.
struct Source {
    /// From 0, blank ones included.
    line: usize,
    tokens: Vec<u32>,
}

impl Loaded {
    /// The tokens of a line, if it is not blank.
    fn source(&self, line: usize, text: &str) -> Option<Source> {
        (!text.trim().is_empty()).then(|| Source { line, tokens: self.tokenizers.source().encode(text) })
    }

    /// How long the lines will be if translations are as long as what they translate.
    fn expected(&self, sources: &[Source]) -> Vec<Expected> {
        let mark = usize::from(self.recipe.data.marks);
        let alone = self.network.model.is_decoder_only();
        let expected = |s: &Source| {
            let given = s.tokens.len() + mark;
            Expected { line: s.line + 1, given, likely: if alone { given + s.tokens.len() } else { given } }
        };
        sources.iter().map(expected).collect()
    }
}

/// The hypotheses of each line, best first.
fn translate(loaded: &mut Loaded, sources: &[Source]) -> Result<Vec<Vec<Written>>> {
    let numbered: Vec<(u64, &[u32])> = sources.iter().map(|s| (s.line as u64, &s.tokens[..])).collect();
    let written = block_on(loaded.decoder.translate_numbered(&mut loaded.network, &numbered, &loaded.translation))?;
    warn_of_unfinished(sources, &written, &loaded.recipe);
    Ok(written)
}

/// The hypotheses of a line, a line each.
fn text(args: &Translate, loaded: &Loaded, hypotheses: &[Written]) -> String {
    let one = |w: &Written| {
        // One line in, one line out, whatever the model says.
        let text = loaded.tokenizers.target().decode(&w.tokens).replace(['\n', '\r'], " ");
        if args.decoding.scores { format!("{:.4}\t{text}", w.score) } else { text }
    };
    hypotheses.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Writes what the model looked at, where that is wanted.
fn show(args: &Translate, loaded: &mut Loaded, sources: &[Source], written: &[Vec<Written>]) -> Result<()> {
    let pairs = sources.iter().zip(written);
    let passages: Vec<Passage> = pairs
        .map(|(s, w)| Passage { line: s.line + 1, source: &s.tokens, written: &w[0].tokens, first: None })
        .collect();
    let Loaded { recipe, tokenizers, network, .. } = loaded;
    let tokenizers = [tokenizers.source(), tokenizers.target()];
    args.attention.write(&mut Subject { network, tokenizers, marks: recipe.data.marks }, &passages)
}

/// Says once that some lines, of these many tokens, are longer than the model was trained for.
pub fn warn_of_longer(lengths: impl Iterator<Item = usize>, recipe: &Recipe) {
    let (trained, mark) = (trained_length(recipe), usize::from(recipe.data.marks));
    let longer = lengths.filter(|length| length + mark > trained).count();
    if longer > 0 {
        eprintln!("warning: {longer} lines have more than the {trained} tokens that the model was trained for");
    }
}

/// Says which lines are longer than the model was trained for, and which ones are cut.
fn warn_of_long(sources: &[Source], recipe: &Recipe, positions: usize) {
    warn_of_longer(sources.iter().map(|s| s.tokens.len()), recipe);
    let mark = usize::from(recipe.data.marks);
    for line in sources.iter().filter(|s| s.tokens.len() + mark > positions).map(|s| s.line + 1) {
        match recipe.model.kind {
            ModelKind::Transformer | ModelKind::Seq2Seq => {
                eprintln!("warning: line {line} has more than {positions} tokens and is cut there")
            }
            ModelKind::Gpt => eprintln!("warning: of line {line} only the last {positions} tokens are read"),
        }
    }
}

/// Says which translations ended because the model has no more positions, where the recipe would let them go on.
fn warn_of_unfinished(lines: &[Source], translations: &[Vec<Written>], recipe: &Recipe) {
    let positions = positions(recipe, POSITIONS);
    for (s, _) in lines.iter().zip(translations).filter(|(_, w)| w[0].end == End::Positions) {
        eprintln!("warning: the translation of line {} is cut after the model's {positions} positions", s.line + 1);
    }
}
