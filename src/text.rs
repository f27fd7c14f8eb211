//! Text: corpora, tokens, batches, and how good a translation is.

pub mod agreement;
pub mod batch;
pub mod bleu;
pub mod chrf;
pub mod copy;
pub mod corpus;
pub mod lexicon;
pub mod phrasebook;
pub mod tasks;
pub mod tokenizer;
pub mod typos;
pub mod words;
