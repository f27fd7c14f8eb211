//! `translate --attention`: what the model looked at, as data, as pictures and as text.

mod html;
pub mod labels;
mod ramp;
mod svg;
mod text;

use super::files;
use super::translate::Loaded;
use clap::Args;
use pollster::block_on;
use seqloom::attention::{Attention, Kind, Map, Recorder};
use seqloom::error::{Error, Result};
use seqloom::models::Architecture;
use seqloom::text::tokenizer::Tokenizer;
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// What of the attention to show, and where.
#[derive(Args)]
pub struct AttentionArgs {
    /// Write the attention weights to FILE: a picture (.svg), a page to explore (.html), numbers (.json); - prints a
    /// heat map on standard error
    #[arg(long = "attention", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only this attention: encoder, decoder or cross (encoder–decoder) [default: all; for -, cross]
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

/// One head, from 1, or the mean of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    One(usize),
    Mean,
}

impl Serialize for Head {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Head::One(head) => head.serialize(to),
            Head::Mean => "mean".serialize(to),
        }
    }
}

/// The weights of a head: a row for each query, a column for each key.
#[derive(Debug, Serialize)]
struct Shown {
    kind: Kind,
    layer: usize,
    head: Head,
    weights: Vec<Vec<f32>>,
}

/// A line of the input with its tokens as people read them.
#[derive(Debug, Serialize)]
struct Line {
    /// Its number, from 1.
    line: usize,
    /// What the encoder read.
    source: Vec<String>,
    /// What the decoder read.
    target: Vec<String>,
    /// What the decoder wrote behind each token of `target`.
    written: Vec<String>,
    maps: Vec<Shown>,
}

impl Line {
    /// The tokens of the rows and of the columns. Encoder–decoder attention chooses what to write next, so its rows
    /// are named after that.
    fn sides(&self, kind: Kind) -> (&[String], &[String]) {
        match kind {
            Kind::Encoder => (&self.source, &self.source),
            Kind::Decoder => (&self.target, &self.target),
            Kind::Cross => (&self.written, &self.source),
        }
    }
}

/// What a kind is called, and what its rows and columns are.
fn heading(kind: Kind) -> [&'static str; 2] {
    match kind {
        Kind::Encoder => ["Encoder self-attention", "source looks at source"],
        Kind::Decoder => ["Decoder self-attention", "target looks at target"],
        Kind::Cross => ["Encoder–decoder attention", "what is written looks at source"],
    }
}

