//! Text to token ids and back, in the `tokenizer.json` format of Hugging Face `tokenizers`.
//!
//! Three kinds: byte pair encoding (Sennrich et al., 2016; on bytes, as in GPT-2), which can write every string; single
//! characters; and words with their punctuation split off. None adds special tokens, and none that was learned here reads
//! them: `</s>` in a text is text, so no text can end a sentence early. [`batch`](super::batch) adds the specials. GPT-2's own
//! tokenizer is read, too, which has one special token, and which finds it in texts: [`Specials`].

mod chunks;
mod gpt2;
mod learn;
mod read;
mod specials;

use serde_json::{Value, json};
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::decoders::wordpiece::WordPiece;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::utils::Lowercase;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::lexicon::Lexicon;
use crate::error::{Error, Result, shorten};
use crate::models::Vocabulary;
pub use chunks::Chunks;
use specials::SPECIALS;

pub use specials::Specials;

/// Id of `<pad>`, which fills a row behind its last token. Where it is another token that does no harm: no length counts it.
pub const PAD: u32 = 0;
/// Id of `<s>`, which the decoder reads before the first token, where there are [`Specials::Marks`].
pub const BOS: u32 = 1;
/// Id of `</s>`, which ends every sentence, where there are [`Specials::Marks`].
pub const EOS: u32 = 2;
/// Id of `<unk>`, a character or word that the vocabulary of [`Kind::Char`] or [`Kind::Word`] lacks; words have numbers
/// of their own where the tokenizer is [open](Tokenizer::open).
pub const UNK: u32 = 3;

/// What is wrong with files that are neither.
const REFUSED: &str = "neither a tokenizer that seqloom wrote nor one like GPT-2's";

/// Every character of its own, line ends included, which `.` would leave out.
const EVERY_CHARACTER: &str = r"[\s\S]";

/// The spaces between words that decoding takes away, as a regular expression: before what closes, after what opens,
/// around hyphens, apostrophes and slashes, and within numbers such as 2.5, 1,000 and 10:30. Which side a quotation mark
/// belongs to differs between languages; those keep both spaces.
pub const NO_SPACE: &str = r" (?=[.,;:!?…%)\]}'’/-])|(?<=[(\[{¿¡'’/-]) |(?<=[0-9] [.,:]) (?=[0-9])";

/// How text is cut into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Byte pair encoding on the bytes of UTF-8, within words: every string has tokens, and they give it back.
    Bpe,
    /// One token per Unicode character; characters not seen in training are [`UNK`].
    Char,
    /// What white space and punctuation separate, and each punctuation mark of its own; words that the vocabulary lacks
    /// are [`UNK`].
    ///
    /// Text does not come back whole: white space becomes single spaces, unknown words are lost, and the spaces around
    /// punctuation follow one rule, [`NO_SPACE`], which gives ordinary sentences back (`don't`, `l'école (rouge), 2.5
    /// km/h.`) but not a space before a colon or around a hyphen.
    Word,
}

/// How a vocabulary is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a token is.
    pub kind: Kind,
    /// Most tokens, the four specials included.
    pub vocab_size: usize,
    /// Text is lower-cased, in learning and whenever it is encoded: capitals are lost.
    pub lowercase: bool,
    /// How often a word or character must occur to be a token, and a pair of tokens to be merged, at least twice then.
    pub min_frequency: u64,
}

impl Rules {
    /// Of this kind and size, with capitals, however rare a word is.
    pub fn new(kind: Kind, vocab_size: usize) -> Rules {
        Rules { kind, vocab_size, lowercase: false, min_frequency: 1 }
    }
}

/// A learned vocabulary with the rules that cut text into its tokens.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    kind: Kind,
    specials: Specials,
    lowercase: bool,
    /// Where words that the vocabulary lacks get numbers, if they do.
    lexicon: Option<Lexicon>,
    inner: Box<tokenizers::Tokenizer>,
}

