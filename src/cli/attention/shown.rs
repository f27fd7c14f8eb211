//! What is shown of an attention: the chosen maps, with tokens as people read them.

use super::Subject;
use seqloom::attention::{Attention, Kind, Map};
use seqloom::text::tokenizer::Tokenizer;
use serde::{Serialize, Serializer};

/// One head, from 1, or the mean of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
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
pub struct Shown {
    pub kind: Kind,
    pub layer: usize,
    pub head: Head,
    pub weights: Vec<Vec<f32>>,
}

impl Shown {
    pub fn title(&self) -> String {
        match self.head {
            Head::One(head) => format!("layer {}, head {head}", self.layer),
            Head::Mean => format!("layer {}, mean of the heads", self.layer),
        }
    }
}

/// A line of the input, or a text, with its tokens as people read them.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Its number, from 1.
    pub line: usize,
    /// What the encoder read; nothing where there is none.
    pub source: Vec<String>,
    /// What the decoder read.
    pub target: Vec<String>,
    /// What stood behind each token of `target`; behind the last one, what is most likely to.
    pub written: Vec<String>,
    /// How many of `target` the decoder was given: what follows is its own.
    pub given: usize,
    /// Tokens of the text before `target`, which the model no longer saw.
    pub dropped: usize,
    pub maps: Vec<Shown>,
}

impl Line {
    /// The tokens of the rows and of the columns. Encoder–decoder attention chooses what to write next, so its rows
    /// are named after that.
    pub fn sides(&self, kind: Kind) -> (&[String], &[String]) {
        match kind {
            Kind::Encoder => (&self.source, &self.source),
            Kind::Decoder => (&self.target, &self.target),
            Kind::Cross => (&self.written, &self.source),
        }
    }

    /// Its number, and where in it the maps begin.
    pub fn name(&self) -> String {
        match self.dropped {
            0 => format!("line {}", self.line),
            dropped => format!("line {} from token {} on", self.line, dropped + 1),
        }
    }

    /// Whether source, where there is one, and target are one text.
    pub fn is_one_text(&self) -> bool {
        self.source.is_empty()
    }

    /// What a kind is called, and what its rows and columns are.
    pub fn heading(&self, kind: Kind) -> [&'static str; 2] {
        match kind {
            Kind::Encoder => ["Encoder self-attention", "source looks at source"],
            Kind::Decoder if self.is_one_text() => ["Decoder self-attention", "text looks at text"],
            Kind::Decoder => ["Decoder self-attention", "target looks at target"],
            Kind::Cross => ["Encoder–decoder attention", "what is written looks at source"],
        }
    }
}

/// Which maps are wanted; all of what is not said.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub kind: Option<Kind>,
    pub layer: Option<usize>,
    pub head: Option<Head>,
}

impl Choice {
    /// The maps that were asked for, with tokens in words.
    pub fn of(self, line: usize, given: usize, attention: Attention, subject: &Subject) -> Line {
        let words = |by: &Tokenizer, ids: &[u32]| ids.iter().map(|&id| by.token(id)).collect::<Vec<_>>();
        let [from, to] = subject.tokenizers;
        let Attention { source, target, next, dropped, maps } = attention;
        // What was written is the translation, even where another token is as likely to the last bit.
        let written = [&target[1..], &next[target.len() - 1..]].concat();
        let wanted = |m: &Map| self.kind.is_none_or(|k| k == m.kind) && self.layer.is_none_or(|l| l == m.layer);
        let maps: Vec<Map> = maps.into_iter().filter(wanted).collect();
        let shown = |m: &Map, head, weights| Shown { kind: m.kind, layer: m.layer, head, weights };
        let maps = match self.head {
            Some(Head::Mean) => {
                let heads = maps.chunk_by(|a, b| (a.kind, a.layer) == (b.kind, b.layer));
                heads.map(|heads| shown(&heads[0], Head::Mean, mean(heads))).collect()
            }
            _ => {
                let one = |m: &&Map| self.head.is_none_or(|h| h == Head::One(m.head));
                maps.iter().filter(one).map(|m| shown(m, Head::One(m.head), m.weights.clone())).collect()
            }
        };
        let (source, target, written) = (words(from, &source), words(to, &target), words(to, &written));
        Line { line, source, target, written, given, dropped, maps }
    }
}

fn mean(maps: &[Map]) -> Vec<Vec<f32>> {
    let [rows, columns] = [maps[0].weights.len(), maps[0].weights[0].len()];
    let cell = |r: usize, c: usize| maps.iter().map(|m| m.weights[r][c] as f64).sum::<f64>() / maps.len() as f64;
    (0..rows).map(|r| (0..columns).map(|c| cell(r, c) as f32).collect()).collect()
}

/// An array with an object for each line, every number as exact as it was computed.
pub fn json(lines: &[Line]) -> Vec<u8> {
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
        let maps = vec![head(Head::One(3)), head(Head::Mean)];
        let line = Line { line: 7, source, target, written, given: 1, dropped: 0, maps };
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
