//! From what transformers wrote to a run.

use super::tensors::are_positions;
use super::{Class, NORM_EPS, gpt2, parameters};
use crate::error::{self, Error, Result};
use crate::models::{Architecture, Vocabulary};
use crate::recipe::{ModelKind, Norm, Positions, Recipe, TokenizerKind};
use crate::tensor::Tensor;
use crate::text::tokenizer::{BOS, EOS, Kind, PAD, Specials, Tokenizers};
use serde_json::{Value, json};

/// What the configuration of a Marian, Pegasus or GPT-2 directory says.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Model and lengths; the keys of data and training keep their defaults, since nothing says what they were.
    pub recipe: Recipe,
    /// What the run will not keep, for people.
    pub notes: Vec<String>,
    file: String,
    /// Source and target.
    vocabularies: [usize; 2],
    one_vocabulary: bool,
    /// What the decoder starts with.
    start: u32,
    /// What texts end with; nothing where that is not said.
    end: Value,
    /// What seqloom noted there about positions, biases and marks, should it have written the file.
    noted: Value,
}

/// A `config.json`, with the defaults of its class for what it leaves out.
struct Config<'a> {
    file: &'a str,
    json: Value,
    class: Class,
}

impl Config<'_> {
    fn get(&self, key: &str) -> &Value {
        self.json.get(key).unwrap_or(&Value::Null)
    }

    fn fail<T>(&self, key: &str, what: &str) -> Result<T> {
        Err(Error::Input(format!("{}: {key} is {}, {what}", self.file, shorten(self.get(key)))))
    }

    fn flag(&self, key: &str) -> Result<bool> {
        self.get(key).as_bool().map_or_else(|| self.fail(key, "expected true or false"), Ok)
    }

    fn whole(&self, key: &str) -> Result<usize> {
        let number = self.get(key).as_u64().and_then(|n| usize::try_from(n).ok());
        number.map_or_else(|| self.fail(key, "expected a whole number"), Ok)
    }

    /// Sets a key of the recipe, which knows what it may be.
    fn set(&self, recipe: &mut Recipe, path: &str, key: &str) -> Result<()> {
        recipe.set(path, &self.get(key).to_string()).or_else(|expected| self.fail(key, &expected))
    }

    /// Sizes, norms and what is between them.
    fn read_model(&self, recipe: &mut Recipe) -> Result<()> {
        for (encoder, decoder) in
            [("encoder_attention_heads", "decoder_attention_heads"), ("encoder_ffn_dim", "decoder_ffn_dim")]
        {
            if self.get(encoder) != self.get(decoder) {
                let other = shorten(self.get(decoder));
                return self.fail(encoder, &format!("{decoder} is {other}; here the two are the same"));
            }
        }
        for (path, key) in [
            ("model.d_model", "d_model"),
            ("model.heads", "encoder_attention_heads"),
            ("model.encoder_layers", "encoder_layers"),
            ("model.decoder_layers", "decoder_layers"),
            ("model.ffn", "encoder_ffn_dim"),
            ("model.activation", "activation_function"),
            ("model.scale_embedding", "scale_embedding"),
            ("model.dropout", "dropout"),
        ] {
            self.set(recipe, path, key)?;
        }
        recipe.model.norm = match self.class {
            Class::Marian => Norm::Post,
            Class::Pegasus | Class::Gpt2 => Norm::Pre,
        };
        recipe.model.norm_eps = NORM_EPS;
        Ok(())
    }

    /// What only training would notice.
    fn notes(&self) -> Vec<String> {
        let dropout = self.get("dropout");
        let differs = |key: &&&str| self.get(key).as_f64() != Some(0.0);
        let lost = ["activation_dropout", "encoder_layerdrop", "decoder_layerdrop"];
        let mut notes: Vec<String> =
            lost.iter().filter(differs).map(|key| format!("{key} = {} is not kept", shorten(self.get(key)))).collect();
        if self.get("attention_dropout").as_f64() != dropout.as_f64() {
            let attention = shorten(self.get("attention_dropout"));
            notes.push(format!(
                "attention_dropout = {attention} is not kept: model.dropout is for attention weights too"
            ));
        }
        notes
    }

    /// Which tables of embeddings are one; whether both sides read the same one.
    fn read_embeddings(&self, recipe: &mut Recipe) -> Result<bool> {
        self.set(recipe, "model.tie_embeddings", "tie_word_embeddings")?;
        Ok(self.class == Class::Pegasus || self.flag("share_encoder_decoder_embeddings")?)
    }

    /// The tokens that every tokenizer here has first.
    fn check_specials(&self, marks: bool) -> Result<()> {
        let specials = [("pad_token_id", PAD), ("eos_token_id", EOS), ("decoder_start_token_id", BOS)];
        // Without marks the decoder starts with a token of the text.
        for &(key, id) in &specials[..if marks { 3 } else { 2 }] {
            let value = self.get(key);
            if *value != json!(id) && *value != json!([id]) {
                return self.fail(key, &format!("here it is {id}: the model has another tokenizer than seqloom's"));
            }
        }
        Ok(())
    }
}