impl Tokenizer {
    /// Learns a vocabulary from `lines`. The same lines give the same tokenizer, byte for byte, whatever their order.
    ///
    /// BPE merges the most frequent pair until the vocabulary is full or no pair is frequent enough; `Char` and `Word`
    /// keep the most frequent characters and words. Ties go to the smaller ids and to what sorts first. Errors: no
    /// text, or a vocabulary that would have nothing but specials.
    pub fn learn<'a>(rules: &Rules, lines: impl Iterator<Item = &'a str>) -> Result<Self> {
        Ok(Self::assemble(rules.kind, Specials::Marks, rules.lowercase, learn::model(rules, lines)?))
    }

    /// Puts the pipeline of `kind` around a model that has these specials where they say.
    fn assemble(kind: Kind, specials: Specials, lowercase: bool, model: impl Into<ModelWrapper>) -> Self {
        let mut inner = Box::new(tokenizers::Tokenizer::new(model));
        inner.with_normalizer(lowercase.then_some(Lowercase)).expect("no added token is normalized");
        inner.with_pre_tokenizer(Some(pre_tokenizer(kind))).with_decoder(Some(decoder(kind)));
        if specials == Specials::Marks {
            inner.with_post_processor(Some(ends_with_eos()));
        }
        let tokens: Vec<AddedToken> = specials.texts().iter().map(|token| AddedToken::from(*token, true)).collect();
        inner.add_special_tokens(tokens).expect("the specials are distinct");
        // Misnamed in the crate: true means that the text of a special token is encoded like any other text.
        inner.set_encode_special_tokens(specials == Specials::Marks);
        Self { kind, specials, lowercase, lexicon: None, inner }
    }

    /// Reads what [`to_json`](Self::to_json) wrote, or GPT-2's own; `file` is its name for messages.
    ///
    /// A `tokenizer.json` of another making is refused: ids with holes would index past the embedding, and a foreign
    /// pipeline could produce special tokens from text or lose some of it.
    pub fn from_json(file: &str, text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).map_err(|error| Error::Input(format!("{file}: {error}")))?;
        read::tokenizer(&json).map_err(|what| Error::Input(format!("{file}: {REFUSED}: {}", shorten(&what, 200))))
    }

    /// Reads GPT-2's `vocab.json` and `merges.txt`, each its name for messages and its text; `<|endoftext|>` comes
    /// behind the others where the former lacks it. Errors: they are not that, or go with no tokenizer like GPT-2's.
    pub fn from_vocab_and_merges(vocab: (&str, &str), merges: (&str, &str)) -> Result<Self> {
        let json = gpt2::from_files(vocab, merges).map_err(Error::Input)?;
        read::tokenizer(&json).map_err(|what| Error::Input(format!("{} with {}: {REFUSED}: {what}", vocab.0, merges.0)))
    }

    /// The `tokenizer.json`, which Hugging Face `tokenizers` opens and which gives the same ids there, but for the text
    /// of marks: that is plain text there only with `encode_special_tokens = True`. Where special tokens are asked for, it
    /// adds the `</s>` that [`batch`](super::batch) adds here.
    pub fn to_json(&self) -> String {
        self.inner.to_string(true).expect("a tokenizer is plain data")
    }

    /// The same for a model of sequences without `<s>` and `</s>`: nothing is ever added.
    pub fn to_json_without_marks(&self) -> String {
        let mut inner = self.inner.clone();
        inner.with_post_processor(None::<TemplateProcessing>);
        inner.to_string(true).expect("a tokenizer is plain data")
    }

    /// The `tokenizer_config.json` beside it, which `transformers.AutoTokenizer` needs. The longest input is the
    /// model's matter, so none is set here (10³⁰ is how that library writes "no limit").
    pub fn config_json(&self) -> String {
        if let [end] = self.specials.texts() {
            let config = json!({
                "tokenizer_class": "GPT2Tokenizer",
                "bos_token": end,
                "eos_token": end,
                // Of the class: nothing is unknown.
                "unk_token": end,
                "add_prefix_space": false,
                "model_max_length": 1e30,
                "clean_up_tokenization_spaces": false,
            });
            return format!("{config:#}\n");
        }
        let [pad, bos, eos, unk] = SPECIALS;
        let config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": bos,
            "eos_token": eos,
            "pad_token": pad,
            "unk_token": unk,
            "model_max_length": 1e30,
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": false,
            // The text of a special token is plain text there too.
            "split_special_tokens": true,
        });
        format!("{config:#}\n")
    }

    /// The ids of `text`: no specials are added, and none comes out but [`UNK`], or `<|endoftext|>` where it is written.
    /// Where the tokenizer is [open](Tokenizer::open), words have numbers beyond the vocabulary instead of [`UNK`].
    pub fn encode(&self, text: &str) -> Vec<u32> {
        const EVERYTHING: &str = "every kind has a token for everything";
        let Some(lexicon) = &self.lexicon else {
            return self.inner.encode_fast(text, false).expect(EVERYTHING).get_ids().to_vec();
        };
        let encoded = self.inner.encode(text, false).expect(EVERYTHING);
        let tokens = encoded.get_ids().iter().zip(encoded.get_offsets());
        let number = |(&id, &(from, to)): (&u32, &(usize, usize))| match text.get(from..to) {
            Some(word) if Some(id) == self.specials.unk() => lexicon.number(&self.folded(word)),
            _ => id,
        };
        tokens.map(number).collect()
    }

    /// From now on words that the vocabulary lacks are not [`UNK`] but have numbers, from [`vocab_size`](Self::vocab_size)
    /// on, for a model that reads how words are spelled. Clones number them alike.
    #[must_use]
    pub fn open(mut self) -> Self {
        let words = (0..self.vocab_size()).map(|id| self.token(id as u32)).collect();
        self.lexicon = Some(Lexicon::new(words));
        self
    }

    /// Its words by id, and those beyond, after [`open`](Self::open).
    pub fn lexicon(&self) -> Option<&Lexicon> {
        self.lexicon.as_ref()
    }

    /// A text without the capitals that this tokenizer does not know. Character by character, as the library does it: at
    /// the end of a word `str::to_lowercase` has another sigma.
    pub fn folded(&self, text: &str) -> String {
        if self.lowercase { text.chars().flat_map(char::to_lowercase).collect() } else { text.into() }
    }

    /// The ids of a long text, [`Chunks`] by chunk: no token reaches over the end of a line. With GPT-2's tokenizer, of which some
    /// do, they are those of [`encode`](Self::encode).
    pub fn encode_text(&self, text: &str) -> Vec<u32> {
        match self.specials {
            Specials::Marks => Chunks::new(text).flat_map(|chunk| self.encode(chunk)).collect(),
            Specials::EndOfText(_) => gpt2::parts(text).flat_map(|part| self.encode(part)).collect(),
        }
    }

    /// The text of `ids`. Specials and ids outside the vocabulary are skipped; bytes that are not UTF-8, which only a
    /// model can put together, become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).expect("every kind joins any tokens")
    }

    /// One token for display, such as `" sui"` or `"<pad>"`; the bytes of a piece of a character read `<0xC3>`, an id
    /// that stands for nothing the empty string.
    pub fn token(&self, id: u32) -> String {
        if let Some(word) = self.lexicon.as_ref().and_then(|lexicon| lexicon.word(id)) {
            return word;
        }
        let text = self.inner.decode(&[id], false).expect("every kind joins any tokens");
        if self.kind != Kind::Bpe || !text.contains('\u{fffd}') {
            return text;
        }
        let token = self.inner.id_to_token(id).expect("it was just decoded");
        // A token that was added to the file by hand may hold any characters.
        let Some(bytes) = token.chars().map(byte).collect::<Option<Vec<u8>>>() else { return text };
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("<0x{b:02X}>")).collect::<String>();
        bytes.utf8_chunks().map(|c| c.valid().to_owned() + &hex(c.invalid())).collect()
    }

    /// Number of tokens: every id of the vocabulary is smaller. At most what [`learn`](Self::learn) was asked for.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The special tokens.
    pub fn specials(&self) -> Specials {
        self.specials
    }

    /// How this tokenizer cuts text.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it knows no capitals.
    pub fn lowercase(&self) -> bool {
        self.lowercase
    }
}

