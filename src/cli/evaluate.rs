//! `seqloom evaluate`: loss, perplexity, BLEU and chrF on a test set.

use super::train::score;
use super::translate::{load, warn_of_longer};
use super::{DeviceArgs, data, files};
use clap::Args;
use pollster::block_on;
use seqloom::error::{Error, Result};
use seqloom::text::batch::{Batches, Buckets};
use seqloom::text::bleu::{BLEU_LOWERCASE_SIGNATURE, BLEU_SIGNATURE};
use seqloom::text::corpus;
use seqloom::train::evaluate_network;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Arguments of `evaluate`.
#[derive(Args)]
pub struct Evaluate {
    /// The run directory
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Sentences to translate, one a line
    #[arg(long, value_name = "FILE")]
    source: PathBuf,
    /// Their translations, line by line
    #[arg(long, value_name = "FILE")]
    reference: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Evaluates and prints on standard output.
pub fn run(args: &Evaluate) -> Result<ExitCode> {
    let since = Instant::now();
    let (source, reference) = (args.source.display().to_string(), args.reference.display().to_string());
    let bytes = (files::read(&args.source)?, files::read(&args.reference)?);
    let pairs = corpus::parallel(&source, &bytes.0, &reference, &bytes.1)?;
    let mut loaded = load(&args.model, &args.device)?;
    let recipe = &loaded.recipe;
    let longest = loaded.network.positions();
    let (examples, dropped) = data::encode(recipe, &loaded.tokenizers, &pairs.pairs, longest);
    let unfit = data::unfit(recipe, &longest.to_string());
    if examples.is_empty() {
        return Err(Error::Input(format!("{source}: all {dropped} pairs have {unfit}")));
    }
    if dropped > 0 {
        eprintln!("warning: the loss is without {dropped} pairs, which have {unfit}");
    }
    let sources: Vec<Vec<u32>> = pairs.pairs.iter().map(|p| loaded.tokenizers.source().encode(&p.0)).collect();
    warn_of_longer(sources.iter().map(Vec::len), recipe);
    let cut = sources.iter().filter(|s| s.len() + usize::from(recipe.data.marks) > longest).count();
    if cut > 0 {
        eprintln!("warning: {cut} sources have more than {longest} tokens and are cut there for BLEU and chrF");
    }
    let t = &recipe.train;
    // A test set may hold longer sentences than the training set did.
    let longest_pair = examples.iter().map(|e| e.lengths().0 + e.lengths().1).max().unwrap_or(0) + 16;
    let buckets = Buckets::choose(&examples, t.batch_tokens.max(longest_pair), t.batch_size, 4)?;
    let set = Batches::new(buckets, examples)?;
    let evaluation = block_on(evaluate_network(&mut loaded.network, recipe, &set))?;
    let translation = &loaded.translation;
    let (_, scores) = score(&mut loaded.network, &mut loaded.decoder, translation, &loaded.tokenizers, &pairs.pairs)?;
    let seconds = since.elapsed().as_secs_f64();
    let perplexity = evaluation.nll.exp();
    let signature = match recipe.tokenizer.lowercase {
        true => BLEU_LOWERCASE_SIGNATURE,
        false => BLEU_SIGNATURE,
    };
    if args.json {
        let object = serde_json::json!({ "loss": evaluation.loss, "perplexity": perplexity, "bleu": scores.bleu,
            "chrf": scores.chrf, "exact": scores.exact, "signature": signature, "tokens": evaluation.tokens, "seconds": seconds });
        out!("{object}");
    } else {
        out!("pairs       {}", pairs.report);
        out!(
            "loss        {:.4} (label smoothing {}, {} tokens)",
            evaluation.loss,
            t.label_smoothing,
            evaluation.tokens
        );
        out!("perplexity  {perplexity:.3} (without smoothing)");
        out!("BLEU        {:.2} ({signature})", scores.bleu);
        out!("chrF        {:.2}", scores.chrf);
        out!("exact       {:.2} % of the lines", 100.0 * scores.exact);
        if recipe.tokenizer.lowercase {
            out!("            the model writes no capitals: the references are lower-cased for BLEU and chrF");
        }
        out!("seconds     {seconds:.1}");
    }
    Ok(ExitCode::SUCCESS)
}
