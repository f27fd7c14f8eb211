//! A run directory: a Hugging Face directory plus our state.

use super::files;
use seqloom::checkpoint;
use seqloom::error::{Error, Result, shorten};
use seqloom::interchange;
use seqloom::models::Architecture;
use seqloom::recipe::Recipe;
use seqloom::tensor::Tensor;
use seqloom::text::corpus;
use seqloom::text::tokenizer::{Tokenizer, Tokenizers};
use seqloom::train::Progress;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a checkpoint keeps besides tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// Where training stands.
    pub progress: Progress,
    /// Seconds of training so far, over all sittings.
    pub seconds: f64,
    /// Device that the steps ran on: another one adds in another order.
    pub device: String,
    /// The shaders of `--shaders` that it had, as a checksum; "" where there were none.
    #[serde(default)]
    pub shaders: String,
    /// Checksum of the encoded pairs, to train and to validate.
    pub data: String,
}

/// A checkpoint in memory.
pub struct Checkpoint {
    /// Parameters by name.
    pub parameters: Vec<(String, Tensor)>,
    /// Moments by name.
    pub moments: Vec<(String, Tensor)>,
    /// The rest.
    pub state: TrainingState,
}

/// What a run has before its recipe.toml, besides tokenizers.
const SET_UP: [&str; 3] = ["config.json", "generation_config.json", WORDS];
/// The targets of a run with data.keep_words, one a line.
const WORDS: &str = "words.txt";
/// What training makes.
const RESULTS: [&str; 4] = ["model.safetensors", "metrics.jsonl", "metrics.tsv", "loss.svg"];
/// Held by the process that trains here.
const LOCK: &str = ".lock";
/// recipe.toml while the directory is cleared or set up: whatever else is there, this was a run or will be one.
const UNFINISHED_RECIPE: &str = ".recipe.toml.new";
/// The first two where both sides share one tokenizer, the others where they do not.
const TOKENIZERS: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "source_tokenizer.json", "target_tokenizer.json"];