/// The tokenizers of the two sides of a pair.
#[derive(Clone, Debug)]
pub enum Tokenizers {
    /// One for both sides.
    Shared(Tokenizer),
    /// One for each side.
    Separate {
        /// Of the source.
        source: Tokenizer,
        /// Of the target.
        target: Tokenizer,
    },
}

impl Tokenizers {
    /// The tokenizer of the source.
    pub fn source(&self) -> &Tokenizer {
        match self {
            Tokenizers::Shared(tokenizer) => tokenizer,
            Tokenizers::Separate { source, .. } => source,
        }
    }

    /// The tokenizer of the target.
    pub fn target(&self) -> &Tokenizer {
        match self {
            Tokenizers::Shared(tokenizer) => tokenizer,
            Tokenizers::Separate { target, .. } => target,
        }
    }

    /// Words that the source's vocabulary lacks have numbers of their own, see [`Tokenizer::open`]. A shared one stays
    /// closed, since it is the target's, too: a recipe refuses to read words with it.
    #[must_use]
    pub fn open(self) -> Tokenizers {
        match self {
            Tokenizers::Shared(_) => self,
            Tokenizers::Separate { source, target } => Tokenizers::Separate { source: source.open(), target },
        }
    }

    /// How many tokens each side has.
    pub fn vocabulary(&self) -> Vocabulary {
        match self {
            Tokenizers::Shared(tokenizer) => Vocabulary::Shared(tokenizer.vocab_size()),
            Tokenizers::Separate { source, target } => {
                Vocabulary::Separate { source: source.vocab_size(), target: target.vocab_size() }
            }
        }
    }
}

