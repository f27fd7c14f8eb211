//! A sitting of training: steps, evaluations, checkpoints, and what is said at the end.

use super::profile::Profile;
use crate::cli::data::{Data, Pairs};
use crate::cli::files;
use crate::cli::report::{Report, Scores, clock};
use crate::cli::run_dir::{Checkpoint, RunDir, TrainingState};
use pollster::block_on;
use seqloom::decode::{Decoder, Line, Options, Rules, Sampling, Search, Translation};
use seqloom::error::{Error, Result};
use seqloom::network::Network;
use seqloom::text::bleu::corpus_bleu;
use seqloom::text::chrf::corpus_chrf;
use seqloom::text::corpus::Pair;
use seqloom::text::phrasebook::nearest_translations;
use seqloom::text::tokenizer::Tokenizers;
use seqloom::train::{Metrics, Trainer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Pairs that an evaluation during training translates.
const SCORED: usize = 200;
/// Pairs that the end of a run shows.
const SHOWN: usize = 12;
/// Characters of a text that a language model goes on with, and tokens that it writes then.
const PROMPT: usize = 20;
const SAMPLE: usize = 50;

/// A sitting of a run: what it trains on, and where it is kept.
pub struct Session {
    pub(super) run: RunDir,
    pub(super) data: Data,
    pub(super) tokenizers: Tokenizers,
    pub(super) trainer: Trainer,
    pub(super) decoder: Decoder,
    pub(super) translation: Translation,
    pub(super) state: TrainingState,
    pub(super) report: Report,
    pub(super) profile: Option<Profile>,
}

impl Session {
    /// Trains up to a step, and says how good the best model is. Ctrl-C ends it after the step that it is at.
    pub fn train(mut self, steps: u64) -> Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        // The first asks for a clean end after this step, the second wants it now: the last checkpoint is whole anyway.
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })
        .map_err(|e| Error::Run(format!("Ctrl-C cannot be caught: {e}")))?;
        let t = self.trainer.recipe.train.clone();
        let mut since = Instant::now();
        loop {
            let early = match &mut self.profile {
                Some(profile) => profile.step(&mut self.trainer),
                None => block_on(self.trainer.step()),
            };
            let early = self.finite(vec![], early, since)?;
            let step = self.trainer.progress.step;
            let stopping = stop.load(Ordering::Relaxed);
            let last = step >= steps;
            let every = |n: u64| n > 0 && step.is_multiple_of(n);
            let (evaluating, saving) = (last || every(t.eval_every), last || stopping || every(t.save_every));
            if evaluating || saving || every(t.log_every) || !early.is_empty() {
                let rest = block_on(self.trainer.drain());
                let metrics = self.finite(early, rest, since)?;
                self.report.steps(&metrics, since.elapsed());
                since = Instant::now();
            }
            // The best model is a checkpoint's: a better one is saved whatever save_every says.
            let better = evaluating && self.evaluate()?;
            let enough = self.trainer.is_out_of_patience();
            if better || enough || saving {
                self.save()?;
            }
            if evaluating || saving {
                since = Instant::now();
            }
            if enough && !last {
                self.report.say(&format!("training ends: {}", out_of_patience(&self.trainer)));
            }
            if last || enough {
                break;
            }
            if stopping {
                self.report.finish();
                self.end_profile()?;
                eprintln!("stopped after step {step} and saved; the same command goes on from here");
                return Ok(());
            }
        }
        self.report.finish();
        self.end_profile()?;
        self.last_words()
    }

    fn end_profile(&self) -> Result<()> {
        self.profile.as_ref().map_or(Ok(()), Profile::end)
    }

    /// The numbers of some steps and of those after them. Before training ends with a gradient that is not finite, those
    /// of the steps before it are written down.
    fn finite(&mut self, early: Vec<Metrics>, rest: Result<Vec<Metrics>>, since: Instant) -> Result<Vec<Metrics>> {
        match rest {
            Ok(rest) => Ok([early, rest].concat()),
            Err(e) => {
                self.report.steps(&[early, self.trainer.before_failure()].concat(), since.elapsed());
                self.report.flush().and(Err(e))
            }
        }
    }

    /// Evaluates; whether the model is the best so far.
    fn evaluate(&mut self) -> Result<bool> {
        let evaluation = block_on(self.trainer.evaluate())?;
        match &self.data {
            Data::Pairs(data) => {
                let pairs = &data.valid[..data.valid.len().min(SCORED)];
                let (network, t) = (&mut self.trainer.network, &self.translation);
                let (translations, scores) = score(network, &mut self.decoder, t, &self.tokenizers, pairs)?;
                self.report.evaluation(&evaluation, Some(scores));
                for ((source, _), translation) in pairs.iter().zip(&translations).take(2) {
                    self.report.say(&format!("    {source}\n    -> {translation}"));
                }
            }
            Data::Text(text) => {
                self.report.evaluation(&evaluation, None);
                let start: String = text.valid.chars().take(PROMPT).collect();
                let sample = sample(&mut self.trainer, &mut self.decoder, &self.tokenizers, &start, SAMPLE)?;
                self.report.say(&format!("    {}|{}", start.escape_debug(), sample.escape_debug()));
            }
        }
        let before = self.trainer.progress.reductions;
        let better = self.trainer.judge(&evaluation);
        if self.trainer.progress.reductions > before {
            let (step, wait) = (self.trainer.progress.step, self.trainer.recipe.train.plateau_patience);
            let lr = self.trainer.learning_rate(step + 1);
            self.report.say(&format!("step {step}: no better loss in {wait} evaluations; learning rate {lr:.2e}"));
        }
        Ok(better)
    }

    fn save(&mut self) -> Result<()> {
        self.state.progress = self.trainer.progress.clone();
        self.state.seconds = self.report.seconds();
        let parameters = block_on(self.trainer.network.read_parameters())?;
        let moments = block_on(self.trainer.read_moments())?;
        // The rows come first: a run that is killed between the two drops them again when it goes on.
        self.report.flush()?;
        let checkpoint = Checkpoint { parameters, moments, state: self.state.clone() };
        self.run.save(&checkpoint, &self.trainer.recipe, &self.trainer.network.model)
    }

    /// The held-out set, with the best model, and where that is.
    fn last_words(mut self) -> Result<()> {
        let (file, parameters) = self.run.model(&self.trainer.recipe, &self.trainer.network.model)?;
        self.trainer.network.write_parameters(&file, &parameters)?;
        let (dir, time) = (self.run.path(""), clock(self.report.seconds()));
        match &self.data {
            Data::Pairs(data) => {
                let (network, t) = (&mut self.trainer.network, &self.translation);
                held_out(network, &mut self.decoder, t, &self.tokenizers, data)?;
                eprintln!("{} after {time}; try: seqloom translate --model {}", dir.display(), files::quoted(&dir));
            }
            Data::Text(text) => {
                let start: String = text.valid.chars().take(PROMPT).collect();
                let sample = sample(&mut self.trainer, &mut self.decoder, &self.tokenizers, &start, 10 * SAMPLE)?;
                eprintln!("\na sample after the first {PROMPT} characters of what is held out:\n{start}|{sample}");
                eprintln!(
                    "{} after {time}; try: seqloom generate --model {} --prompt {}",
                    dir.display(),
                    files::quoted(&dir),
                    files::quoted(Path::new(&start.lines().next().unwrap_or_default()))
                );
            }
        }
        Ok(())
    }
}

