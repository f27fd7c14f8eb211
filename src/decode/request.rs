//! What is asked of a decoder, and what it gives.

use super::{Penalty, Rules, Sampling};

/// What is given of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What the encoder reads; nothing where there is none. What there are no positions for is cut.
    pub source: Vec<u32>,
    /// What the decoder reads before it writes, at least one token. A model with an encoder is given exactly one.
    pub prompt: Vec<u32>,
    /// Tells the line's random numbers from those of others.
    pub number: u64,
}

/// How the next token is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Search {
    /// The most likely one.
    Greedy,
    /// By chance.
    Sample(Sampling),
    /// So many hypotheses side by side, judged by their likelihood over a penalty.
    Beam(usize, Penalty),
}

/// How lines are decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How the next token is found.
    pub search: Search,
    /// What changes the logits before that.
    pub rules: Rules,
    /// The most tokens that are written.
    pub most: usize,
    /// The token that ends a line, if there is one.
    pub end: Option<u32>,
    /// Whether likelihoods are wanted where the search does without.
    pub scores: bool,
    /// How many hypotheses of a beam come back.
    pub best: usize,
    /// Whether a model without an encoder goes on where its positions are used up, with the last half of them.
    pub slide: bool,
}

/// Why nothing more was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The token that ends a line came.
    Token,
    /// There are as many tokens as were asked for.
    Length,
    /// The model has no more positions.
    Positions,
    /// Who watches said so.
    Stopped,
    /// The rules leave no token.
    Forbidden,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Without the prompt and without the token that ends a line.
    pub tokens: Vec<u32>,
    /// The natural logarithm of its probability, the token that ends it included: the model's, in a beam after the rules;
    /// zero where no scores were wanted.
    pub log_probability: f64,
    /// What a beam ranks by: that, over a penalty; the same elsewhere.
    pub score: f64,
    /// Why it ends.
    pub end: End,
    /// Which token of the prompt and `tokens` was at position 0 in the end: not the first where positions were used up.
    pub first: usize,
}

/// How sentences are translated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Translation {
    /// Whether `<s>` and `</s>` mark where a translation begins and ends; they are not written.
    pub marks: bool,
    /// What every translation begins with, where that is a token of its own.
    pub start: Option<u32>,
    /// The most tokens of one, `start` included.
    pub longest: usize,
    /// How the next token is found.
    pub search: Search,
    /// What changes the logits before that.
    pub rules: Rules,
    /// Whether likelihoods are wanted where the search does without.
    pub scores: bool,
    /// How many hypotheses of a beam come back.
    pub best: usize,
}

impl Translation {
    /// The most likely token after each other, between marks or from `start` on.
    pub fn greedy(start: Option<u32>, longest: usize) -> Translation {
        Translation {
            marks: start.is_none(),
            start,
            longest,
            search: Search::Greedy,
            rules: Rules::default(),
            scores: false,
            best: 1,
        }
    }
}
