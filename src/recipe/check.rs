//! What one key alone cannot tell: keys that must fit each other.

use super::{Attention, Builtin, Init, ModelKind, Norm, Optimizer, Pool, Positions, Recipe, Schedule, TokenizerKind};
use crate::error::shorten;

/// The keys that say where the training data is.
pub(super) const SOURCES: [&str; 6] =
    ["data.source", "data.target", "data.tsv", "data.words", "data.text", "data.builtin"];
/// The keys that say where the validation data is.
pub(super) const VALIDATION: [&str; 3] = ["data.valid_source", "data.valid_target", "data.valid_tsv"];

/// Keys of which the second, where it is set, decides instead of the first.
pub(super) const RIVALS: [(&str, &str); 2] =
    [("train.steps", "train.epochs"), ("train.batch_tokens", "train.batch_size")];

/// Keys that only some kinds read.
const OF_KINDS: [(&[ModelKind], &[&str]); 6] = {
    use ModelKind::{Gpt, Seq2Seq, Transformer};
    [
        (&[Gpt], &["train.block"]),
        (&[Gpt, Seq2Seq], &["model.layers"]),
        (&[Transformer], &["model.encoder_layers", "model.decoder_layers"]),
        (&[Transformer, Seq2Seq], &["model.char_cnn", "data.max_length", "tokenizer.shared", "decode.start"]),
        (&[Transformer, Gpt], OF_TRANSFORMERS),
        (&[Seq2Seq], OF_SEQ2SEQ),
    ]
};
/// What a Transformer has not.
const OF_SEQ2SEQ: &[&str] = &[
    "model.cell",
    "model.hidden",
    "model.embedding",
    "model.bidirectional",
    "model.attention",
    "model.input_feeding",
    "model.context",
];
/// What a recurrent model has not.
const OF_TRANSFORMERS: &[&str] = &[
    "model.d_model",
    "model.heads",
    "model.ffn",
    "model.norm",
    "model.norm_eps",
    "model.activation",
    "model.positions",
    "model.scale_embedding",
    "model.bias",
];

/// The keys that others leave without effect, and why.
pub(super) fn idle(recipe: &Recipe) -> Vec<(&'static str, String)> {
    let (d, t) = (&recipe.data, &recipe.train);
    let sgd = t.optimizer == Optimizer::Sgd;
    let only = |what: &str| format!("only {what} reads it");
    let (made, drawn) = (!d.words.is_empty(), !d.words.is_empty() || d.builtin != Builtin::None);
    let validation = made
        || d.builtin != Builtin::None && d.text.is_empty()
        || !(d.valid_source.is_empty() && d.valid_tsv.is_empty());
    let (m, kind) = (&recipe.model, recipe.model.kind);
    let unread = |kinds: &[ModelKind]| {
        let names: Vec<String> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
        match &names[..] {
            [one] => only(&format!("the kind {one}")),
            _ => format!("only the kinds {} read it", names.join(" and ")),
        }
    };
    let of_kinds = OF_KINDS.iter().flat_map(|(kinds, keys)| keys.iter().map(|key| (*kinds, *key)));
    let of_kinds = of_kinds.map(|(kinds, key)| (!kinds.contains(&kind), key, unread(kinds)));
    let counted = [Builtin::Addition, Builtin::Sort].contains(&d.builtin);
    let attends = m.attention != Attention::None;
    let recurrent = kind == ModelKind::Seq2Seq;
    let keys = [
        (t.epochs > 0, "train.steps", format!("train.epochs = {} decides", t.epochs)),
        (t.batch_size > 0, "train.batch_tokens", format!("train.batch_size = {} decides", t.batch_size)),
        (t.schedule != Schedule::Plateau, "train.plateau_patience", only("the schedule \"plateau\"")),
        (t.schedule != Schedule::Plateau, "train.plateau_factor", only("the schedule \"plateau\"")),
        (!sgd, "train.momentum", only("the optimizer \"sgd\"")),
        (sgd, "train.betas", "the optimizer \"sgd\" does not read it".into()),
        (sgd, "train.eps", "the optimizer \"sgd\" does not read it".into()),
        (!drawn, "data.pairs", "only the built-in corpora have so many, and data.words".into()),
        (counted, "data.pairs", "there are so many and no more".into()),
        (!d.text.is_empty(), "data.marks", "a text has none".into()),
        (!d.text.is_empty(), "decode.beam", "'seqloom generate --beam' says so".into()),
        (!d.text.is_empty(), "decode.max_length", "'seqloom generate --max-tokens' says so".into()),
        (validation, "data.valid_fraction", "there are pairs to validate on".into()),
        (validation, "data.valid_every", "there are pairs to validate on".into()),
        (!d.text.is_empty(), "data.valid_every", "a text has no pairs".into()),
        (!d.text.is_empty(), "data.keep_words", "a text has no targets".into()),
        (d.valid_every > 0, "data.valid_fraction", format!("data.valid_every = {} decides", d.valid_every)),
        (m.init != Init::Uniform, "model.init_range", only("the init \"uniform\"")),
        (
            recurrent && attends,
            "model.context",
            format!("the attention \"{}\" computes a context for each step", m.attention),
        ),
    ];
    keys.into_iter().chain(of_kinds).filter(|(idle, ..)| *idle).map(|(_, key, why)| (key, why)).collect()
}