/// The directory of a run.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// A directory that may not exist yet.
    pub fn new(path: &Path) -> RunDir {
        RunDir(path.into())
    }

    /// The path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether a run was started here. Errors: there is something else here, which must not be overwritten.
    pub fn exists(&self) -> Result<bool> {
        let names = files::list(&self.0)?;
        let has = |file: &str| names.iter().any(|n| n == file);
        // A recipe.toml alone may be anybody's.
        match (names.is_empty(), has("recipe.toml") && has("checkpoints")) {
            (true, _) => Ok(false),
            (_, true) => Ok(true),
            _ if has(UNFINISHED_RECIPE) && has("checkpoints") && !has("recipe.toml") => Ok(false),
            _ if self.was_being_set_up(&names)? => Ok(false),
            _ => Err(Error::Input(format!(
                "{} is not empty and holds no run (no recipe.toml with checkpoints); choose another --out",
                self.0.display()
            ))),
        }
    }

    /// Whether this is what [`RunDir::start`] leaves in a new directory when it is killed: recipe.toml comes last.
    fn was_being_set_up(&self, names: &[String]) -> Result<bool> {
        let ours = |n: &String| n == "checkpoints" || is_set_up(n);
        let begun = names.iter().all(ours) && names.iter().any(|n| n == "checkpoints");
        Ok(begun && files::list(&self.path("checkpoints"))?.is_empty())
    }

    /// Keeps other processes from training here until what it returns is dropped. Makes the directory. Errors: there is
    /// one that does.
    pub fn lock(&self) -> Result<Option<File>> {
        // First, so that a kill leaves what `was_being_set_up` knows.
        files::make_dir(&self.path("checkpoints"))?;
        files::lock(&self.path(LOCK), || {
            format!("{}: another seqloom is training here; wait for it, or choose another --out", self.0.display())
        })
    }

    /// Writes what does not change during a sitting, and removes what a killed one left half written. `start` is what
    /// outputs begin with where sentences have no marks; `words` is what [`RunDir::words`] reads.
    pub fn start(
        &self,
        recipe: &Recipe,
        tokenizers: &Tokenizers,
        model: &Architecture,
        start: Option<u32>,
        words: Option<&str>,
    ) -> Result<()> {
        files::make_dir(&self.path("checkpoints"))?;
        self.remove_temporary()?;
        let mut texts = set_up(recipe, tokenizers, model, start);
        if let Some(words) = words {
            texts.insert(0, (WORDS, words.as_bytes().to_vec()));
        }
        // A run that was killed here may have had other tokenizers.
        for stale in TOKENIZERS.iter().filter(|stale| texts.iter().all(|(name, _)| name != *stale)) {
            files::remove(&self.path(stale))?;
        }
        texts.iter().try_for_each(|(name, text)| files::write(&self.path(name), text))
    }

    /// Removes what was being written or removed when a sitting was killed. [`UNFINISHED_RECIPE`] stays until it becomes
    /// recipe.toml.
    pub fn remove_temporary(&self) -> Result<()> {
        for dir in [self.0.clone(), self.path("checkpoints")] {
            let names = files::list(&dir)?;
            let stale = names.iter().filter(|n| files::is_temporary(n) && *n != UNFINISHED_RECIPE);
            stale.map(|n| dir.join(n)).try_for_each(|path| files::remove(&path))?;
        }
        Ok(())
    }

    /// Makes a model of another making a run: it can be used like one that was trained here, and started from. The
    /// directory appears at once, whole. Errors: there is something of this name that is not an empty directory.
    pub fn adopt(
        &self,
        recipe: &Recipe,
        tokenizers: &Tokenizers,
        model: &Architecture,
        parameters: &[(String, Tensor)],
        start: Option<u32>,
    ) -> Result<()> {
        let mut all = vec![("model.safetensors", interchange::model_file(recipe, model, parameters)?)];
        all.extend(set_up(recipe, tokenizers, model, start));
        let all: Vec<(&str, &[u8])> = all.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        files::write_dir(&self.0, &all)
    }

    /// Whether there is something to go on from.
    pub fn has_checkpoint(&self) -> Result<bool> {
        Ok(!self.steps()?.is_empty())
    }

    /// The effective recipe of the run.
    pub fn recipe(&self) -> Result<Recipe> {
        let path = self.path("recipe.toml");
        let names = files::list(&self.0)?;
        let has = |file: &str| names.iter().any(|n| n == file);
        if !has("recipe.toml") {
            let dir = self.0.display();
            let hint = if has("config.json") { "; 'seqloom import' makes one of a model of transformers" } else { "" };
            return Err(Error::Input(format!("{dir} is not a model directory: it holds no recipe.toml{hint}")));
        }
        let text = files::read_text(&path, files::SETTINGS)?;
        Recipe::parse_stored(&path.display().to_string(), &text)
    }

    /// The words of the run's targets, if it kept them.
    pub fn words(&self) -> Result<Option<Vec<String>>> {
        let path = self.path(WORDS);
        match files::list(&self.0)?.iter().any(|name| name == WORDS) {
            true => corpus::words(&path.display().to_string(), &files::read(&path)?).map(Some),
            false => Ok(None),
        }
    }

    /// The tokenizers that were learned for the run.
    pub fn tokenizers(&self, recipe: &Recipe) -> Result<Tokenizers> {
        let read = |name: &str| {
            let path = self.path(name);
            Tokenizer::from_json(&path.display().to_string(), &files::read_text(&path, files::LIST)?)
        };
        let stored = match recipe.tokenizer.shared {
            true => Tokenizers::Shared(read("tokenizer.json")?),
            false => {
                Tokenizers::Separate { source: read("source_tokenizer.json")?, target: read("target_tokenizer.json")? }
            }
        };
        Ok(if recipe.model.reads_words() { stored.open() } else { stored })
    }

    /// The parameters of the best model so far.
    pub fn model(&self, recipe: &Recipe, model: &Architecture) -> Result<(String, Vec<(String, Tensor)>)> {
        read_model(&self.path("model.safetensors"), recipe, model)
    }

    /// Makes these parameters the run's model: with what transformers wants beside them, which checkpoints do without.
    fn write_model(&self, recipe: &Recipe, model: &Architecture, parameters: &[(String, Tensor)]) -> Result<()> {
        files::write(&self.path("model.safetensors"), &interchange::model_file(recipe, model, parameters)?)
    }

    /// The parameters of the checkpoint after a step.
    pub fn model_after(
        &self,
        step: u64,
        recipe: &Recipe,
        model: &Architecture,
    ) -> Result<(String, Vec<(String, Tensor)>)> {
        read_model(&self.checkpoint(step).join("model.safetensors"), recipe, model)
    }

    /// Writes a checkpoint whole, makes its model the run's when it is the best, and drops old ones but the best and
    /// the `train.keep` newest.
    pub fn save(&self, c: &Checkpoint, recipe: &Recipe, model: &Architecture) -> Result<()> {
        let step = c.state.progress.step;
        let parameters = checkpoint::save(&c.parameters)?;
        let moments = checkpoint::save(&c.moments)?;
        let files = [
            ("model.safetensors", &parameters[..]),
            ("training_state.safetensors", &moments),
            ("training_state.json", &pretty(&c.state)),
        ];
        files::write_dir(&self.checkpoint(step), &files)?;
        let best = c.state.progress.best.map_or(step, |(_, best)| best);
        if best == step {
            self.write_model(recipe, model, &c.parameters)?;
        }
        let mut steps = self.steps()?;
        steps.retain(|&s| s != best);
        let old = steps.len().saturating_sub(recipe.train.keep);
        for &s in &steps[..old] {
            files::discard(&self.checkpoint(s))?;
        }
        Ok(())
    }

    /// The newest checkpoint, if there is one.
    pub fn latest(&self) -> Result<Option<(String, Checkpoint)>> {
        let Some(&step) = self.steps()?.last() else { return Ok(None) };
        let dir = self.checkpoint(step);
        let file = dir.display().to_string();
        let tensors =
            |name: &str| checkpoint::load(&dir.join(name).display().to_string(), &files::read(&dir.join(name))?);
        let state = files::read_text(&dir.join("training_state.json"), files::SETTINGS)?;
        let state = serde_json::from_str(&state).map_err(|e| {
            Error::Input(format!("{file}/training_state.json: not a training state: {}", shorten(&e.to_string(), 160)))
        })?;
        let parameters = tensors("model.safetensors")?;
        let moments = tensors("training_state.safetensors")?;
        Ok(Some((file, Checkpoint { parameters, moments, state })))
    }

    /// Makes the best model the run's again: a run may have been killed between its checkpoint and the copy.
    pub fn refresh_best(&self, progress: &Progress, recipe: &Recipe, model: &Architecture) -> Result<()> {
        let Some((_, step)) = progress.best else { return Ok(()) };
        self.write_model(recipe, model, &self.model_after(step, recipe, model)?.1)
    }

    /// Removes what a run left: `--fresh`, or what a killed one did not come to. From the first moment on it is no run
    /// any more, and yet known, should this be killed; [`RunDir::start`] makes one of it.
    pub fn clear(&self) -> Result<()> {
        files::rename(&self.path("recipe.toml"), &self.path(UNFINISHED_RECIPE))?;
        for step in self.steps()? {
            files::discard(&self.checkpoint(step))?;
        }
        self.remove_temporary()?;
        RESULTS.iter().chain(&SET_UP).chain(&TOKENIZERS).try_for_each(|name| files::remove(&self.path(name)))
    }

    fn checkpoint(&self, step: u64) -> PathBuf {
        self.path("checkpoints").join(step_name(step))
    }

    /// The steps after which there are checkpoints, ascending.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let names = files::list(&self.path("checkpoints"))?;
        let step = |n: &String| n.strip_prefix("step-")?.parse().ok().filter(|step| *n == step_name(*step));
        let mut steps: Vec<u64> = names.iter().filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }
}

