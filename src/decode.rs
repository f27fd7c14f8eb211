//! Decoding: many lines at once, with cached keys and values. What a line becomes does not depend on the others.
//!
//! Every hypothesis has a row of the caches that it writes to, and a list of the rows in which its ancestors wrote what it
//! has seen so far: nothing is moved when hypotheses branch, end, or leave a batch, which shrinks by powers of two.

mod beam;
mod choose;
mod machine;
mod request;

use crate::error::{Error, Result};
use crate::network::Network;
use crate::text::tokenizer::{BOS, EOS};
use beam::Beam;
use choose::{argmax, log_softmax};
use machine::{Answer, Machine, Row, Wanted, most_rows, padded};

pub use beam::Penalty;
pub use choose::{Rules, Sampling};
pub use request::{End, Line, Options, Search, Translation, Written};

/// The most hypotheses of a batch.
const ROWS: usize = 64;

/// A line that is being written.
#[derive(Clone, Debug)]
struct Hypothesis {
    /// Prompt and what was written.
    tokens: Vec<u32>,
    /// The token at position 0: not the first any more where positions were used up.
    first: usize,
    /// Positions whose keys and values are in the caches.
    cached: usize,
    slot: usize,
    origin: Vec<u32>,
    log_probability: f64,
}

impl Hypothesis {
    fn new(prompt: &[u32], slot: usize) -> Hypothesis {
        let (tokens, origin) = (prompt.to_vec(), vec![]);
        Hypothesis { tokens, first: 0, cached: 0, slot, origin, log_probability: 0.0 }
    }

    /// The next one after a token, written to another row of the caches.
    fn followed_by(&self, token: u32, log_probability: f64, slot: usize) -> Hypothesis {
        let mut next = Hypothesis { slot, log_probability, ..self.clone() };
        next.tokens.push(token);
        next
    }
}

/// Decodes with a network's parameters, whatever they are at the time.
#[derive(Debug, Default)]
pub struct Decoder {
    machine: Machine,
}

/// The lines of a batch while they are decoded.
struct Batch<'a> {
    options: &'a Options,
    prompts: Vec<usize>,
    numbers: Vec<u64>,
    beams: Vec<Beam>,
}