/// Translates what was held out, and says how well.
fn held_out(
    network: &mut Network,
    decoder: &mut Decoder,
    translation: &Translation,
    tokenizers: &Tokenizers,
    data: &Pairs,
) -> Result<()> {
    let pairs = &data.test;
    let (translations, scores) = score(network, decoder, translation, tokenizers, pairs)?;
    let sources: Vec<&str> = pairs.iter().map(|p| p.0.as_str()).collect();
    let references: Vec<String> = pairs.iter().map(|p| judged(tokenizers, &p.1)).collect();
    let nearest = nearest_translations(&data.train, &sources);
    let nearest: Vec<String> = nearest.iter().map(|translation| judged(tokenizers, translation)).collect();
    eprintln!("\n{} held-out sentences:", pairs.len());
    for i in 0..pairs.len().min(SHOWN) {
        let verdict = if translations[i] == references[i] { "=" } else { "~" };
        eprintln!("    {}\n  {verdict} {}", sources[i], translations[i]);
        if verdict == "~" {
            eprintln!("    ({})", references[i]);
        }
    }
    let exact = translations.iter().zip(&references).filter(|(a, b)| a == b).count();
    eprintln!(
        "held out: BLEU {:.2}, chrF {:.2}, {exact} of {} exact; answering with the nearest training sentence's \
         translation: BLEU {:.2}",
        scores.bleu,
        scores.chrf,
        pairs.len(),
        corpus_bleu(&nearest, &references).score
    );
    Ok(())
}