/// Keys that do not fit each other.
pub(super) struct Conflict {
    /// Their paths; a message points to where the first of them that is set is set.
    pub keys: Vec<&'static str>,
    /// The message after the place.
    pub text: String,
}

/// Whether the recipe's kind reads a key.
fn is_read(recipe: &Recipe, key: &str) -> bool {
    OF_KINDS.iter().all(|(kinds, keys)| kinds.contains(&recipe.model.kind) || !keys.contains(&key))
}

/// The first rule that `recipe` breaks. What is about a key that its kind does not read is no rule for it.
pub(super) fn conflict(recipe: &Recipe) -> Option<Conflict> {
    let rules = [
        name,
        even_width,
        heads,
        even_heads,
        pre_norm,
        feeding,
        scores,
        tied_width,
        characters,
        one_source,
        data_of_kind,
        pairs_of_files,
        validation,
        start,
        least_rate,
    ];
    let concerns = |conflict: &Conflict| conflict.keys.iter().all(|key| is_read(recipe, key));
    rules.iter().find_map(|rule| rule(recipe).filter(concerns))
}

/// Whether `name` can name a directory on every system.
pub(super) fn is_directory_name(name: &str) -> bool {
    name.starts_with(char::is_alphanumeric)
        && name.ends_with(char::is_alphanumeric)
        && name.chars().all(|c| c.is_alphanumeric() || " -_.".contains(c))
}

fn name(recipe: &Recipe) -> Option<Conflict> {
    let text = || {
        let rule = "letters, digits, and between them ' ', '-', '_' and '.'";
        format!("name: \"{}\" cannot be the name of a directory; use {rule}", shorten(&recipe.name, 60))
    };
    (!is_directory_name(&recipe.name)).then(|| Conflict { keys: vec!["name"], text: text() })
}

fn even_width(recipe: &Recipe) -> Option<Conflict> {
    let model = &recipe.model;
    let added = [Positions::Sinusoidal, Positions::SinusoidalSplit].contains(&model.positions);
    (added && !model.d_model.is_multiple_of(2)).then(|| Conflict {
        keys: vec!["model.d_model", "model.positions"],
        text: format!("model.d_model: {} is odd; sines and cosines need an even width", model.d_model),
    })
}

/// After `heads`: they divide the width.
fn even_heads(recipe: &Recipe) -> Option<Conflict> {
    let model = &recipe.model;
    let size = model.d_model / model.heads;
    let rotary = model.positions == Positions::Rotary;
    (rotary && !size.is_multiple_of(2)).then(|| Conflict {
        keys: vec!["model.heads", "model.d_model", "model.positions"],
        text: format!(
            "model.heads: {} of model.d_model = {} are {size} wide, which is odd; rotary positions turn pairs, so \
             choose an even model.d_model / model.heads",
            model.heads, model.d_model
        ),
    })
}