/// What programs that ask a tokenizer for special tokens get: the `</s>` that [`batch`](super::batch) adds here.
fn ends_with_eos() -> TemplateProcessing {
    let eos = SPECIALS[EOS as usize];
    let (single, pair) = (format!("$A {eos}"), format!("$A:0 $B:0 {eos}:0"));
    let mut template = TemplateProcessing::builder();
    template.try_single(single.as_str()).and_then(|t| t.try_pair(pair.as_str())).expect("templates");
    template.special_tokens(vec![(eos, EOS)]).build().expect("every special of the templates has an id")
}

/// GPT-2's cut into words, without a space put before the first, which decoding could not take back.
fn byte_level() -> ByteLevel {
    ByteLevel::default().add_prefix_space(false)
}

/// The byte that a character of the byte-level alphabet stands for: printable ones of Latin-1 for themselves, the
/// characters from U+0100 on for the other bytes in ascending order.
fn byte(character: char) -> Option<u8> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u8::try_from(character) {
        Ok(byte) => Some(byte),
        Err(_) => (0..=255).filter(|b| !printable(b)).nth(character as usize - 256),
    }
}

fn pre_tokenizer(kind: Kind) -> PreTokenizerWrapper {
    match kind {
        Kind::Bpe => byte_level().into(),
        Kind::Char => {
            let pattern = SplitPattern::Regex(EVERY_CHARACTER.into());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("a valid pattern").into()
        }
        Kind::Word => BertPreTokenizer.into(),
    }
}

fn decoder(kind: Kind) -> DecoderWrapper {
    match kind {
        Kind::Bpe => byte_level().into(),
        Kind::Char => Fuse::new().into(),
        Kind::Word => {
            // No word starts with the prefix, two punctuation marks: a space comes before every token but the first.
            let spaces = WordPiece::new("##".into(), false);
            let glue = Replace::new(ReplacePattern::Regex(NO_SPACE.into()), "").expect("a valid pattern");
            Sequence::new(vec![spaces.into(), Fuse::new().into(), glue.into()]).into()
        }
    }
}

#[cfg(test)]
mod tests;
