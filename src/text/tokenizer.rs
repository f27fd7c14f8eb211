//! Text to token ids and back, in the `tokenizer.json` format of Hugging Face `tokenizers`.
//!
//! Two kinds: byte pair encoding (Sennrich et al., 2016; on bytes, as in GPT-2), which can write every string, and
//! single characters. Neither adds special tokens, and neither reads them: `</s>` in a text is four characters, so no
//! text can end a sentence early. [`batch`](super::batch) adds the specials.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use tokenizers::decoders::fuse::Fuse;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    Trainer,
};

use crate::error::{Error, Result};

/// Id of `<pad>`, which fills a row behind its last token.
pub const PAD: u32 = 0;
/// Id of `<s>`, which the decoder reads before the first token.
pub const BOS: u32 = 1;
/// Id of `</s>`, which ends every sentence.
pub const EOS: u32 = 2;
/// Id of `<unk>`, a character that [`Kind::Char`] has not seen in training.
pub const UNK: u32 = 3;

/// The special tokens in the order of their ids.
const SPECIALS: [&str; 4] = ["<pad>", "<s>", "</s>", "<unk>"];

/// Every character of its own, line ends included, which `.` would leave out.
const EVERY_CHARACTER: &str = r"[\s\S]";

/// How text is cut into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Byte pair encoding on the bytes of UTF-8, within words: every string has tokens, and they give it back.
    Bpe,
    /// One token per Unicode character; characters not seen in training are [`UNK`].
    Char,
}

/// A learned vocabulary with the rules that cut text into its tokens.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    kind: Kind,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Learns at most `vocab_size` tokens, the four specials included, from `lines`. The same lines give the same
    /// tokenizer, byte for byte, whatever their order.
    ///
    /// BPE merges the most frequent pair until the vocabulary is full or no pair occurs twice; `Char` keeps the most
    /// frequent characters. Ties go to the smaller ids and the smaller code points.
    pub fn learn<'a>(kind: Kind, vocab_size: usize, lines: impl Iterator<Item = &'a str>) -> Result<Self> {
        let (unit, units) = match kind {
            Kind::Bpe => ("bytes", ByteLevel::alphabet().len()),
            Kind::Char => ("character", 1),
        };
        let least = SPECIALS.len() + units;
        if vocab_size < least {
            return Err(Error::Input(format!(
                "vocab_size = {vocab_size} is too small: it must be at least {least} (4 specials and {units} {unit})"
            )));
        }
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return Err(Error::Input("there is no text to learn a vocabulary from".into()));
        }
        Ok(match kind {
            Kind::Bpe => Self::assemble(kind, learn_bpe(vocab_size, lines)),
            Kind::Char => Self::assemble(kind, learn_characters(vocab_size, &lines)),
        })
    }

    /// Puts the pipeline of `kind` around a model whose first four tokens are the specials.
    fn assemble(kind: Kind, model: impl Into<ModelWrapper>) -> Self {
        let mut inner = tokenizers::Tokenizer::new(model);
        match kind {
            Kind::Bpe => inner.with_pre_tokenizer(Some(byte_level())).with_decoder(Some(byte_level())),
            Kind::Char => {
                let pattern = SplitPattern::Regex(EVERY_CHARACTER.into());
                let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("a valid pattern");
                inner.with_pre_tokenizer(Some(split)).with_decoder(Some(Fuse::new()))
            }
        };
        let specials = SPECIALS.map(|token| AddedToken::from(token, true));
        inner.add_special_tokens(specials).expect("the specials are distinct");
        // Misnamed in the crate: true means that the text of a special token is encoded like any other text.
        inner.set_encode_special_tokens(true);
        Self { kind, inner }
    }

    /// Reads what [`to_json`](Self::to_json) wrote; `file` is its name for messages.
    ///
    /// A `tokenizer.json` of another making is refused: ids with holes would index past the embedding, and a foreign
    /// pipeline could produce special tokens from text or lose some of it.
    pub fn from_json(file: &str, text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).map_err(|error| Error::Input(format!("{file}: {error}")))?;
        read(&json).map_err(|what| Error::Input(format!("{file}: not a tokenizer that seqloom wrote: {what}")))
    }

    /// The `tokenizer.json`, which Hugging Face `tokenizers` opens and which gives the same ids there, but for the text
    /// of special tokens: that is plain text there only with `encode_special_tokens = True`.
    pub fn to_json(&self) -> String {
        self.inner.to_string(true).expect("a tokenizer is plain data")
    }

    /// The `tokenizer_config.json` beside it, which `transformers.AutoTokenizer` needs. The longest input is the
    /// model's matter, so none is set here (10³⁰ is how that library writes "no limit").
    pub fn config_json(&self) -> String {
        let [pad, bos, eos, unk] = SPECIALS;
        let config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": bos,
            "eos_token": eos,
            "pad_token": pad,
            "unk_token": unk,
            "model_max_length": 1e30,
            "clean_up_tokenization_spaces": false,
        });
        format!("{config:#}\n")
    }

    /// The ids of `text`: no specials are added, and none but [`UNK`] comes out.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.inner.encode_fast(text, false).expect("either kind has a token for everything").get_ids().to_vec()
    }

    /// The text of `ids`. Specials and ids outside the vocabulary are skipped; bytes that are not UTF-8, which only a
    /// model can put together, become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).expect("either kind joins any tokens")
    }

    /// One token for display, such as `" sui"` or `"<pad>"`; the bytes of a piece of a character read `<0xC3>`, an id
    /// outside the vocabulary the empty string.
    pub fn token(&self, id: u32) -> String {
        let text = self.inner.decode(&[id], false).expect("either kind joins any tokens");
        match (self.kind, self.inner.id_to_token(id)) {
            (Kind::Bpe, Some(token)) if text.contains('\u{fffd}') => {
                let bytes: Vec<u8> = token.chars().map(byte).collect();
                let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("<0x{b:02X}>")).collect::<String>();
                bytes.utf8_chunks().map(|c| c.valid().to_owned() + &hex(c.invalid())).collect()
            }
            _ => text,
        }
    }

    /// Number of tokens: every id is smaller. At most what [`learn`](Self::learn) was asked for.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// How this tokenizer cuts text.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// GPT-2's cut into words, without a space put before the first, which decoding could not take back.