fn heads(recipe: &Recipe) -> Option<Conflict> {
    let (d_model, heads) = (recipe.model.d_model, recipe.model.heads);
    if d_model.is_multiple_of(heads) {
        return None;
    }
    let divides = |heads: &usize| d_model.is_multiple_of(*heads);
    let nearest = [(1..heads).rev().find(divides), (heads + 1..=d_model).find(divides)];
    let nearest: Vec<String> = nearest.iter().flatten().map(usize::to_string).collect();
    Some(Conflict {
        keys: vec!["model.heads", "model.d_model"],
        text: format!(
            "model.heads: {heads} does not divide model.d_model = {d_model}; choose a divisor such as {}",
            nearest.join(" or ")
        ),
    })
}

/// Whether the recipe says where its data is.
pub(super) fn has_data(recipe: &Recipe) -> bool {
    !sources(recipe).is_empty()
}

/// The sources of data that are set, by a key of each.
fn sources(recipe: &Recipe) -> Vec<&'static str> {
    let data = &recipe.data;
    let files = [("data.source", &data.source), ("data.target", &data.target)].into_iter().find(|(_, f)| !f.is_empty());
    let tsv = (!data.tsv.is_empty()).then_some("data.tsv");
    let words = (!data.words.is_empty()).then_some("data.words");
    let text = (!data.text.is_empty()).then_some("data.text");
    let builtin = (data.builtin != Builtin::None).then_some("data.builtin");
    [files.map(|(key, _)| key), tsv, words, text, builtin].into_iter().flatten().collect()
}

fn one_source(recipe: &Recipe) -> Option<Conflict> {
    match sources(recipe)[..] {
        [] | [_] => None,
        [first, second, ..] => Some(Conflict {
            keys: vec![second, first],
            text: format!(
                "{second}: {first} is set too; keep one of data.source with data.target, data.tsv, data.words, data.text, \
                 data.builtin"
            ),
        }),
    }
}

fn pre_norm(recipe: &Recipe) -> Option<Conflict> {
    (recipe.model.kind == ModelKind::Gpt && recipe.model.norm == Norm::Post).then(|| Conflict {
        keys: vec!["model.norm", "model.kind"],
        text: "model.norm: a \"gpt\" is \"pre\"; leave it out".into(),
    })
}

fn feeding(recipe: &Recipe) -> Option<Conflict> {
    let m = &recipe.model;
    if !m.input_feeding {
        return None;
    }
    let why = match m.attention {
        Attention::Bahdanau => "\"bahdanau\" feeds what it attends to into every step as it is",
        Attention::None => "there is nothing to feed back without attention",
        Attention::Dot | Attention::General => return None,
    };
    Some(Conflict {
        keys: vec!["model.input_feeding", "model.attention"],
        text: format!("model.input_feeding: {why}; leave it out, or choose the attention \"dot\" or \"general\""),
    })
}

fn scores(recipe: &Recipe) -> Option<Conflict> {
    let m = &recipe.model;
    let unlike = m.attention == Attention::Dot && m.bidirectional;
    unlike.then(|| Conflict {
        keys: vec!["model.attention", "model.bidirectional"],
        text: format!(
            "model.attention: \"dot\" multiplies states of one width, and the states of an encoder with two directions \
             are {} wide, the decoder's {}; choose \"general\", or model.bidirectional = false",
            2 * m.hidden,
            m.hidden
        ),
    })
}

fn tied_width(recipe: &Recipe) -> Option<Conflict> {
    let m = &recipe.model;
    let unlike = m.tie_embeddings && m.embedding != m.hidden;
    unlike.then(|| Conflict {
        keys: vec!["model.tie_embeddings", "model.embedding", "model.hidden"],
        text: format!(
            "model.tie_embeddings: the output's matrix is model.hidden = {} wide, the embedding model.embedding = {}; \
             choose them equal, or model.tie_embeddings = false",
            m.hidden, m.embedding
        ),
    })
}

