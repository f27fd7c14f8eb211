//! `--attention` of `translate` and `generate`: what the model looked at, as data, as pictures and as text.

mod html;
pub mod labels;
mod ramp;
mod shown;
mod svg;
mod text;

use super::files;
use clap::Args;
use pollster::block_on;
use seqloom::attention::{Extent, Kind, Recorder, extents};
use seqloom::error::{Error, Result};
use seqloom::network::Network;
use seqloom::text::tokenizer::Tokenizer;
use shown::{Choice, Head, Line};
use std::path::{Path, PathBuf};

/// What of the attention to show, and where.
#[derive(Args)]
pub struct AttentionArgs {
    /// Write the attention weights to FILE: a picture (.svg), a page to explore (.html), numbers (.json); - prints a
    /// heat map on standard error. At a prompt the file holds those of the last line
    #[arg(long = "attention", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only this attention: encoder, decoder or cross (encoder–decoder); without an encoder there is only decoder
    /// [default: all; for -, the last of these]
    #[arg(long, requires = "file", value_parser = kind)]
    kind: Option<Kind>,
    /// Only this layer, from 1 [default: all; for -, the last]
    #[arg(long, value_name = "N", requires = "file")]
    layer: Option<usize>,
    /// Only this head, from 1, or their mean [default: all; for -, mean]
    #[arg(long, value_name = "N|mean", requires = "file", value_parser = head)]
    head: Option<Head>,
}

fn kind(word: &str) -> std::result::Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|k| k.name() == word);
    found.ok_or_else(|| "expected encoder, decoder or cross".into())
}

fn head(word: &str) -> std::result::Result<Head, String> {
    match (word, word.parse()) {
        ("mean", _) => Ok(Head::Mean),
        (_, Ok(head)) => Ok(Head::One(head)),
        _ => Err("expected a number or mean".into()),
    }
}

/// A model that shows what it looks at.
pub struct Subject<'a> {
    pub network: &'a mut Network,
    /// Those of what is read and of what is written.
    pub tokenizers: [&'a Tokenizer; 2],
    /// Whether `<s>` and `</s>` stand around sentences.
    pub marks: bool,
}

/// How long a line will be.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Its number, from 1.
    pub line: usize,
    /// Tokens that are read before anything is written.
    pub given: usize,
    /// Those of the longest side of its maps, in the end.
    pub likely: usize,
}

/// A line and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    /// Its number, from 1.
    pub line: usize,
    /// What was translated, or gone on with.
    pub source: &'a [u32],
    pub written: &'a [u32],
    /// Of a text that the model went on with: its token at position 0 in the end.
    pub first: Option<usize>,
}

/// The most weights of all lines together: they are held, and written, at once.
const MOST_WEIGHTS: usize = 32_000_000;

/// What a file's name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Svg,
    Html,
    Json,
    Text,
}

impl Form {
    fn of(file: &Path) -> Result<Form> {
        if file.as_os_str() == "-" {
            return Ok(Form::Text);
        }
        match file.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
            Some("svg") => Ok(Form::Svg),
            Some("html") => Ok(Form::Html),
            Some("json") => Ok(Form::Json),
            _ => Err(Error::Input(format!(
                "--attention {}: expected a name that ends in .svg, .html or .json, or - for a heat map in the terminal",
                file.display()
            ))),
        }
    }

    /// The most lines, and the most tokens of a line, that can still be looked at; numbers grow with their square.
    fn most(self) -> (usize, usize) {
        match self {
            Form::Svg => (20, 256),
            Form::Html => (200, 256),
            Form::Text => (usize::MAX, 256),
            Form::Json => (usize::MAX, 1024),
        }
    }
}

impl AttentionArgs {
    /// What can be known to be wrong before a model is read: the file.
    pub fn check(&self) -> Result<()> {
        match &self.file {
            Some(file) if Form::of(file)? != Form::Text => files::check_writable(file),
            _ => Ok(()),
        }
    }