fn byte_level() -> ByteLevel {
    ByteLevel::default().add_prefix_space(false)
}

/// The byte that a character of the byte-level alphabet stands for: printable ones of Latin-1 for themselves, the
/// characters from U+0100 on for the other bytes in ascending order.
fn byte(character: char) -> u8 {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u8::try_from(character) {
        Ok(byte) => byte,
        Err(_) => (0..=255).filter(|b| !printable(b)).nth(character as usize - 256).expect("68 bytes, 68 characters"),
    }
}

fn learn_bpe(vocab_size: usize, lines: Vec<&str>) -> BPE {
    // The trainer reserves what it is asked for, and each merge needs a byte that was not merged before.
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let alphabet = ByteLevel::alphabet();
    let most = SPECIALS.len() + alphabet.len() + bytes;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size.min(most))
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(SPECIALS.map(|token| AddedToken::from(token, true)).to_vec())
        .initial_alphabet(alphabet.into_iter().collect())
        .build();
    let words = |line: &str| {
        let mut pieces = PreTokenizedString::from(line);
        byte_level().pre_tokenize(&mut pieces)?;
        let words = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Ok(words.into_iter().map(|(word, ..)| word.to_owned()).collect())
    };
    let mut model = BPE::default();
    trainer.feed(lines.into_iter(), words).expect("every text has words");
    trainer.train(&mut model).expect("words were fed");
    model
}

fn learn_characters(vocab_size: usize, lines: &[&str]) -> WordLevel {
    let mut counts = BTreeMap::<char, u64>::new();
    for character in lines.iter().flat_map(|line| line.chars()) {
        *counts.entry(character).or_default() += 1;
    }
    let mut kept: Vec<(char, u64)> = counts.into_iter().collect();
    // Stable, so that equally frequent characters stay in the order of their code points.
    kept.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    kept.truncate(vocab_size - SPECIALS.len());
    kept.sort_unstable();
    let tokens = SPECIALS.map(str::to_owned).into_iter().chain(kept.into_iter().map(|(c, _)| c.to_string()));
    let vocab = tokens.zip(0..).collect();
    WordLevel::builder().vocab(vocab).unk_token(SPECIALS[UNK as usize].into()).build().expect("no file to read")
}