fn title(map: &Shown) -> String {
    match map.head {
        Head::One(head) => format!("layer {}, head {head}", map.layer),
        Head::Mean => format!("layer {}, mean of the heads", map.layer),
    }
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

    /// What can be known to be wrong before anything is translated: lines by their index, with their tokens.
    pub fn check_lines(&self, loaded: &Loaded, lines: &[(usize, &[u32])]) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let form = Form::of(file)?;
        let refuse = |why: String| Err(Error::Input(format!("--attention {}: {why}", file.display())));
        let (most_lines, most_tokens) = form.most();
        let Architecture::Transformer(m) = &loaded.network.model else {
            return refuse("recurrent models do not show what they look at yet".into());
        };
        if m.is_decoder_only() {
            return refuse("so far only models with an encoder show what they look at".into());
        }
        if lines.is_empty() {
            return refuse("there is no text on standard input".into());
        }
        let instead = if form == Form::Json { "take shorter ones" } else { "a .json file shows more" };
        if lines.len() > most_lines {
            return refuse(format!("{} lines of text, {most_lines} is the most; {instead}", lines.len()));
        }
        let mark = usize::from(loaded.recipe.data.marks);
        if let Some((i, ids)) = lines.iter().find(|(_, ids)| ids.len() + mark > most_tokens) {
            let (line, tokens) = (i + 1, ids.len() + mark);
            return refuse(format!("line {line} has {tokens} tokens, {most_tokens} is the most; {instead}"));
        }
        let (weights, million) = (self.weights(form, loaded, lines), 1_000_000);
        if weights > MOST_WEIGHTS {
            return refuse(format!(
                "{} lines of text have about {} million weights, {} million is the most; choose some with --kind, \
                 --layer or --head, or take fewer lines",
                lines.len(),
                weights / million,
                MOST_WEIGHTS / million
            ));
        }
        let layers = match self.kind_in(form) {
            Some(Kind::Encoder) => m.encoder_layers,
            Some(_) => m.decoder_layers,
            None => m.encoder_layers.max(m.decoder_layers),
        };
        match (self.layer, self.head) {
            (Some(n), _) if n == 0 || n > layers => refuse(format!("--layer {n}: there are layers 1 to {layers}")),
            (_, Some(Head::One(n))) if n == 0 || n > m.heads => {
                refuse(format!("--head {n}: there are heads 1 to {}", m.heads))
            }
            _ => Ok(()),
        }
    }

    /// How many weights there will be if translations are as long as what they translate.
    fn weights(&self, form: Form, loaded: &Loaded, lines: &[(usize, &[u32])]) -> usize {
        let Architecture::Transformer(m) = &loaded.network.model else { return 0 };
        let text = form == Form::Text;
        let layers = |kind: &Kind| match (kind, self.layer.is_some() || text) {
            (_, true) => 1,
            (Kind::Encoder, _) => m.encoder_layers,
            _ => m.decoder_layers,
        };
        let kinds = Kind::ALL.into_iter().filter(|k| self.kind_in(form).is_none_or(|kind| kind == *k));
        let heads = if self.head.is_some() || text { 1 } else { m.heads };
        let maps: usize = kinds.map(|kind| layers(&kind) * heads).sum();
        let mark = usize::from(loaded.recipe.data.marks);
        lines.iter().map(|(_, ids)| (ids.len() + mark).pow(2) * maps).sum()
    }

    fn kind_in(&self, form: Form) -> Option<Kind> {
        self.kind.or((form == Form::Text).then_some(Kind::Cross))
    }

    /// Computes the weights of lines, each with its index, its tokens and those of its translation, and writes them.
    pub fn write(&self, loaded: &mut Loaded, lines: &[(usize, &[u32], &[u32])]) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let form = Form::of(file)?;
        let recorder = Recorder::default();
        let mut recorder = if loaded.recipe.data.marks { recorder } else { recorder.unmarked() };
        let mut shown = vec![];
        for &(i, source, mut translation) in lines {
            let most = form.most().1 - usize::from(loaded.recipe.data.marks);
            if translation.len() > most {
                eprintln!("warning: of the translation of line {} the first {most} tokens are shown", i + 1);
                translation = &translation[..most];
            }
            let attention = block_on(recorder.record(&mut loaded.network, source, translation))?;
            shown.push(self.select(form, i + 1, attention, loaded));
        }
        match form {
            Form::Svg => files::write(file, svg::picture(&shown).as_bytes()),
            Form::Html => files::write(file, html::page(&shown).as_bytes()),
            Form::Json => files::write(file, &json(&shown)),
            Form::Text => {
                shown.iter().for_each(|line| eprint!("{}", text::heat_maps(line)));
                Ok(())
            }
        }
    }

    /// The maps that were asked for, with tokens in words.
    fn select(&self, form: Form, line: usize, attention: Attention, loaded: &Loaded) -> Line {
        let words = |by: &Tokenizer, ids: &[u32]| ids.iter().map(|&id| by.token(id)).collect::<Vec<_>>();
        let (from, to) = (loaded.tokenizers.source(), loaded.tokenizers.target());
        let Attention { source, target, next, maps } = attention;
        // What was written is the translation, even where another token is as likely to the last bit.
        let written = [&target[1..], &next[target.len() - 1..]].concat();
        let text = form == Form::Text;
        let kind = self.kind_in(form);
        let head = self.head.or(text.then_some(Head::Mean));
        let last = maps.iter().filter(|m| kind.is_none_or(|kind| kind == m.kind)).map(|m| m.layer).max();
        let layer = self.layer.or(if text { last } else { None });
        let wanted = |m: &Map| kind.is_none_or(|k| k == m.kind) && layer.is_none_or(|l| l == m.layer);
        let maps: Vec<Map> = maps.into_iter().filter(wanted).collect();
        let shown = |m: &Map, head, weights| Shown { kind: m.kind, layer: m.layer, head, weights };
        let maps = match head {
            Some(Head::Mean) => {
                let heads = maps.chunk_by(|a, b| (a.kind, a.layer) == (b.kind, b.layer));
                heads.map(|heads| shown(&heads[0], Head::Mean, mean(heads))).collect()
            }
            _ => {
                let one = |m: &&Map| head.is_none_or(|h| h == Head::One(m.head));
                maps.iter().filter(one).map(|m| shown(m, Head::One(m.head), m.weights.clone())).collect()
            }
        };
        Line { line, source: words(from, &source), target: words(to, &target), written: words(to, &written), maps }
    }
}

fn mean(maps: &[Map]) -> Vec<Vec<f32>> {
    let [rows, columns] = [maps[0].weights.len(), maps[0].weights[0].len()];
    let cell = |r: usize, c: usize| maps.iter().map(|m| m.weights[r][c] as f64).sum::<f64>() / maps.len() as f64;
    (0..rows).map(|r| (0..columns).map(|c| cell(r, c) as f32).collect()).collect()
}

/// An array with an object for each line, every number as exact as it was computed.
fn json(lines: &[Line]) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(lines).expect("plain data");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn json_reads_back_to_the_bit() {
        let weights = vec![vec![0.1, 1.0 / 3.0, f32::MIN_POSITIVE, 0.0], vec![1e-30, 0.999_999_94, 1.0, 1e-45]];
        let head = |head| Shown { kind: Kind::Cross, layer: 2, head, weights: weights.clone() };
        let [source, target, written] = [vec![" \"a\u{1}".to_string()], vec!["<s>".into()], vec!["é</s>".into()]];
        let line = Line { line: 7, source, target, written, maps: vec![head(Head::One(3)), head(Head::Mean)] };
        let read: Value = serde_json::from_slice(&json(&[line])).expect("JSON");
        let line = &read[0];
        assert_eq!((&line["line"], &line["source"][0]), (&7.into(), &" \"a\u{1}".into()));
        assert_eq!((&line["target"][0], &line["written"][0]), (&"<s>".into(), &"é</s>".into()));
        assert_eq!((&line["maps"][0]["head"], &line["maps"][1]["head"]), (&3.into(), &"mean".into()));
        for map in line["maps"].as_array().expect("maps") {
            assert_eq!((&map["kind"], &map["layer"]), (&"cross".into(), &2.into()));
            let again: Vec<Vec<f32>> = serde_json::from_value(map["weights"].clone()).expect("numbers");
            assert_eq!(again, weights);
        }
    }
}