    /// What can be known to be wrong before there is any text: which maps are wanted.
    pub fn check_model(&self, network: &Network) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let wanted = self.wanted(Form::of(file)?, network);
        let most = |of: fn(&Extent) -> usize| wanted.iter().map(of).max().unwrap_or(0);
        let (layers, heads) = (most(|e| e.layers), most(|e| e.heads));
        match (self.kind, self.layer, self.head) {
            _ if extents(network).is_empty() => refuse(file, "the model has no attention".into()),
            (Some(kind), ..) if wanted.is_empty() => {
                let there: Vec<&str> = extents(network).iter().map(|e| e.kind.name()).collect();
                refuse(file, format!("--kind {}: the model has only {}", kind.name(), there.join(" and ")))
            }
            (_, Some(n), _) if n == 0 || n > layers => {
                refuse(file, format!("--layer {n}: there are layers 1 to {layers}"))
            }
            (.., Some(Head::One(n))) if n == 0 || n > heads => {
                refuse(file, format!("--head {n}: there are heads 1 to {heads}"))
            }
            _ => Ok(()),
        }
    }

    /// What can be known to be wrong before anything is written.
    pub fn check_lines(&self, network: &Network, lines: &[Expected]) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let form = Form::of(file)?;
        let (most_lines, most_tokens) = form.most();
        if lines.is_empty() {
            return refuse(file, "there is no text on standard input".into());
        }
        let instead = if form == Form::Json { "take shorter ones" } else { "a .json file shows more" };
        if lines.len() > most_lines {
            return refuse(file, format!("{} lines of text, {most_lines} is the most; {instead}", lines.len()));
        }
        let seen = |tokens: usize| tokens.min(network.positions());
        if let Some(Expected { line, given, .. }) = lines.iter().find(|l| seen(l.given) > most_tokens) {
            return refuse(file, format!("line {line} has {given} tokens, {most_tokens} is the most; {instead}"));
        }
        let maps: usize = self.wanted(form, network).iter().map(|e| self.maps(form, e)).sum();
        let weights: usize = lines.iter().map(|l| seen(l.likely).min(most_tokens).pow(2) * maps).sum();
        if weights > MOST_WEIGHTS {
            let million = 1_000_000;
            return refuse(
                file,
                format!(
                    "{} lines of text have about {} million weights, {} million is the most; choose some with --kind, \
                     --layer or --head, or take fewer lines",
                    lines.len(),
                    weights / million,
                    MOST_WEIGHTS / million
                ),
            );
        }
        Ok(())
    }

    /// The attentions that are shown of a model.
    fn wanted(&self, form: Form, network: &Network) -> Vec<Extent> {
        let all = extents(network);
        // What chooses the next token comes last: encoder–decoder attention where there is one.
        let last = all.last().map(|e| e.kind).filter(|_| form == Form::Text);
        let kind = self.kind.or(last);
        all.into_iter().filter(|e| kind.is_none_or(|kind| kind == e.kind)).collect()
    }

    /// How many maps of a kind are shown.
    fn maps(&self, form: Form, e: &Extent) -> usize {
        let one = |said: bool, all: usize| if said || form == Form::Text { 1 } else { all };
        one(self.layer.is_some(), e.layers) * one(self.head.is_some(), e.heads)
    }

    /// Computes the weights of lines, and writes them.
    pub fn write(&self, subject: &mut Subject, passages: &[Passage]) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let form = Form::of(file)?;
        let recorder = Recorder::default();
        let mut recorder = if subject.marks { recorder } else { recorder.unmarked() };
        let mut choice = Choice { kind: self.kind, layer: self.layer, head: self.head };
        if let (Form::Text, [.., last]) = (form, &self.wanted(form, subject.network)[..]) {
            choice.kind = Some(last.kind);
            choice.layer = self.layer.or(Some(last.layers));
            choice.head = self.head.or(Some(Head::Mean));
        }
        let mut shown = vec![];
        for passage in passages {
            shown.push(line(&mut recorder, choice, subject, passage, form.most().1)?);
        }
        match form {
            Form::Svg => files::write(file, svg::picture(&shown).as_bytes()),
            Form::Html => files::write(file, html::page(&shown).as_bytes()),
            Form::Json => files::write(file, &shown::json(&shown)),
            Form::Text => {
                shown.iter().for_each(|line| eprint!("{}", text::heat_maps(line)));
                Ok(())
            }
        }
    }
}

/// The maps of a line, of at most so many tokens.
fn line(
    recorder: &mut Recorder,
    choice: Choice,
    subject: &mut Subject,
    passage: &Passage,
    most: usize,
) -> Result<Line> {
    let &Passage { line, source, written, first } = passage;
    let network = &mut *subject.network;
    let mark = usize::from(subject.marks);
    // What the decoder was given; `dropped` of it, in the end, it no longer saw.
    let alone = network.model.is_decoder_only();
    let given = if alone { source.len() + mark } else { 1 };
    let dropped = given.saturating_sub(network.positions()).max(first.unwrap_or(0));
    // Where a translation without marks begins with a token of its own, that one was given.
    let before = if alone { given } else { mark };
    let shown = (dropped + most).saturating_sub(before);
    if written.len() > shown {
        match first {
            Some(_) => eprintln!("warning: of the text of line {line} only {most} tokens are shown"),
            None => eprintln!("warning: of the translation of line {line} the first {shown} tokens are shown"),
        }
    }
    let written = &written[..written.len().min(shown)];
    let attention = match first {
        Some(_) => block_on(recorder.record_text(network, &[source, written].concat(), dropped)),
        None => block_on(recorder.record(network, source, written)),
    }?;
    Ok(choice.of(line, given.saturating_sub(dropped), attention, subject))
}

fn refuse(file: &Path, why: String) -> Result<()> {
    Err(Error::Input(format!("--attention {}: {why}", file.display())))
}