pub(super) fn shorten(value: &Value) -> String {
    error::shorten(&value.to_string(), 60)
}

/// What a class takes for a field that `config.json` does not mention (transformers 5).
fn defaults(class: Class) -> Value {
    json!({
        "vocab_size": if class == Class::Marian { 58101 } else { 50265 },
        "d_model": 1024,
        "encoder_layers": 12,
        "decoder_layers": 12,
        "encoder_attention_heads": 16,
        "decoder_attention_heads": 16,
        "encoder_ffn_dim": 4096,
        "decoder_ffn_dim": 4096,
        "max_position_embeddings": 1024,
        "activation_function": "gelu",
        "scale_embedding": false,
        "share_encoder_decoder_embeddings": true,
        "tie_word_embeddings": true,
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
        "pad_token_id": if class == Class::Marian { 58100 } else { 0 },
        "eos_token_id": if class == Class::Marian { 0 } else { 1 },
        "decoder_start_token_id": if class == Class::Marian { 58100 } else { 0 },
    })
}

/// Reads the text of a JSON object.
fn object(file: &str, text: &str) -> Result<Value> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
        Ok(_) => Err(Error::Input(format!("{file}: not a JSON object"))),
        Err(e) => Err(Error::Input(format!("{file}: not JSON: {e}"))),
    }
}

impl Foreign {
    /// Reads `config.json` and, where there is one, `generation_config.json`; each is its name and its text. Errors: it
    /// is not Marian's, Pegasus's or GPT-2's, or asks for something that there is not here; one line with the file and the key.
    pub fn read((file, text): (&str, &str), generation: Option<(&str, &str)>) -> Result<Foreign> {
        let mut json = object(file, text)?;
        let class = match json["model_type"].as_str() {
            Some("marian") => Class::Marian,
            Some("pegasus") => Class::Pegasus,
            Some("gpt2") => return Foreign::read_gpt2(file, json),
            Some("seqloom") => {
                return Err(Error::Input(format!(
                    "{file}: model_type is \"seqloom\", which is a run already: use its directory as it is"
                )));
            }
            _ => {
                let found = shorten(&json["model_type"]);
                let known = "\"marian\", \"pegasus\" and \"gpt2\" can be imported";
                return Err(Error::Input(format!("{file}: model_type is {found}; {known}")));
            }
        };
        if let (Value::Object(fields), Value::Object(defaults)) = (&mut json, defaults(class)) {
            for (key, default) in defaults {
                fields.entry(key).or_insert(default);
            }
        }
        let c = Config { file, json, class };
        let mut recipe = Recipe { name: "imported".into(), ..Recipe::default() };
        c.read_model(&mut recipe)?;
        let one_vocabulary = c.read_embeddings(&mut recipe)?;
        let source = c.whole("vocab_size")?;
        let target = match (one_vocabulary, c.get("decoder_vocab_size")) {
            (true, _) | (_, Value::Null) => source,
            _ => c.whole("decoder_vocab_size")?,
        };
        let (notes, noted) = (c.notes(), c.get("seqloom").clone());
        recipe.data.marks = noted["marks"] != json!(false);
        c.check_specials(recipe.data.marks)?;
        let longest = c.whole("max_position_embeddings")?.clamp(1, 65_536);
        recipe.data.max_length = longest;
        recipe.decode.max_length = recipe.decode.max_length.min(longest);
        if let Some((file, text)) = generation
            && let Some(length) = object(file, text)?["max_length"].as_u64()
        {
            // transformers counts the token that the decoder starts with.
            let start = usize::from(recipe.data.marks);
            let most = longest + 1 - start;
            recipe.decode.max_length = (length.min(65_536) as usize).saturating_sub(start).clamp(1, most);
        }
        let start = c.get("decoder_start_token_id").as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or(u32::MAX);
        let vocabularies = [source, target];
        Ok(Foreign { recipe, notes, file: file.into(), vocabularies, one_vocabulary, start, end: Value::Null, noted })
    }