impl Decoder {
    /// A decoder without programs.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Writes lines, each with `options.best` hypotheses, best first, where there is a beam. `watch` sees what a line has
    /// after each token where there is none, and says whether that is enough. Errors: a prompt has no tokens, the device
    /// failed.
    pub async fn write(
        &mut self,
        network: &mut Network,
        lines: &[Line],
        options: &Options,
        mut watch: impl FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<Vec<Written>>> {
        if let Some(i) = lines.iter().position(|l| l.prompt.is_empty()) {
            return Err(Error::Input(format!("line {}: a prompt needs a token", i + 1)));
        }
        let model = &network.model;
        let (most, alone) = (network.positions(), model.is_decoder_only());
        let width = match options.search {
            Search::Beam(width, _) => width,
            _ => 1,
        };
        let length = |i: &usize| (lines[*i].source.len().min(most), lines[*i].prompt.len());
        let mut order: Vec<usize> = (0..lines.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(length(i)));
        let prompt = lines.iter().map(|l| l.prompt.len()).max().unwrap_or(1);
        let end = prompt.saturating_add(options.most).min(most);
        let room = model.cached_positions(end.next_multiple_of(64).min(most));
        let cached = model.cached().into_iter().max().unwrap_or(1);
        let rows = most_rows(network, (room * cached).max(model.vocabulary().target()), ROWS).max(width);
        self.machine.reserve(network, (lines.len() * width).next_power_of_two().min(rows), room);
        let mut all: Vec<Vec<Written>> = vec![vec![]; lines.len()];
        let mut rest = &order[..];
        while !rest.is_empty() {
            // What is read at once: sources, prompts, and half of the positions where they are used up.
            let (source, prompt) = length(&rest[0]);
            let again = if alone && end == most { most / 2 } else { 0 };
            let source = padded(source.max(if alone { prompt.min(most).max(again) } else { 0 }), most);
            let widest = network.model.widest();
            let count = (rows / width).min(most_rows(network, source * widest, ROWS)).clamp(1, rest.len());
            let (batch, after) = rest.split_at(count);
            let chosen: Vec<&Line> = batch.iter().map(|&i| &lines[i]).collect();
            let done = self.batch(network, &chosen, options, |i, tokens| watch(batch[i], tokens)).await?;
            for (&i, done) in batch.iter().zip(done) {
                all[i] = done;
            }
            rest = after;
        }
        Ok(all)
    }

    /// Translates sources (token ids without marks). Those longer than the network has positions for are cut. A model
    /// without an encoder goes on with them. Errors: the device failed.
    pub async fn translate(
        &mut self,
        network: &mut Network,
        sources: &[Vec<u32>],
        t: &Translation,
    ) -> Result<Vec<Vec<Written>>> {
        let numbered: Vec<(u64, &[u32])> = (0..).zip(sources).map(|(i, source)| (i, &source[..])).collect();
        self.translate_numbered(network, &numbered, t).await
    }

    /// Like [`Decoder::translate`], for lines with numbers, which tell their random numbers apart.
    pub async fn translate_numbered(
        &mut self,
        network: &mut Network,
        sources: &[(u64, &[u32])],
        t: &Translation,
    ) -> Result<Vec<Vec<Written>>> {
        let end = t.marks.then_some(EOS);
        let room = network.positions() - usize::from(end.is_some());
        let begin = t.start.or(t.marks.then_some(BOS));
        let alone = network.model.is_decoder_only();
        let line = |&(number, source): &(u64, &[u32])| {
            if alone {
                return Line { source: vec![], prompt: source.iter().copied().chain(begin).collect(), number };
            }
            let source = source[..source.len().min(room)].iter().copied().chain(end).collect();
            Line { source, prompt: vec![begin.expect("a decoder starts somewhere")], number }
        };
        let lines: Vec<Line> = sources.iter().map(line).collect();
        let most = t.longest - usize::from(t.start.is_some());
        let Translation { search, rules, scores, best, .. } = *t;
        let options = Options { search, rules, most, end, scores, best, slide: false };
        let mut written = self.write(network, &lines, &options, |_, _| false).await?;
        if let Some(start) = t.start {
            written.iter_mut().flatten().for_each(|w| w.tokens.insert(0, start));
        }
        Ok(written)
    }

    async fn batch(
        &mut self,
        network: &mut Network,
        lines: &[&Line],
        options: &Options,
        mut watch: impl FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<Vec<Written>>> {
        let most = network.positions();
        let beam = |(i, line): (usize, &&Line)| Beam::new(&line.prompt, i, options);
        let mut batch = Batch {
            options,
            prompts: lines.iter().map(|l| l.prompt.len()).collect(),
            numbers: lines.iter().map(|l| l.number).collect(),
            beams: lines.iter().enumerate().map(beam).collect(),
        };
        if !network.model.is_decoder_only() {
            let read = lines.iter().map(|l| &l.source[..l.source.len().min(most)]);
            let sources: Vec<(usize, &[u32])> = batch.beams.iter().map(|b| b.slot).zip(read).collect();
            self.machine.encode(network, &sources).await?;
        }
        loop {
            batch.end_without_room(network);
            let live = batch.beams.iter().enumerate().filter(|(_, b)| !b.live.is_empty());
            let mut rows: Vec<(usize, &mut Hypothesis)> = vec![];
            let lines: Vec<usize> = live.map(|(line, _)| line).collect();
            for (line, beam) in batch.beams.iter_mut().enumerate() {
                rows.extend(beam.live.iter_mut().map(|h| (line, h)));
            }
            if rows.is_empty() {
                break;
            }
            let greedy = options.search == Search::Greedy && options.rules.are_off() && !options.scores;
            let wanted = if greedy { Wanted::Next } else { Wanted::Logits };
            let answers = self.advance(network, &mut rows, wanted).await?;
            let mut answers = answers.into_iter();
            for line in lines {
                let count = batch.beams[line].live.len();
                batch.choose(line, answers.by_ref().take(count).collect(), &mut watch);
            }
        }
        Ok(batch.beams.into_iter().map(Beam::finish).collect())
    }

    /// What follows the last token of each hypothesis: at once what is not in the caches, else one token.
    async fn advance(
        &mut self,
        network: &mut Network,
        rows: &mut [(usize, &mut Hypothesis)],
        wanted: Wanted,
    ) -> Result<Vec<Next>> {
        let positions = network.positions();
        let alone = network.model.is_decoder_only();
        let mut answers: Vec<Option<Next>> = vec![None; rows.len()];
        let mut anew = vec![];
        for (i, (_, h)) in rows.iter_mut().enumerate() {
            if h.tokens.len() - h.first > positions {
                // Half of the positions are free again; the other half is read at once.
                let keep = if h.cached == 0 { positions } else { (positions / 2).max(1) };
                (h.first, h.cached) = (h.tokens.len() - keep, 0);
            }
            if alone && h.cached == 0 {
                anew.push(i);
            }
        }
        if !anew.is_empty() {
            let texts: Vec<(usize, &[u32])> =
                anew.iter().map(|&i| (rows[i].1.slot, &rows[i].1.tokens[rows[i].1.first..])).collect();
            let answer = self.machine.prefill(network, &texts, wanted).await?;
            for (row, &i) in anew.iter().enumerate() {
                answers[i] = Some(Next::of(&answer, row));
                let h = &mut rows[i].1;
                h.cached = h.tokens.len() - h.first;
                h.origin = vec![h.slot as u32; h.cached];
            }
        }
        let ahead: Vec<usize> = (0..rows.len()).filter(|&i| answers[i].is_none()).collect();
        if !ahead.is_empty() {
            let step = |&i: &usize| {
                let (line, h) = &rows[i];
                let token = h.tokens[h.first + h.cached];
                Row { token, position: h.cached, slot: h.slot, origin: h.origin.clone(), line: *line }
            };
            let steps: Vec<Row> = ahead.iter().map(step).collect();
            let answer = self.machine.step(network, &steps, wanted).await?;
            for (row, &i) in ahead.iter().enumerate() {
                answers[i] = Some(Next::of(&answer, row));
                let h = &mut rows[i].1;
                h.cached += 1;
                h.origin.push(h.slot as u32);
            }
        }
        Ok(answers.into_iter().map(|a| a.expect("a row is read at once or ahead")).collect())
    }
}

/// What a program says of a row.
#[derive(Clone, Debug)]
enum Next {
    Token(u32),
    Logits(Vec<f64>),
}

impl Next {
    fn of(answer: &Answer, row: usize) -> Next {
        match answer {
            Answer::Next(tokens) => Next::Token(tokens[row]),
            Answer::Logits(logits) => {
                let v = logits.ty().cols();
                Next::Logits(logits.as_f32()[row * v..][..v].iter().map(|&l| l as f64).collect())
            }
        }
    }
}

impl Batch<'_> {
    /// Lines that may not slide end where there are no more positions; a prompt that is longer has been cut.
    fn end_without_room(&mut self, network: &Network) {
        if self.options.slide {
            return;
        }
        for (beam, prompt) in self.beams.iter_mut().zip(&self.prompts) {
            if beam.live.first().is_some_and(|h| h.cached >= network.positions()) {
                beam.end_all(*prompt, End::Positions);
            }
        }
    }

    /// Goes on with the hypotheses of a line, whose next tokens are these.
    fn choose(&mut self, line: usize, next: Vec<Next>, watch: &mut impl FnMut(usize, &[u32]) -> bool) {
        let (options, prompt) = (self.options, self.prompts[line]);
        let beam = &mut self.beams[line];
        if let Search::Beam(..) = options.search {
            let logits = next.into_iter().map(|next| match next {
                Next::Logits(logits) => logits,
                Next::Token(_) => unreachable!("beams ask for logits"),
            });
            return beam.branch(options, prompt, logits.collect());
        }
        let h = &mut beam.live[0];
        let token = match next.into_iter().next().expect("one hypothesis") {
            Next::Token(token) => token,
            Next::Logits(mut logits) => {
                let mut plain = logits.clone();
                options.rules.apply(&h.tokens, &mut logits);
                if logits.iter().all(|l| *l == f64::NEG_INFINITY) {
                    return beam.end_all(prompt, End::Forbidden);
                }
                let token = match options.search {
                    Search::Sample(sampling) => {
                        let step = (h.tokens.len() - prompt) as u64;
                        sampling.draw(&logits, self.numbers[line], step)
                    }
                    _ => argmax(&logits),
                };
                log_softmax(&mut plain);
                h.log_probability += plain[token];
                token as u32
            }
        };
        if options.end == Some(token) {
            return beam.end_all(prompt, End::Token);
        }
        h.tokens.push(token);
        let written = &h.tokens[prompt..];
        let enough = written.len() >= options.most;
        if watch(line, written) {
            beam.end_all(prompt, End::Stopped);
        } else if enough {
            beam.end_all(prompt, End::Length);
        }
    }
}
