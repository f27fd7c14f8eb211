//! `seqloom import`: a directory that transformers wrote, as a run directory.

use super::run_dir::RunDir;
use super::{data, files};
use clap::Args;
use seqloom::checkpoint;
use seqloom::error::{Error, Result, shorten};
use seqloom::interchange::{self, Foreign};
use seqloom::models::Architecture;
use seqloom::recipe::Recipe;
use seqloom::tensor::Tensor;
use seqloom::text::tokenizer::{Tokenizer, Tokenizers};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `import`.
#[derive(Args)]
pub struct Import {
    /// A directory with config.json, model.safetensors and tokenizer.json, of a Marian, Pegasus or GPT-2 model; of the last
    /// also with vocab.json and merges.txt
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// The run directory to make
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
}

/// A model with all that is needed to use it.
pub struct Model {
    /// What it is; its data and training, where somebody knows.
    pub recipe: Recipe,
    /// Its tokenizers.
    pub tokenizers: Tokenizers,
    /// Where the parameters come from, for messages.
    pub file: String,
    /// Its parameters.
    pub parameters: Vec<(String, Tensor)>,
}

/// Imports. Nothing is written before all has been read and found right.
pub fn run(args: &Import) -> Result<ExitCode> {
    let out = args.out.display();
    files::check_out(&args.out)?;
    if !files::list(&args.out)?.is_empty() {
        return Err(Error::Input(format!("{out} is not a new directory; choose another --out")));
    }
    let model = read(&args.from)?;
    let transformer = Architecture::new(&model.recipe.model, model.tokenizers.vocabulary());
    let start = data::start(&model.recipe, &model.tokenizers)?;
    RunDir::new(&args.out).adopt(&model.recipe, &model.tokenizers, &transformer, &model.parameters, start)?;
    let count: usize = model.parameters.iter().map(|(_, t)| t.ty().elements()).sum();
    eprintln!(
        "{out}: {:.2} M parameters, {} tokens; try: seqloom {} --model {}",
        count as f64 / 1e6,
        model.tokenizers.target().vocab_size(),
        if transformer.is_decoder_only() { "generate" } else { "translate" },
        files::quoted(&args.out)
    );
    Ok(ExitCode::SUCCESS)
}

/// Reads a directory that transformers opens; what training would notice of what is lost is said on standard error.
pub fn read(dir: &Path) -> Result<Model> {
    let names = files::list(dir)?;
    let has = |name: &str| names.iter().any(|n| n == name);
    let text = |name: &str, most: u64| -> Result<(String, String)> {
        let path = dir.join(name);
        Ok((path.display().to_string(), files::read_text(&path, most)?))
    };
    let settings = |name: &str| text(name, files::SETTINGS);
    let config = settings("config.json")?;
    let generation = if has("generation_config.json") { Some(settings("generation_config.json")?) } else { None };
    let borrowed = generation.as_ref().map(|(file, text)| (file.as_str(), text.as_str()));
    let mut foreign = Foreign::read((&config.0, &config.1), borrowed)?;
    let tokenizer = |name: &str| text(name, files::LIST).and_then(|(file, text)| Tokenizer::from_json(&file, &text));
    let (vocab, merges) = ("vocab.json", "merges.txt");
    let (name, tokenizers) = match (has("tokenizer.json"), has("source_tokenizer.json")) {
        (true, _) => ("tokenizer.json", Tokenizers::Shared(tokenizer("tokenizer.json")?)),
        _ if has(vocab) && has(merges) => {
            let [(vocab_file, tokens), (merges_file, pairs)] = [text(vocab, files::LIST)?, text(merges, files::LIST)?];
            let tokenizer = Tokenizer::from_vocab_and_merges((&vocab_file, &tokens), (&merges_file, &pairs))?;
            (vocab, Tokenizers::Shared(tokenizer))
        }
        (_, true) => {
            let (source, target) = (tokenizer("source_tokenizer.json")?, tokenizer("target_tokenizer.json")?);
            ("source_tokenizer.json", Tokenizers::Separate { source, target })
        }
        _ => return Err(Error::Input(no_tokenizer(dir, &names))),
    };
    let tokenizers = foreign.tokenizers(&dir.join(name).display().to_string(), tokenizers)?;
    let (file, tensors) = read_tensors(dir, &names)?;
    let parameters = foreign.parameters(&file, tokenizers.vocabulary(), tensors)?;
    for note in &foreign.notes {
        eprintln!("warning: {}: {note}", config.0);
    }
    Ok(Model { recipe: foreign.recipe, tokenizers, file, parameters })
}

fn no_tokenizer(dir: &Path, names: &[String]) -> String {
    let pieces = names.iter().find(|n| n.ends_with(".spm") || n.ends_with(".model"));
    let found = pieces.map_or(String::new(), |name| format!(", and {name} is SentencePiece's, which is not read here"));
    format!(
        "{}: there is no tokenizer.json{found}; the tokenizer must be one that seqloom wrote, or GPT-2's",
        dir.display()
    )
}

/// The tensors of a directory as f32, and the file that names them. A shard's bytes are gone before the next is read.
fn read_tensors(dir: &Path, names: &[String]) -> Result<(String, Vec<(String, Tensor)>)> {
    let load = |name: &str| {
        let path = dir.join(name);
        checkpoint::load_f32(&path.display().to_string(), &files::read(&path)?)
    };
    let has = |name: &str| names.iter().any(|n| n == name);
    let (whole, index) = ("model.safetensors", "model.safetensors.index.json");
    if has(whole) || !has(index) {
        let pickle = names.iter().find(|n| n.ends_with(".bin"));
        return match (has(whole), pickle) {
            (false, Some(pickle)) => Err(Error::Input(format!(
                "{}: there is no {whole}, and {pickle} is not read here; transformers' save_pretrained writes one",
                dir.display()
            ))),
            _ => Ok((dir.join(whole).display().to_string(), load(whole)?)),
        };
    }
    let file = dir.join(index).display().to_string();
    let shards = interchange::shards(&file, &files::read_text(&dir.join(index), files::LIST)?)?;
    let mut tensors = vec![];
    for (shard, wanted) in shards {
        let mut found = load(&shard)?;
        found.retain(|(name, _)| wanted.contains(name));
        let names: BTreeSet<&String> = found.iter().map(|(name, _)| name).collect();
        if let Some(name) = wanted.iter().find(|name| !names.contains(name)) {
            return Err(Error::Input(format!(
                "{}: {} is missing, {index} says it is there",
                dir.join(shard).display(),
                shorten(name, 100)
            )));
        }
        tensors.extend(found);
    }
    Ok((file, tensors))
}