    fn read_gpt2(file: &str, json: Value) -> Result<Foreign> {
        let (recipe, vocabulary, notes) = gpt2::read(file, &json)?;
        recipe.check_model().map_err(|what| Error::Input(format!("{file}: {what}")))?;
        let (end, noted) = (json["eos_token_id"].clone(), json["seqloom"].clone());
        let vocabularies = [vocabulary; 2];
        Ok(Foreign { recipe, notes, file: file.into(), vocabularies, one_vocabulary: true, start: BOS, end, noted })
    }

    /// Puts tokenizers into the recipe and says how they are used. Errors: they have not as many tokens as the
    /// configuration says; `file` is the tokenizer's.
    pub fn tokenizers(&mut self, file: &str, tokenizers: Tokenizers) -> Result<Tokenizers> {
        let vocabulary = tokenizers.vocabulary();
        for (key, said, have) in [
            ("vocab_size", self.vocabularies[0], vocabulary.source()),
            ("decoder_vocab_size", self.vocabularies[1], vocabulary.target()),
        ] {
            if said != have {
                return Err(Error::Input(format!("{}: {key} is {said}, and {file} has {have} tokens", self.file)));
            }
        }
        let tokenizers = match (tokenizers, self.one_vocabulary) {
            (Tokenizers::Separate { .. }, true) => {
                return Err(Error::Input(format!(
                    "{}: one table of embeddings serves both sides, and {file} is one of two tokenizers",
                    self.file
                )));
            }
            // A table for each side, of the same tokens, the target's tied to the output: two vocabularies here.
            (Tokenizers::Shared(t), false) if self.recipe.model.tie_embeddings => {
                Tokenizers::Separate { source: t.clone(), target: t }
            }
            (tokenizers, _) => tokenizers,
        };
        let t = &mut self.recipe.tokenizer;
        let [(kind, lowercase), other] = [tokenizers.source(), tokenizers.target()].map(|t| (t.kind(), t.lowercase()));
        if (kind, lowercase) != other {
            return Err(Error::Input(format!("{file}: the target's tokenizer is of another kind")));
        }
        t.kind = match kind {
            Kind::Bpe => TokenizerKind::Bpe,
            Kind::Char => TokenizerKind::Char,
            Kind::Word => TokenizerKind::Word,
        };
        t.lowercase = lowercase;
        let specials = tokenizers.target().specials();
        let own = specials.eos();
        if self.recipe.model.kind == ModelKind::Gpt {
            self.recipe.data.marks = specials == Specials::Marks;
            if !self.end.is_null() && self.end != json!(own) && self.end != json!([own]) {
                let (end, token) = (shorten(&self.end), tokenizers.target().token(own));
                self.notes.push(format!("eos_token_id = {end} is not kept: {token} is {own} in {file}"));
            }
        } else if !self.recipe.data.marks {
            let start = tokenizers.target().token(self.start);
            if tokenizers.target().encode(&start) != [self.start] {
                return Err(Error::Input(format!("{}: decoder_start_token_id is no token of the targets", self.file)));
            }
            self.recipe.decode.start = start;
        }
        // The least that the key may be.
        t.vocab_size = vocabulary.source().max(vocabulary.target()).max(8);
        t.shared = matches!(tokenizers, Tokenizers::Shared(_));
        Ok(tokenizers)
    }

