//! The header of a safetensors file: what it claims is compared with the bytes that are there before any is copied.
//!
//! The format is <https://huggingface.co/docs/safetensors>: the header's length (u64, little-endian), the header (JSON), the
//! tensors without holes. Read entry by entry, so that a header takes a few times its own length and no more.

use crate::error::shorten;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What a tensor's name has at most, in bytes: it is a line's part in messages.
const LONGEST_NAME: usize = 160;
/// Dimensions that a tensor has at most.
const MOST_DIMS: usize = 8;

/// A tensor of a file whose bytes are there.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Without control characters.
    pub name: String,
    /// As the file says it, such as "F32".
    pub dtype: String,
    /// Their product, and that of any of them, fits into memory.
    pub dims: Vec<usize>,
    /// As many as dtype and dims say, where the dtype is one that is known here.
    pub bytes: &'a [u8],
}

/// The tensors of a file, by name; `size` is how many bytes a number of a type takes, none where the type is unknown: such a
/// tensor's bytes are not counted. Errors: what is wrong.
pub(super) fn entries<'a>(
    bytes: &'a [u8],
    size: impl Fn(&str) -> Option<usize>,
) -> std::result::Result<Vec<Entry<'a>>, String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("it has {} bytes, and the length of its header takes 8", bytes.len()));
    };
    let claimed = u64::from_le_bytes(*length);
    let length = usize::try_from(claimed).ok().filter(|&n| n <= rest.len()).ok_or_else(|| {
        format!("its header should have {claimed} bytes, and {} are there; was it copied whole?", rest.len())
    })?;
    let (header, data) = rest.split_at(length);
    let header = std::str::from_utf8(header).map_err(|_| "its header is not UTF-8".to_string())?;
    let Header(mut all) =
        serde_json::from_str(header).map_err(|e| format!("its header is wrong: {}", shorten(&e.to_string(), 160)))?;
    let by_name = |all: &mut Vec<(String, Info)>| all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    by_name(&mut all);
    if let Some(twice) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("{} is there twice", twice[0].0));
    }
    all.sort_unstable_by_key(|t| t.1.offsets);
    let mut before = 0;
    for (name, t) in &all {
        let (start, end) = t.offsets;
        if start != before || end < start {
            return Err(format!(
                "{name} is at bytes {start} to {end}, expected to begin at {before}: tensors follow each other without overlap or hole"
            ));
        }
        if end > data.len() {
            let there = data.len();
            return Err(format!("{name} ends at byte {end} of {there}; was it copied whole?"));
        }
        let elements = t.shape.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
        let elements = elements.filter(|&n| n <= isize::MAX as usize / 8);
        let elements = elements.ok_or_else(|| format!("{name} has impossible dimensions {:?}", t.shape.0))?;
        let elements = if t.shape.0.contains(&0) { 0 } else { elements };
        if let Some(size) = size(&t.dtype.0).filter(|size| elements * size != end - start) {
            return Err(format!(
                "{name} is {}{:?}, which takes {} bytes, and it has {}",
                t.dtype.0,
                t.shape.0,
                elements * size,
                end - start
            ));
        }
        before = end;
    }
    if before != data.len() {
        return Err(format!("its tensors end at byte {before} of {}", data.len()));
    }
    by_name(&mut all);
    let entry = |(name, t): (String, Info)| {
        let bytes = &data[t.offsets.0..t.offsets.1];
        Entry { name, dtype: t.dtype.0, dims: t.shape.0, bytes }
    };
    Ok(all.into_iter().map(entry).collect())
}

/// Names with what the header says of each.
struct Header(Vec<(String, Info)>);

#[derive(serde::Deserialize)]
struct Info {
    dtype: Word,
    shape: Dims,
    #[serde(rename = "data_offsets")]
    offsets: (usize, usize),
}

/// A short string.
struct Word(String);

struct Dims(Vec<usize>);

/// Strings by string, which nobody reads.
struct Metadata;

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Header, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("tensors by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let (mut all, mut metadata) = (vec![], None);
                while let Some(Word(name)) = map.next_key()? {
                    if name == "__metadata__" {
                        if metadata.replace(map.next_value::<Metadata>()?).is_some() {
                            return Err(A::Error::custom("__metadata__ is there twice"));
                        }
                    } else {
                        all.push((name, map.next_value()?));
                    }
                }
                Ok(Header(all))
            }
        }
        from.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Word;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
                if text.len() > LONGEST_NAME {
                    return Err(E::custom(format!("a name has {} bytes, at most {LONGEST_NAME} are read", text.len())));
                }
                if text.contains(char::is_control) {
                    let shown = shorten(text, 40);
                    return Err(E::custom(format!("a name has control characters: {shown}")));
                }
                Ok(Word(text.into()))
            }
        }
        from.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Dims, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Dims;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Dims, A::Error> {
                let mut dims = vec![];
                while let Some(size) = list.next_element()? {
                    if dims.len() == MOST_DIMS {
                        return Err(A::Error::custom(format!("a tensor has more than {MOST_DIMS} dimensions")));
                    }
                    dims.push(size);
                }
                Ok(Dims(dims))
            }
        }
        from.deserialize_seq(Sizes)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Metadata, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Metadata;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("strings by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                while map.next_entry::<IgnoredAny, AnyText>()?.is_some() {}
                Ok(Metadata)
            }
            fn visit_unit<E: Error>(self) -> Result<Metadata, E> {
                Ok(Metadata)
            }
        }
        from.deserialize_any(Strings)
    }
}

/// A string of any length.
struct AnyText;

impl<'de> Deserialize<'de> for AnyText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<AnyText, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = AnyText;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<AnyText, E> {
                Ok(AnyText)
            }
        }
        from.deserialize_str(Text)
    }
}