/// Why a run ended before its last step.
pub fn out_of_patience(trainer: &Trainer) -> String {
    let (p, patience) = (&trainer.progress, trainer.recipe.train.patience);
    let best = p.best.map_or(String::new(), |(loss, step)| format!(", {loss:.4} at step {step}"));
    let evaluations = if patience == 1 { "evaluation" } else { "evaluations" };
    format!("step {} of {}, {patience} {evaluations} without a better loss{best}", p.step, trainer.steps())
}

/// A text that a language model goes on with, by chance.
fn sample(
    trainer: &mut Trainer,
    decoder: &mut Decoder,
    tokenizers: &Tokenizers,
    start: &str,
    most: usize,
) -> Result<String> {
    let sampling = Sampling { temperature: 0.8, top_k: 0, top_p: 1.0, min_p: 0.0, seed: trainer.recipe.train.seed };
    let specials = tokenizers.target().specials();
    let mut prompt = tokenizers.target().encode_text(start);
    if prompt.is_empty() {
        prompt.push(specials.bos());
    }
    let line = Line { source: vec![], prompt, number: 0 };
    let search = Search::Sample(sampling);
    let (rules, end) = (Rules::default(), specials.end_of_text());
    let options = Options { search, rules, most, end, scores: false, best: 1, slide: true };
    let written = block_on(decoder.write(&mut trainer.network, &[line], &options, |_, _| false))?;
    Ok(tokenizers.target().decode(&written[0][0].tokens))
}

/// Translations of the sources of pairs, and how good they are.
pub fn score(
    network: &mut Network,
    decoder: &mut Decoder,
    translation: &Translation,
    tokenizers: &Tokenizers,
    pairs: &[Pair],
) -> Result<(Vec<String>, Scores)> {
    let sources: Vec<Vec<u32>> = pairs.iter().map(|(source, _)| tokenizers.source().encode(source)).collect();
    let written = block_on(decoder.translate(network, &sources, translation))?;
    let translations: Vec<String> = written.iter().map(|w| tokenizers.target().decode(&w[0].tokens)).collect();
    let hypotheses: Vec<String> = translations.iter().map(|translation| judged(tokenizers, translation)).collect();
    let references: Vec<String> = pairs.iter().map(|(_, target)| judged(tokenizers, target)).collect();
    let bleu = corpus_bleu(&hypotheses, &references).score;
    let chrf = corpus_chrf(&hypotheses, &references);
    let exact = hypotheses.iter().zip(&references).filter(|(a, b)| a == b).count() as f64 / pairs.len().max(1) as f64;
    Ok((translations, Scores { bleu, chrf, exact }))
}

/// A text as scores compare it: a model that knows no capitals is not blamed for them.
fn judged(tokenizers: &Tokenizers, text: &str) -> String {
    tokenizers.target().folded(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqloom::text::tokenizer::{Kind, Rules, Tokenizer};

    #[test]
    fn references_are_folded_as_the_tokenizer_folds() {
        let text = "ΟΔΟΣ ΣΟΦΟΣ İ";
        let rules = Rules { lowercase: true, ..Rules::new(Kind::Char, 100) };
        let tokenizers = Tokenizers::Shared(Tokenizer::learn(&rules, [text].into_iter()).expect("a tokenizer"));
        let written = tokenizers.target().decode(&tokenizers.target().encode(text));
        assert_eq!(judged(&tokenizers, text), written);
        assert_eq!(judged(&tokenizers, &written), written);
    }
}