    /// The parameters among the tensors, all of them f32. Completes the recipe: only the tensors tell which positions
    /// were used, and whether there are biases. Errors: something is missing, of another shape, or would be lost.
    pub fn parameters(
        &mut self,
        file: &str,
        vocabulary: Vocabulary,
        tensors: Vec<(String, Tensor)>,
    ) -> Result<Vec<(String, Tensor)>> {
        if self.recipe.model.kind == ModelKind::Gpt {
            gpt2::complete(&mut self.recipe, &self.noted, &tensors);
            let model = Architecture::new(&self.recipe.model, vocabulary);
            return parameters(file, &self.recipe, &model, tensors);
        }
        self.find_positions(file, &tensors)?;
        let m = &mut self.recipe.model;
        let has_biases = |(name, t): &(String, Tensor)| {
            let linear = name.contains(".layers.") && name.ends_with(".bias") && !name.contains("norm");
            linear && t.as_f32().iter().any(|v| *v != 0.0)
        };
        m.bias = self.noted["bias"] != json!(false) || tensors.iter().any(has_biases);
        let model = Architecture::new(&self.recipe.model, vocabulary);
        parameters(file, &self.recipe, &model, tensors)
    }

    fn find_positions(&mut self, file: &str, tensors: &[(String, Tensor)]) -> Result<()> {
        let name = "model.encoder.embed_positions.weight";
        let table = tensors.iter().find(|(n, _)| n == name).map(|(_, table)| table);
        let noted = self.noted["positions"].as_str();
        let d_model = self.recipe.model.d_model;
        let kind = match (table, noted) {
            (Some(_), Some("learned")) => Positions::Learned,
            (Some(table), _) => {
                let computed = [Positions::Sinusoidal, Positions::SinusoidalSplit].into_iter();
                computed.into_iter().find(|kind| are_positions(table, *kind, d_model)).unwrap_or(Positions::Learned)
            }
            // transformers saves a Marian model without its positions, and computes half-split ones when it reads it.
            (None, Some("learned")) => {
                return Err(Error::Input(format!(
                    "{file}: {name} is missing, and the positions were learned: transformers' save_pretrained leaves \
                     Marian's out"
                )));
            }
            (None, Some("sinusoidal")) => {
                self.notes.push(format!(
                    "{name} is not in {file}: positions are computed, interleaved as `seqloom` says; transformers, which \
                     leaves them out of what it saves, computes half-split ones"
                ));
                Positions::Sinusoidal
            }
            (None, _) => Positions::SinusoidalSplit,
        };
        self.recipe.model.positions = kind;
        if let (Some(table), Positions::Learned) = (table, kind) {
            let rows = table.ty().dims.first().copied().unwrap_or(0);
            let set = self.recipe.set("data.max_length", &rows.to_string());
            set.map_err(|expected| Error::Input(format!("{file}: {name} has {rows} rows, {expected}")))?;
            // A first token that is given takes none.
            let most = rows + usize::from(!self.recipe.data.marks);
            self.recipe.decode.max_length = self.recipe.decode.max_length.min(most);
        }
        self.recipe.check_model().map_err(|what| Error::Input(format!("{}: {what}", self.file)))
    }
}
