//! The character CNN as the value of a key: a table in one line.

use super::Pool;
use super::table::{Value, read_within};
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// The character CNN (Kim et al. 2016) in the place of an encoder's embedding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharCnn {
    /// Characters that a convolution sees, one for each convolution.
    pub widths: Vec<usize>,
    /// Channels that each of them gives, as many as there are widths.
    pub filters: Vec<usize>,
    /// Highway layers.
    pub highway: usize,
    /// What becomes of the characters.
    pub pool: Pool,
    /// Width of a character's embedding.
    pub embedding: usize,
}

/// The sizes of the small model of Kim et al. 2016, for sequences that stay.
impl Default for CharCnn {
    fn default() -> CharCnn {
        let widths: Vec<usize> = (1..=6).collect();
        CharCnn { filters: multiples(FILTERS, &widths), widths, highway: 1, pool: Pool::None, embedding: 16 }
    }
}

impl super::Model {
    /// Whether words are read as they are spelled, those that no vocabulary has, too.
    pub fn reads_words(&self) -> bool {
        self.char_cnn.as_ref().is_some_and(|cnn| cnn.pool == Pool::Word)
    }
}

/// Channels for each character that a convolution sees.
const FILTERS: usize = 25;
const WIDTHS: RangeInclusive<usize> = 1..=64;
const MOST_WIDTHS: usize = 16;
const MULTIPLES: RangeInclusive<usize> = 1..=1024;
/// Of all convolutions together.
const MOST_CHANNELS: usize = 65_536;
const HIGHWAY: RangeInclusive<usize> = 0..=8;
const EMBEDDING: RangeInclusive<usize> = 1..=4096;

fn multiples(filters: usize, widths: &[usize]) -> Vec<usize> {
    widths.iter().map(|width| filters * width).collect()
}

/// What is there, and only whole numbers in the range.
fn list(value: &DeValue, range: RangeInclusive<usize>) -> Option<Vec<usize>> {
    value.as_array()?.iter().map(|item| read_within(item.get_ref(), range.clone())).collect()
}

/// `None` where there is none; what is wrong with a table.
fn parse(value: &DeValue) -> Result<Option<CharCnn>, String> {
    let Some(table) = value.as_table() else {
        return if value.as_str() == Some("") { Ok(None) } else { Err(Option::<CharCnn>::expected()) };
    };
    let known = ["widths", "filters", "highway", "pool", "embedding"];
    if let Some((name, _)) = table.iter().find(|(name, _)| !known.contains(&name.get_ref().as_ref())) {
        let name = super::lookup::shorten(name.get_ref());
        return Err(format!("it has no {name}, but {}", known.join(", ")));
    }
    let of = |name: &str| table.get(name).map(toml::Spanned::get_ref);
    let whole = |name: &str, range: RangeInclusive<usize>, default| match of(name) {
        None => Ok(default),
        Some(value) => read_within(value, range.clone())
            .ok_or_else(|| format!("{name}: expected a whole number from {} to {}", range.start(), range.end())),
    };
    let default = CharCnn::default();
    let widths = match of("widths") {
        None => default.widths,
        Some(value) => list(value, WIDTHS).filter(|l| (1..=MOST_WIDTHS).contains(&l.len())).ok_or_else(|| {
            let (low, high) = WIDTHS.into_inner();
            format!("widths: expected a list of 1 to {MOST_WIDTHS} whole numbers from {low} to {high}")
        })?,
    };
    let filters = match of("filters") {
        None => multiples(FILTERS, &widths),
        Some(value) => read_within(value, MULTIPLES)
            .map(|filters| multiples(filters, &widths))
            .or_else(|| list(value, 1..=MOST_CHANNELS).filter(|l| l.len() == widths.len()))
            .ok_or_else(|| {
                let (low, high) = MULTIPLES.into_inner();
                format!(
                    "filters: expected a whole number from {low} to {high}, or a list with one for each of the {} widths",
                    widths.len()
                )
            })?,
    };
    let channels: usize = filters.iter().sum();
    if channels > MOST_CHANNELS {
        return Err(format!("filters: they are {channels} together; expected at most {MOST_CHANNELS}"));
    }
    let highway = whole("highway", HIGHWAY, default.highway)?;
    let embedding = whole("embedding", EMBEDDING, default.embedding)?;
    let pool = match of("pool") {
        None => default.pool,
        Some(value) => Pool::read(value).ok_or_else(|| format!("pool: expected {}", Pool::expected()))?,
    };
    Ok(Some(CharCnn { widths, filters, highway, pool, embedding }))
}

impl Value for Option<CharCnn> {
    type Item = usize;

    fn expected() -> String {
        format!("\"\" or {}", Some(CharCnn::default()).print())
    }

    fn read(value: &DeValue) -> Option<Option<CharCnn>> {
        parse(value).ok()
    }

    fn fault(value: &DeValue) -> Option<String> {
        value.as_table().and_then(|_| parse(value).err())
    }

    fn print(&self) -> String {
        let Some(c) = self else { return "\"\"".into() };
        let every = c.filters[0] / c.widths[0];
        let short = MULTIPLES.contains(&every) && c.filters == multiples(every, &c.widths);
        let filters = if short { every.to_string() } else { format!("{:?}", c.filters) };
        format!(
            "{{ widths = {:?}, filters = {filters}, highway = {}, pool = \"{}\", embedding = {} }}",
            c.widths, c.highway, c.pool, c.embedding
        )
    }

