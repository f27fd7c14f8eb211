//! `seqloom generate`: a language model goes on with texts.

use super::attention::{AttentionArgs, Expected, Passage, Subject};
use super::converse::converse;
use super::decoding::DecodingArgs;
use super::run_dir::RunDir;
use super::translate::POSITIONS;
use super::{DeviceArgs, device};
use clap::Args;
use pollster::block_on;
use seqloom::decode::{Decoder, Line, Options, Search, Written};
use seqloom::error::{Error, Result};
use seqloom::models::Architecture;
use seqloom::network::{Network, positions};
use seqloom::recipe::{ModelKind, Recipe};
use seqloom::text::corpus;
use seqloom::text::tokenizer::{Tokenizer, Tokenizers};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// What a text starts with where there is no prompt and no token for that, as nanoGPT has it.
const NOTHING: &str = "\n";

/// Arguments of `generate`.
#[derive(Args)]
pub struct Generate {
    /// The run directory
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The text to go on with; without it each line of standard input is one, and on a terminal there is a prompt
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The most tokens that are written behind each prompt
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Write so many texts for each prompt
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    samples: u64,
    /// End a text before this comes in it; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    #[command(flatten)]
    decoding: DecodingArgs,
    #[command(flatten)]
    attention: AttentionArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A language model that was read from a run directory.
struct Loaded {
    recipe: Recipe,
    tokenizer: Tokenizer,
    network: Network,
    decoder: Decoder,
}

/// What a text is after its prompt: tokens of words know the space between them only side by side.
fn behind(tokenizer: &Tokenizer, prompt: &[u32], written: &[u32]) -> String {
    let (before, all) = (tokenizer.decode(prompt), tokenizer.decode(&[prompt, written].concat()));
    all.strip_prefix(&before).map_or_else(|| tokenizer.decode(written), str::to_string)
}

/// Goes on with the prompt or with each line of standard input. One text is written as it comes, prompt included; of
/// several each is one line, in which line ends read `\n`.
pub fn run(args: &Generate) -> Result<ExitCode> {
    if let Some(empty) = args.stop.iter().find(|stop| stop.is_empty()) {
        return Err(Error::Input(format!("--stop {empty:?}: expected some text")));
    }
    args.attention.check()?;
    let mut loaded = load(&args.model, &args.device)?;
    args.attention.check_model(&loaded.network)?;
    let options = Options {
        search: args.decoding.search(&loaded.recipe.decode, true)?,
        rules: args.decoding.rules()?,
        most: args.max_tokens,
        end: loaded.tokenizer.specials().end_of_text(),
        scores: args.decoding.scores,
        best: args.decoding.best(),
        slide: true,
    };
    if let (Search::Beam(..), [_, ..]) = (options.search, &args.stop[..]) {
        return Err(Error::Input(
            "--stop ends a text while it is written, and a beam writes several; leave out --beam".into(),
        ));
    }
    if args.prompt.is_none() && std::io::stdin().is_terminal() {
        return ask(args, &mut loaded, &options);
    }
    let prompts = match &args.prompt {
        Some(prompt) => vec![prompt.clone()],
        None => {
            let mut bytes = vec![];
            let read = std::io::stdin().read_to_end(&mut bytes);
            read.map_err(|e| Error::Input(format!("standard input cannot be read: {e}")))?;
            if bytes.is_empty() { vec![] } else { corpus::lines("standard input", &bytes)? }
        }
    };
    let samples = args.samples as usize;
    let mut lines = vec![];
    for (i, prompt) in prompts.iter().enumerate() {
        let tokens = loaded.encode(prompt);
        let number = |sample: usize| (i * samples + sample) as u64;
        lines.extend((0..samples).map(|s| Line { source: vec![], prompt: tokens.clone(), number: number(s) }));
    }
    let expected: Vec<Expected> = lines.iter().map(|line| expected(args, line)).collect();
    args.attention.check_lines(&loaded.network, &expected)?;
    if let ([prompt], 1, 1) = (&prompts[..], samples, options.best) {
        stream(args, &mut loaded, &options, prompt, &lines[0])?;
        return Ok(ExitCode::SUCCESS);
    }
    let since = Instant::now();
    let Loaded { tokenizer, network, decoder, .. } = &mut loaded;
    let watch = |i: usize, tokens: &[u32]| stop_in(&args.stop, &behind(tokenizer, &lines[i].prompt, tokens)).is_some();
    let written = block_on(decoder.write(network, &lines, &options, watch))?;
    for (line, hypotheses) in written.iter().enumerate() {
        for w in hypotheses {
            let text = behind(tokenizer, &lines[line].prompt, &w.tokens);
            let text = &text[..stop_in(&args.stop, &text).unwrap_or(text.len())];
            let text = format!("{}{text}", prompts[line / samples]).replace('\n', "\\n").replace('\r', "\\r");
            match args.decoding.scores {
                true => out!("{:.4}\t{text}", w.score),
                false => out!("{text}"),
            }
        }
    }
    say_speed(written.iter().map(|w| w[0].tokens.len()).sum(), since);
    let passages: Vec<Passage> = lines.iter().zip(&written).map(|(line, w)| passage(line, &w[0])).collect();
    args.attention.write(&mut loaded.subject(), &passages)?;
    Ok(ExitCode::SUCCESS)
}

fn expected(args: &Generate, line: &Line) -> Expected {
    let given = line.prompt.len();
    Expected { line: line.number as usize + 1, given, likely: given.saturating_add(args.max_tokens) }
}

fn passage<'a>(line: &'a Line, w: &'a Written) -> Passage<'a> {
    Passage { line: line.number as usize + 1, source: &line.prompt, written: &w.tokens, first: Some(w.first) }
}

/// A prompt on a terminal, until it is closed.
fn ask(args: &Generate, loaded: &mut Loaded, options: &Options) -> Result<ExitCode> {
    eprintln!("the model goes on with what you write; an empty line starts from nothing, Ctrl-D ends");
    converse(&mut std::io::stdin().lock(), &mut std::io::stderr(), |number, prompt| {
        let line = Line { source: vec![], prompt: loaded.encode(prompt), number: number as u64 };
        match args.attention.check_lines(&loaded.network, &[expected(args, &line)]) {
            Ok(()) => stream(args, loaded, options, prompt, &line)?,
            // The next line may be shorter.
            Err(e) => eprintln!("error: {e}"),
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Writes one text as its tokens come.
fn stream(args: &Generate, loaded: &mut Loaded, options: &Options, prompt: &str, line: &Line) -> Result<()> {
    let since = Instant::now();
    let Loaded { tokenizer, network, decoder, .. } = loaded;
    let mut shown = 0;
    let mut failed = Ok(());
    let mut show = |text: &str, last: bool| {
        let end = stop_in(&args.stop, text).unwrap_or(text.len());
        // What may still become a stop, or a character, is held back.
        let sure = if last || end < text.len() { end } else { end - held_back(&args.stop, text) };
        if sure > shown && failed.is_ok() {
            failed = print(&text[shown..sure]);
            shown = sure;
        }
        end < text.len() || failed.is_err()
    };
    print(prompt)?;
    let beam = matches!(options.search, Search::Beam(..));
    let text = |written: &[u32]| behind(tokenizer, &line.prompt, written);
    let lines = std::slice::from_ref(line);
    let written = block_on(decoder.write(network, lines, options, |_, written| show(&text(written), false)))?;
    let written = &written[0][0];
    show(&text(&written.tokens), true);
    failed?;
    print("\n")?;
    if args.decoding.scores {
        let what = if beam { ", over its length penalty" } else { "" };
        eprintln!("logarithm of the probability{what}: {:.4}", written.score);
    }
    say_speed(written.tokens.len(), since);
    args.attention.write(&mut loaded.subject(), &[passage(line, written)])
}

fn say_speed(tokens: usize, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    eprintln!("{tokens} tokens in {seconds:.1} s, {:.0} tokens/s", tokens as f64 / seconds.max(1e-9));
}

fn print(text: &str) -> Result<()> {
    let mut to = std::io::stdout().lock();
    to.write_all(text.as_bytes())
        .and_then(|()| to.flush())
        .map_err(|e| Error::Input(format!("standard output cannot be written: {e}")))
}

/// Where the first of some texts begins in another.
fn stop_in(stops: &[String], text: &str) -> Option<usize> {
    stops.iter().filter_map(|stop| text.find(stop.as_str())).min()
}

/// Bytes at the end of a text that more tokens may change: the beginning of a stop, or of a character.
fn held_back(stops: &[String], text: &str) -> usize {
    let whole = text.trim_end_matches('\u{fffd}');
    let begins = |stop: &String| {
        let lengths = stop.char_indices().map(|(at, _)| at).skip(1);
        lengths.filter(|&n| whole.ends_with(&stop[..n])).max().unwrap_or(0)
    };
    stops.iter().map(begins).max().unwrap_or(0) + text.len() - whole.len()
}

fn load(dir: &Path, device: &DeviceArgs) -> Result<Loaded> {
    let run = RunDir::new(dir);
    let recipe = run.recipe()?;
    if recipe.model.kind != ModelKind::Gpt {
        let dir = dir.display();
        return Err(Error::Input(format!(
            "{dir} holds a model that translates, which has nothing to go on with; try: seqloom translate --model {dir}"
        )));
    }
    let tokenizers = run.tokenizers(&recipe)?;
    let model = Architecture::new(&recipe.model, tokenizers.vocabulary());
    let (file, parameters) = run.model(&recipe, &model)?;
    let opened = device::open(device)?;
    let mut network = Network::new(opened.device, model, positions(&recipe, POSITIONS), false)?;
    network.write_parameters(&file, &parameters)?;
    let Tokenizers::Shared(tokenizer) = tokenizers else { unreachable!("a language model has one vocabulary") };
    Ok(Loaded { recipe, tokenizer, network, decoder: Decoder::new() })
}

impl Loaded {
    fn subject(&mut self) -> Subject<'_> {
        Subject { network: &mut self.network, tokenizers: [&self.tokenizer; 2], marks: false }
    }

    /// A prompt as tokens; where there are none, what a text begins with, or a line end.
    fn encode(&self, prompt: &str) -> Vec<u32> {
        let specials = self.tokenizer.specials();
        let nothing = prompt.is_empty() && specials.end_of_text().is_none();
        let mut tokens = self.tokenizer.encode_text(if nothing { NOTHING } else { prompt });
        if tokens.is_empty() {
            // Words know no white space.
            tokens.push(specials.bos());
        }
        let unknown = tokens.iter().filter(|t| Some(**t) == specials.unk()).count();
        if unknown > 0 {
            eprintln!("warning: {unknown} tokens of the prompt {prompt:?} are not in the model's vocabulary");
        }
        if self.network.positions() < tokens.len() {
            let most = self.network.positions();
            eprintln!("warning: of the prompt's {} tokens the model sees the last {most}", tokens.len());
        }
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_become_a_stop_is_held_back() {
        let stops = ["END".to_string(), "\n\n".to_string()];
        assert_eq!(stop_in(&stops, "a\n\nEND"), Some(1));
        assert_eq!(stop_in(&stops, "EN D\n"), None);
        assert_eq!([held_back(&stops, "the E"), held_back(&stops, "the EN"), held_back(&stops, "a\n")], [1, 2, 1]);
        assert_eq!([held_back(&stops, "the"), held_back(&[], "é\u{fffd}")], [0, 3]);
        assert_eq!(held_back(&["Eé".to_string()], "xE\u{fffd}"), 4);
    }
}