/// What a character CNN reads.
fn characters(recipe: &Recipe) -> Option<Conflict> {
    let (kind, m) = (recipe.tokenizer.kind, &recipe.model);
    let cnn = m.char_cnn.as_ref()?;
    let (needed, what) = match cnn.pool {
        Pool::None => (TokenizerKind::Char, "characters"),
        Pool::Word => (TokenizerKind::Word, "words with pool = \"word\""),
    };
    if kind == needed {
        // What has no table of words cannot share one.
        return (cnn.pool == Pool::Word && recipe.tokenizer.shared).then(|| Conflict {
            keys: vec!["tokenizer.shared", "model.char_cnn"],
            text:
                "tokenizer.shared: a model.char_cnn of words reads how they are spelled, those that no vocabulary has, \
                   too; set tokenizer.shared = false"
                    .into(),
        });
    }
    let text = format!(
        "model.char_cnn: it reads {what}, and tokenizer.kind = \"{kind}\"; choose the tokenizer \"{needed}\", or leave it out"
    );
    Some(Conflict { keys: vec!["model.char_cnn", "tokenizer.kind"], text })
}

/// An encoder needs a source.
fn data_of_kind(recipe: &Recipe) -> Option<Conflict> {
    (recipe.model.kind != ModelKind::Gpt && !recipe.data.text.is_empty()).then(|| Conflict {
        keys: vec!["data.text", "model.kind"],
        text: format!(
            "data.text: only the kind \"gpt\" learns from a text; the kind \"{}\" needs pairs",
            recipe.model.kind
        ),
    })
}

fn pairs_of_files(recipe: &Recipe) -> Option<Conflict> {
    let data = &recipe.data;
    let pairs = [
        (("data.source", &data.source), ("data.target", &data.target)),
        (("data.valid_source", &data.valid_source), ("data.valid_target", &data.valid_target)),
    ];
    pairs.iter().find(|((_, source), (_, target))| source.is_empty() != target.is_empty()).map(|pair| {
        let ((set, _), (missing, _)) = if pair.0.1.is_empty() { (pair.1, pair.0) } else { *pair };
        Conflict {
            keys: vec![set],
            text: format!("{set}: {missing} is missing; the two files go together, line by line"),
        }
    })
}

fn validation(recipe: &Recipe) -> Option<Conflict> {
    let data = &recipe.data;
    let files = [("data.valid_source", &data.valid_source), ("data.valid_tsv", &data.valid_tsv)];
    let set: Vec<&str> = files.iter().filter(|(_, file)| !file.is_empty()).map(|(key, _)| *key).collect();
    match set[..] {
        [source, tsv] => Some(Conflict {
            keys: vec![tsv, source],
            text: format!("{tsv}: {source} is set too; keep one of data.valid_source with data.valid_target, {tsv}"),
        }),
        [key] if !data.text.is_empty() => Some(Conflict {
            keys: vec![key, "data.text"],
            text: format!("{key}: a text is validated on its own end, see data.valid_fraction; leave it out"),
        }),
        [key] if !data.words.is_empty() => Some(Conflict {
            keys: vec![key, "data.words"],
            text: format!("{key}: what is made of data.words is validated on errors that are held out; leave it out"),
        }),
        [key] if data.builtin != Builtin::None => Some(Conflict {
            keys: vec![key, "data.builtin"],
            text: format!("{key}: the built-in corpus brings its own pairs to validate on; leave one of the two out"),
        }),
        _ => None,
    }
}

fn start(recipe: &Recipe) -> Option<Conflict> {
    let text = match (recipe.data.marks, recipe.decode.start.is_empty()) {
        (true, true) | (false, false) => return None,
        (true, false) => {
            "decode.start: has no effect where targets begin with <s>; leave it out, or set data.marks = false"
        }
        (false, true) => "data.marks: false needs decode.start, the token that every output begins with",
    };
    Some(Conflict { keys: vec!["decode.start", "data.marks"], text: text.into() })
}

fn least_rate(recipe: &Recipe) -> Option<Conflict> {
    let t = &recipe.train;
    if t.min_lr == 0.0 {
        return None;
    }
    let text = match t.schedule {
        Schedule::InverseSqrt | Schedule::Noam | Schedule::Constant => {
            format!(
                "the schedule \"{}\" has no use for it; choose \"cosine\", \"linear\", \"wsd\" or \"plateau\"",
                t.schedule
            )
        }
        _ if t.min_lr > t.lr => format!("{:?} is more than train.lr = {:?}", t.min_lr, t.lr),
        _ => return None,
    };
    Some(Conflict { keys: vec!["train.min_lr", "train.schedule", "train.lr"], text: format!("train.min_lr: {text}") })
}

#[cfg(test)]
mod tests;