/// The tokenizer in `json`, or what is wrong with it.
fn read(json: &Value) -> std::result::Result<Tokenizer, String> {
    let kind = match json["model"]["type"].as_str() {
        Some("BPE") => Kind::Bpe,
        Some("WordLevel") => Kind::Char,
        _ => return Err("model.type is neither \"BPE\" nor \"WordLevel\"".into()),
    };
    let vocab = vocabulary(&json["model"]["vocab"])?;
    if !SPECIALS.iter().zip(0..).all(|(&token, id)| vocab.get(token) == Some(&id)) {
        return Err(format!("tokens 0 to 3 are not {}", SPECIALS.join(" ")));
    }
    match kind {
        Kind::Bpe => check_merges(&vocab, &json["model"]["merges"])?,
        Kind::Char if vocab.iter().any(|(token, &id)| id > UNK && token.chars().count() != 1) => {
            return Err("a token is not one character".into());
        }
        Kind::Char => {}
    }
    // Only the vocabulary and the merges are taken from the file; comparing what comes of them with the whole file
    // finds every option of the model, such as a dropout, that would change the tokens.
    let (name, unknown) = match kind {
        Kind::Bpe => ("BPE", None),
        Kind::Char => ("WordLevel", Some(SPECIALS[UNK as usize])),
    };
    let (vocab, merges) = (&json["model"]["vocab"], &json["model"]["merges"]);
    let model = json!({ "type": name, "unk_token": unknown, "vocab": vocab, "merges": merges });
    let model: ModelWrapper = serde_json::from_value(model).map_err(|error| error.to_string())?;
    let tokenizer = Tokenizer::assemble(kind, model);
    let ours: Value = serde_json::from_str(&tokenizer.to_json()).expect("what was just written");
    // Truncation, padding and post-processing may differ: they are done elsewhere, and this file's are not used.
    let parts = ["/added_tokens", "/normalizer", "/pre_tokenizer", "/decoder", "/model"];
    match parts.iter().find(|part| json.pointer(part) != ours.pointer(part)) {
        Some(part) => Err(format!("its {} differs from ours", &part[1..])),
        None => Ok(tokenizer),
    }
}

/// Token to id; the ids are 0, 1, 2, … without holes.
fn vocabulary(json: &Value) -> std::result::Result<HashMap<&str, u32>, String> {
    let tokens = json.as_object().ok_or("model.vocab is missing")?;
    let mut seen = vec![false; tokens.len()];
    let mut vocab = HashMap::with_capacity(tokens.len());
    for (token, id) in tokens {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        match id.and_then(|id| Some((id, seen.get_mut(id as usize)?))) {
            Some((id, seen)) if !*seen => {
                *seen = true;
                vocab.insert(token.as_str(), id);
            }
            _ => return Err(format!("the ids in model.vocab are not 0 to {}", tokens.len() - 1)),
        }
    }
    Ok(vocab)
}

/// Every byte has a token, and every merge joins two plain tokens into a third: the crate takes the first for granted
/// and panics on some merges that break the second.
fn check_merges(vocab: &HashMap<&str, u32>, merges: &Value) -> std::result::Result<(), String> {
    let plain = |token: &str| vocab.get(token).is_some_and(|&id| id > UNK);
    if !ByteLevel::alphabet().iter().all(|byte| plain(byte.encode_utf8(&mut [0; 4]))) {
        return Err("model.vocab lacks a byte".into());
    }
    for merge in merges.as_array().ok_or("model.merges is missing")? {
        let pair = merge.as_array().map(Vec::as_slice);
        let Some([Value::String(left), Value::String(right)]) = pair else {
            return Err("an entry of model.merges is not a pair of tokens".into());
        };
        if !(plain(left) && plain(right) && plain(&format!("{left}{right}"))) {
            return Err("an entry of model.merges has a token that model.vocab lacks".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
