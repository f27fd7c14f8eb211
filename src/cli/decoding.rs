//! How to decode, as the command line says it: the recipe's way unless told otherwise.

use clap::Args;
use seqloom::decode::{Penalty, Rules, Sampling, Search};
use seqloom::error::{Error, Result};
use seqloom::recipe::{self, Decode};

/// Arguments of the commands that write.
#[derive(Args, Clone)]
pub struct DecodingArgs {
    /// Hypotheses side by side; 1 = greedy [default: decode.beam; 'generate' draws by chance]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64), help_heading = "Decoding")]
    beam: Option<u64>,
    /// With a beam: the exponent by which long outputs are preferred [default: decode.length_penalty]
    #[arg(long, value_name = "ALPHA", help_heading = "Decoding")]
    length_penalty: Option<f64>,
    /// With a beam: how many of its hypotheses are written, best first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64), help_heading = "Decoding")]
    best: Option<u64>,
    /// Draw tokens by chance: logits are divided by this; below 1 the likely ones become likelier
    #[arg(long, value_name = "T", help_heading = "Decoding")]
    temperature: Option<f64>,
    /// Draw among so many most likely tokens only
    #[arg(long, value_name = "N", help_heading = "Decoding")]
    top_k: Option<usize>,
    /// Draw among the fewest most likely tokens that have this probability together only
    #[arg(long, value_name = "P", help_heading = "Decoding")]
    top_p: Option<f64>,
    /// Draw among tokens at least this times as likely as the most likely one only
    #[arg(long, value_name = "P", help_heading = "Decoding")]
    min_p: Option<f64>,
    /// Seed of what is drawn, 1 unless set; a line's text does not depend on the other lines
    #[arg(long, value_name = "N", help_heading = "Decoding")]
    seed: Option<u64>,
    /// Make tokens that occurred less likely: above 1
    #[arg(long, value_name = "F", help_heading = "Decoding")]
    repetition_penalty: Option<f64>,
    /// Write no sequence of so many tokens twice
    #[arg(long, value_name = "N", help_heading = "Decoding")]
    no_repeat_ngram: Option<usize>,
    /// Write before each output, and a tab, what it is ranked by: the logarithm of its probability, in a beam over its
    /// length penalty
    #[arg(long, help_heading = "Decoding")]
    pub scores: bool,
}

impl DecodingArgs {
    /// How the next token is found; by chance where something that concerns chance is set, or where `draws` says that it
    /// is unless a beam was asked for.
    pub fn search(&self, recipe: &Decode, draws: bool) -> Result<Search> {
        let chance = [
            ("--temperature", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--min-p", self.min_p.is_some()),
        ];
        let asked = chance.iter().find(|(_, set)| *set).map(|(name, _)| *name);
        let of_beam = [("--best", self.best.is_some()), ("--length-penalty", self.length_penalty.is_some())];
        let of_beam = of_beam.iter().find(|(_, set)| *set).map(|(name, _)| *name);
        if let (Some(asked), Some(_)) = (asked, self.beam) {
            return fail(format!("{asked} draws by chance and --beam searches; leave one of the two out"));
        }
        if asked.is_some() || (draws && self.beam.is_none()) {
            if let Some(flag) = of_beam {
                return fail(format!("{flag} needs --beam"));
            }
            return self.sampling().map(Search::Sample);
        }
        if self.seed.is_some() {
            return fail("--seed has no effect: nothing is drawn by chance; set --temperature too".into());
        }
        let width = self.beam.map_or(recipe.beam, |n| n as usize);
        let alpha = self.length_penalty.unwrap_or(recipe.length_penalty);
        check("--length-penalty", alpha, |a| (0.0..=10.0).contains(&a), "from 0 to 10")?;
        if let (1, Some(flag)) = (width, of_beam) {
            return fail(format!("{flag} needs --beam with more than 1"));
        }
        if self.best() > width {
            return fail(format!("--best {} is more than the {width} hypotheses of --beam", self.best()));
        }
        Ok(match (width, recipe.penalty) {
            (1, _) => Search::Greedy,
            (_, recipe::Penalty::Gnmt) => Search::Beam(width, Penalty::Gnmt(alpha)),
            (_, recipe::Penalty::Power) => Search::Beam(width, Penalty::Power(alpha)),
        })
    }

    fn sampling(&self) -> Result<Sampling> {
        let s = Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            top_k: self.top_k.unwrap_or(0),
            top_p: self.top_p.unwrap_or(1.0),
            min_p: self.min_p.unwrap_or(0.0),
            seed: self.seed.unwrap_or(1),
        };
        check("--temperature", s.temperature, |t| t > 0.0 && t.is_finite(), "above 0; --beam 1 takes the likeliest")?;
        check("--top-p", s.top_p, |p| p > 0.0 && p <= 1.0, "above 0 and at most 1")?;
        check("--min-p", s.min_p, |p| (0.0..=1.0).contains(&p), "from 0 to 1")?;
        Ok(s)
    }

    /// What changes the logits.
    pub fn rules(&self) -> Result<Rules> {
        let repetition_penalty = self.repetition_penalty.unwrap_or(1.0);
        check("--repetition-penalty", repetition_penalty, |f| f > 0.0 && f.is_finite(), "above 0")?;
        Ok(Rules { repetition_penalty, no_repeat_ngram: self.no_repeat_ngram.unwrap_or(0) })
    }

    /// How many hypotheses of a beam are written.
    pub fn best(&self) -> usize {
        self.best.unwrap_or(1) as usize
    }
}

fn check(flag: &str, value: f64, fits: impl Fn(f64) -> bool, expected: &str) -> Result<()> {
    if fits(value) { Ok(()) } else { fail(format!("{flag} {value}: expected a number {expected}")) }
}

fn fail<T>(text: String) -> Result<T> {
    Err(Error::Input(text))
}