    fn items(&self) -> &[usize] {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    /// The key of `my.toml`, in the third line.
    fn read(value: &str) -> std::result::Result<Option<CharCnn>, String> {
        let text = format!("tokenizer.kind = \"char\"\n[model]\nchar_cnn = {value}\n[data]\ntsv = \"a.tsv\"\n");
        let recipe = Recipe::parse("my.toml", &text, &[]).map_err(|error| error.to_string())?;
        let stored = recipe.to_toml();
        assert_eq!(Recipe::parse("my.toml", &stored, &[]).expect("it reads back"), recipe, "{stored}");
        assert_eq!(Recipe::parse_stored("my.toml", &stored).expect("it reads back"), recipe, "{stored}");
        Ok(recipe.model.char_cnn)
    }

    #[test]
    fn every_form_reads_and_comes_back() {
        assert_eq!(read("\"\""), Ok(None));
        let default = CharCnn::default();
        assert_eq!(default.filters, [25, 50, 75, 100, 125, 150]);
        assert_eq!(read("{}"), Ok(Some(default.clone())));
        let text = "{ widths = [1, 2, 3, 4, 5, 6], filters = 25, highway = 1, pool = \"none\", embedding = 16 }";
        assert_eq!(read(text), Ok(Some(default.clone())));
        let other = CharCnn { widths: vec![5, 64], filters: vec![7, 3], highway: 0, embedding: 1, ..default.clone() };
        assert_eq!(read("{ widths = [5, 64], filters = [7, 3], highway = 0, embedding = 1 }"), Ok(Some(other)));
        let two = CharCnn { widths: vec![3, 3], filters: vec![12, 12], ..default };
        assert_eq!(read("{ widths = [3, 3], filters = 4 }"), Ok(Some(two.clone())));
        assert_eq!(read("{ widths = [3, 3], filters = [12, 12] }"), Ok(Some(two.clone())));

        let recipe = |text: &str, set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
            Recipe::parse("my.toml", text, &set).expect("a recipe").model.char_cnn
        };
        assert_eq!(
            recipe("[model.char_cnn]\nwidths = [3, 3]\nfilters = 4\n[tokenizer]\nkind = \"char\"", &[]),
            Some(two)
        );
        let char = "tokenizer.kind=char";
        assert_eq!(recipe("", &[char, "model.char_cnn={ highway = 2 }"]).expect("one").highway, 2);
        assert_eq!(recipe("model.char_cnn = { highway = 2 }", &[char, "model.char_cnn="]), None);
        assert_eq!(recipe("model.char_cnn = {}", &[char, "model.kind=seq2seq"]), Some(CharCnn::default()));
    }

    #[test]
    fn a_mistake_in_a_part_is_named() {
        let parts = "widths, filters, highway, pool, embedding";
        let widths = "widths: expected a list of 1 to 16 whole numbers from 1 to 64";
        let whole = "a whole number from 1 to 1024";
        let filters = |n: usize| format!("filters: expected {whole}, or a list with one for each of the {n} widths");
        let cases = [
            ("{ width = [1] }", format!("it has no width, but {parts}")),
            ("{ widths = [] }", widths.into()),
            ("{ widths = [0] }", widths.into()),
            ("{ widths = [1, 65] }", widths.into()),
            ("{ widths = 3 }", widths.into()),
            ("{ widths = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] }", widths.into()),
            ("{ widths = [1.5] }", widths.into()),
            ("{ filters = 0 }", filters(6)),
            ("{ filters = [] }", filters(6)),
            ("{ widths = [1, 2], filters = [4] }", filters(2)),
            ("{ widths = [1, 2], filters = [4, 0] }", filters(2)),
            ("{ widths = [1, 2], filters = \"4\" }", filters(2)),
            (
                "{ widths = [1, 2], filters = [65536, 1] }",
                "filters: they are 65537 together; expected at most 65536".into(),
            ),
            ("{ highway = 9 }", "highway: expected a whole number from 0 to 8".into()),
            ("{ embedding = 0 }", "embedding: expected a whole number from 1 to 4096".into()),
            ("{ pool = \"max\" }", "pool: expected \"none\" or \"word\"".into()),
            ("{ pool = 1 }", "pool: expected \"none\" or \"word\"".into()),
            ("true", format!("expected {}, found true", <Option<CharCnn> as table::Value>::expected())),
            ("\"none\"", format!("expected {}, found \"none\"", <Option<CharCnn> as table::Value>::expected())),
        ];
        for (value, message) in cases {
            assert_eq!(read(value).unwrap_err(), format!("my.toml:3: model.char_cnn: {message}"), "{value}");
        }
        let set = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
            Recipe::parse("my.toml", "", &set).unwrap_err().to_string()
        };
        let one = "--set model.char_cnn={}: model.char_cnn:";
        assert_eq!(
            set(&["model.char_cnn={}"]),
            format!(
                "{one} it reads characters, and tokenizer.kind = \"bpe\"; choose the tokenizer \"char\", or leave it out"
            )
        );
        assert_eq!(
            set(&["model.char_cnn={}", "model.kind=gpt"]),
            format!("{one} has no effect: only the kinds \"transformer\" and \"seq2seq\" read it; leave it out")
        );
    }
}