/// The parameters in a file, which may hold what transformers wants beside them, and the file's name.
fn read_model(path: &Path, recipe: &Recipe, model: &Architecture) -> Result<(String, Vec<(String, Tensor)>)> {
    let file = path.display().to_string();
    let tensors = checkpoint::load_f32(&file, &files::read(path)?)?;
    let parameters = interchange::parameters(&file, recipe, model, tensors)?;
    Ok((file, parameters))
}

/// Whether [`RunDir::lock`] and [`RunDir::start`] put something of this name there before recipe.toml.
fn is_set_up(name: &str) -> bool {
    SET_UP.contains(&name) || TOKENIZERS.contains(&name) || files::is_temporary(name) || name == LOCK
}

/// The directory of the checkpoint after a step.
fn step_name(step: u64) -> String {
    format!("step-{step:06}")
}

/// The files of a run that no step of training changes, in the order in which they are written.
fn set_up(
    recipe: &Recipe,
    tokenizers: &Tokenizers,
    model: &Architecture,
    start: Option<u32>,
) -> Vec<(&'static str, Vec<u8>)> {
    let json = |t: &Tokenizer| {
        if recipe.data.marks && !model.is_decoder_only() { t.to_json() } else { t.to_json_without_marks() }
    };
    let texts = match tokenizers {
        Tokenizers::Shared(t) => [("tokenizer.json", json(t)), ("tokenizer_config.json", t.config_json())],
        Tokenizers::Separate { source, target } => {
            [("source_tokenizer.json", json(source)), ("target_tokenizer.json", json(target))]
        }
    };
    let mut all: Vec<(&str, Vec<u8>)> = texts.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
    let specials = tokenizers.target().specials();
    all.push(("config.json", pretty(&interchange::config(recipe, model, specials, start))));
    all.push(("generation_config.json", pretty(&interchange::generation_config(recipe, specials, start))));
    all.push(("recipe.toml", recipe.to_toml().into_bytes()));
    all
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(value).expect("plain data");
    text.push('\n');
    text.into_bytes()
}
