//! safetensors: what is read is what the `safetensors` crate reads, and what it refuses is refused.

use super::alloc::taken;
use super::mutate::{edited, edits};
use super::{config, modest, refused};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use safetensors::SafeTensors;
use seqloom::checkpoint::{load, load_f32};
use seqloom::tensor::{DType, Tensor};
use serde_json::json;

const FILE: &str = "run/model.safetensors";

/// A file with this header.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn one(name: &str, dtype: &str, shape: &str, offsets: [u64; 2]) -> String {
    format!("{{\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets:?}}}}}")
}

#[test]
fn named_files_are_refused_with_a_reason() {
    let good = one("a", "F32", "[2]", [0, 8]);
    let two = |a: [u64; 2], b: [u64; 2]| {
        let entry = |offsets: [u64; 2]| json!({ "dtype": "F32", "shape": [2], "data_offsets": offsets });
        json!({ "a": entry(a), "b": entry(b) }).to_string()
    };
    let of = |shape: &str| file(&one("a", "F32", shape, [0, 8]), &[0; 8]);
    let claims = |n: u64| [&n.to_le_bytes()[..], good.as_bytes(), &[0; 8]].concat();
    let long = "x".repeat(1_000_000);
    let cases: [(&str, Vec<u8>, &str); 44] = [
        ("empty", vec![], "it has 0 bytes, and the length of its header takes 8"),
        ("seven bytes", vec![0; 7], "it has 7 bytes"),
        ("zeros", vec![0; 64], "its header is wrong: EOF"),
        ("a length alone", 10u64.to_le_bytes().to_vec(), "its header should have 10 bytes, and 0 are there"),
        ("10 GB of header", claims(10 << 30), "its header should have 10737418240 bytes, and 63 are there"),
        (
            "all of a u64 of header",
            claims(u64::MAX),
            "18446744073709551615 bytes, and 63 are there; was it copied whole?",
        ),
        ("a header one byte too long", claims(64), "its header should have 64 bytes"),
        ("a header cut short", claims(20), "its header is wrong"),
        ("not UTF-8", [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat(), "its header is not UTF-8"),
        ("not JSON", file("hello", &[]), "its header is wrong: expected value"),
        ("a list", file("[]", &[]), "expected tensors by name"),
        ("deep nesting", file(&"[".repeat(1_000_000), &[]), "its header is wrong"),
        ("deep nesting inside", file(&format!("{{\"a\":{}", "{\"a\":".repeat(1_000_000)), &[]), "its header is wrong"),
        (
            "deep metadata",
            file(&format!("{{\"__metadata__\":{}", "[".repeat(1_000_000)), &[]),
            "expected strings by name",
        ),
        ("deep and ignored", file(&format!("{{\"a\":{{\"x\":{}", "[".repeat(1_000_000)), &[]), "its header is wrong"),
        ("metadata of numbers", file("{\"__metadata__\":{\"a\":1}}", &[]), "expected a string"),
        ("metadata twice", file("{\"__metadata__\":{},\"__metadata__\":{}}", &[]), "__metadata__ is there twice"),
        ("truncated", file(&good, &[0; 7]), "a ends at byte 8 of 7; was it copied whole?"),
        ("no tensors' bytes", file(&good, &[]), "a ends at byte 8 of 0"),
        ("too many bytes", file(&good, &[0; 9]), "its tensors end at byte 8 of 9"),
        ("overlapping", file(&two([0, 8], [4, 12]), &[0; 12]), "b is at bytes 4 to 12, expected to begin at 8"),
        ("one place", file(&two([0, 8], [0, 8]), &[0; 8]), "is at bytes 0 to 8, expected to begin at 8"),
        ("a hole", file(&two([0, 8], [12, 20]), &[0; 20]), "b is at bytes 12 to 20, expected to begin at 8"),
        ("a hole first", file(&two([4, 12], [12, 20]), &[0; 20]), "a is at bytes 4 to 12, expected to begin at 0"),
        ("descending", file(&one("a", "F32", "[2]", [8, 0]), &[0; 8]), "a is at bytes 8 to 0"),
        (
            "misaligned",
            file(&one("a", "F32", "[2]", [0, 7]), &[0; 7]),
            "a is F32[2], which takes 8 bytes, and it has 7",
        ),
        (
            "negative",
            file(&good.replace("[0, 8]", "[-8, 0]"), &[0; 8]),
            "its header is wrong: invalid value: integer `-8`",
        ),
        ("one offset", file(&good.replace("[0, 8]", "[0]"), &[0; 8]), "its header is wrong: invalid length 1"),
        ("three offsets", file(&good.replace("[0, 8]", "[0,4,8]"), &[0; 8]), "its header is wrong"),
        ("offsets past a u64", file(&good.replace("8]", "99999999999999999999]"), &[0; 8]), "its header is wrong"),
        (
            "far offsets",
            file(&one("a", "F32", "[2]", [0, u64::MAX]), &[0; 8]),
            "a ends at byte 18446744073709551615 of 8",
        ),
        ("no shape", file(&good.replace("shape", "form"), &[0; 8]), "missing field `shape`"),
        ("a shape of another size", of("[3]"), "a is F32[3], which takes 12 bytes, and it has 8"),
        ("a zero among dims", of("[2,0]"), "a is F32[2, 0], which takes 0 bytes, and it has 8"),
        ("dims that overflow", of("[4294967296,4294967296,4294967296]"), "a has impossible dimensions"),
        ("dims that overflow to the right size", of("[9223372036854775809,2]"), "a has impossible dimensions"),
        (
            "zero times too much",
            file(&one("a", "F32", "[0,18446744073709551615,2]", [0, 0]), &[]),
            "a has impossible dimensions",
        ),
        ("a dim past a u64", of("[18446744073709551616]"), "its header is wrong"),
        ("rank 1000", of(&format!("[{}2]", "1,".repeat(999))), "a tensor has more than 8 dimensions"),
        ("an unknown dtype", file(&one("a", "F33", "[2]", [0, 8]), &[0; 8]), "a is F33"),
        ("a long dtype", file(&one("a", &long, "[2]", [0, 8]), &[0; 8]), "a name has 1000000 bytes, at most 160"),
        ("a long name", file(&one(&long, "F32", "[2]", [0, 8]), &[0; 8]), "a name has 1000000 bytes, at most 160"),
        (
            "control characters",
            file(&one("a\\n\\u001b[2J", "F32", "[2]", [0, 8]), &[0; 8]),
            "control characters: a\\n\\u{1b}[2J",
        ),
        (
            "a field twice",
            file(&good.replace("\"dtype\"", "\"shape\":[],\"dtype\""), &[0; 8]),
            "duplicate field `shape`",
        ),
    ];
    for (name, bytes, reason) in &cases {
        for load in [load, load_f32] {
            let (result, taken) = taken(|| load(FILE, bytes));
            let message = refused(&result.expect_err(name), FILE);
            assert!(message.contains(reason), "{name}: {message} does not say {reason}");
            modest(taken, bytes.len(), 8);
        }
        // Beside our own limits, the format's reference refuses the same.
        let ours = ["rank 1000", "zero times too much", "a long name", "control characters"].contains(name);
        assert!(ours == SafeTensors::deserialize(bytes).is_ok(), "{name}");
    }
}

/// The crate keeps the last of two entries; here neither is.
#[test]
fn names_are_there_once() {
    let entry = "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
    let bytes = file(&format!("{{{entry},{entry}}}"), &[]);
    assert!(SafeTensors::deserialize(&bytes).is_ok());
    let message = refused(&load(FILE, &bytes).expect_err("a name is there twice"), FILE);
    assert!(message.ends_with("a is there twice"), "{message}");
}

/// A header of nothing but small entries is what takes most memory beside its length.
#[test]
fn large_headers_take_little_memory() {
    let entry =
        |i: usize| format!("\"{i}\":{{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[{},{}]}}", 4 * i, 4 * i + 4);
    let entries: Vec<String> = (0..100_000).map(entry).collect();
    let bytes = file(&format!("{{{}}}", entries.join(",")), &vec![0; 400_000]);
    let (tensors, taken) = taken(|| load_f32(FILE, &bytes).expect("many tensors"));
    assert_eq!(tensors.len(), 100_000);
    modest(taken, bytes.len(), 8);
    let ones = format!("{{\"__metadata__\":{{\"a\":[{}1]}}}}", "1,".repeat(4_000_000));
    for header in [ones.clone(), ones.replace("__metadata__", "a")] {
        let bytes = file(&header, &[]);
        let (result, taken) = super::alloc::taken(|| load_f32(FILE, &bytes));
        refused(&result.expect_err("numbers for strings"), FILE);
        modest(taken, bytes.len(), 2);
    }
}

/// What a header says of a tensor.
#[derive(Clone, Debug)]
struct Claim {
    name: String,
    dtype: &'static str,
    dims: Vec<u64>,
    start: u64,
    end: u64,
}

/// A change of what a header claims; places are shares of the number of tensors.
#[derive(Clone, Debug)]
enum Lie {
    Dim(Index, Index, u64),
    Rank(Index, usize),
    Dtype(Index, &'static str),
    Name(Index, String),
    Start(Index, u64),
    End(Index, u64),
    Shift(Index, i64),
    Exchange(Index, Index),
    Twice(Index),
    Header(u64),
    Data(usize),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..40, select(vec![1 << 31, 1 << 32, (1 << 62) - 1, 1 << 62, 1 << 63, u64::MAX - 1, u64::MAX])]
}

fn dtype() -> impl Strategy<Value = &'static str> {
    select(vec!["F32", "F16", "BF16", "U32", "F64", "I64", "BOOL", "F4", "F6_E2M3", "F8_E4M3", "C64", "X"])
}

fn lie() -> impl Strategy<Value = Lie> {
    let at = any::<Index>;
    prop_oneof![
        (at(), at(), number()).prop_map(|(i, j, n)| Lie::Dim(i, j, n)),
        (at(), 0usize..12).prop_map(|(i, n)| Lie::Rank(i, n)),
        (at(), dtype()).prop_map(|(i, dtype)| Lie::Dtype(i, dtype)),
        (at(), "\\PC{0,6}|[\\x00-\\x20]{1,3}|x{150,170}").prop_map(|(i, name)| Lie::Name(i, name)),
        (at(), number()).prop_map(|(i, n)| Lie::Start(i, n)),
        (at(), number()).prop_map(|(i, n)| Lie::End(i, n)),
        (at(), -9i64..9).prop_map(|(i, n)| Lie::Shift(i, n)),
        (at(), at()).prop_map(|(i, j)| Lie::Exchange(i, j)),
        at().prop_map(Lie::Twice),
        number().prop_map(Lie::Header),
        (0usize..100).prop_map(Lie::Data),
    ]
}

/// A good file of a few small tensors, in whatever order the header has them, then some lies.
fn claimed() -> impl Strategy<Value = Vec<u8>> {
    let tensor = ("[a-z]{1,3}(\\.[a-z]{1,3}){0,2}", select(vec!["F32", "F16", "BF16", "U32"]), vec(0u64..4, 0..4));
    let tensors = vec(tensor, 0..5).prop_shuffle();
    (tensors, vec(lie(), 0..4), vec(any::<u8>(), 64)).prop_map(|(tensors, lies, noise)| {
        let mut end = 0;
        let claim = |(name, dtype, dims): (String, &'static str, Vec<u64>)| {
            let start = end;
            end += dims.iter().product::<u64>() * if dtype.ends_with("16") { 2 } else { 4 };
            Claim { name, dtype, dims, start, end }
        };
        let mut claims: Vec<Claim> = tensors.into_iter().map(claim).collect();
        let (mut data, mut length) = (end as usize, None);
        for lie in lies {
            tell(lie, &mut claims, &mut data, &mut length);
        }
        let entry = |c: &Claim| {
            let info = json!({ "dtype": c.dtype, "shape": c.dims, "data_offsets": [c.start, c.end] });
            format!("{}:{info}", json!(c.name))
        };
        let header = format!("{{{}}}", claims.iter().rev().map(entry).collect::<Vec<_>>().join(","));
        let mut bytes = file(&header, &noise.iter().copied().cycle().take(data).collect::<Vec<u8>>());
        if let Some(length) = length {
            bytes[..8].copy_from_slice(&u64::to_le_bytes(length));
        }
        bytes
    })
}

fn tell(lie: Lie, claims: &mut Vec<Claim>, data: &mut usize, length: &mut Option<u64>) {
    if claims.is_empty() {
        return;
    }
    let count = claims.len();
    match lie {
        Lie::Dim(i, j, n) => {
            let dims = &mut claims[i.index(count)].dims;
            if !dims.is_empty() {
                let j = j.index(dims.len());
                dims[j] = n;
            }
        }
        Lie::Rank(i, n) => claims[i.index(count)].dims.resize(n, 1),
        Lie::Dtype(i, dtype) => claims[i.index(count)].dtype = dtype,
        Lie::Name(i, name) => claims[i.index(count)].name = name,
        Lie::Start(i, n) => claims[i.index(count)].start = n,
        Lie::End(i, n) => claims[i.index(count)].end = n,
        Lie::Shift(i, n) => {
            let claim = &mut claims[i.index(count)];
            (claim.start, claim.end) = (claim.start.wrapping_add_signed(n), claim.end.wrapping_add_signed(n));
        }
        Lie::Exchange(i, j) => {
            let (i, j) = (i.index(count), j.index(count));
            let offsets = [i, j].map(|i| (claims[i].start, claims[i].end));
            (claims[j].start, claims[j].end) = offsets[0];
            (claims[i].start, claims[i].end) = offsets[1];
        }
        Lie::Twice(i) => claims.push(claims[i.index(count)].clone()),
        Lie::Header(n) => *length = Some(n),
        Lie::Data(n) => *data = n,
    }
}

/// Loads as both loaders do, and compares with the crate.
fn check(bytes: &[u8]) {
    let reference = SafeTensors::deserialize(bytes);
    let (loaded, first) = taken(|| load(FILE, bytes));
    let (floats, second) = taken(|| load_f32(FILE, bytes));
    modest(first, bytes.len(), 8);
    modest(second, bytes.len(), 8);
    for result in [&loaded, &floats] {
        let tensors = match result {
            Ok(tensors) => tensors,
            Err(e) => {
                refused(e, FILE);
                continue;
            }
        };
        let reference = match &reference {
            Ok(reference) => reference,
            // Of a field that it does not know the crate reads the numbers and lists; here they are passed over.
            Err(e) => {
                let why = e.to_string();
                assert!(["number out of range", "recursion limit"].iter().any(|what| why.contains(what)), "{why}");
                continue;
            }
        };
        assert_eq!(reference.len(), tensors.len());
        assert!(tensors.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, tensor) in tensors {
            let view = reference.tensor(name).expect("a tensor of this name");
            assert_eq!(view.shape(), tensor.ty().dims);
            assert_eq!(tensor.bytes().len(), tensor.ty().bytes());
            let same = match tensor.ty().dtype {
                DType::F32 => view.dtype() != safetensors::Dtype::F32 || view.data() == tensor.bytes(),
                DType::F16 | DType::U32 => view.data() == tensor.bytes(),
            };
            assert!(same, "{name} has other bytes");
        }
    }
    if let Ok(tensors) = &floats {
        let all_floats = |t: &(String, Tensor)| t.1.ty().dtype == DType::F32;
        assert!(tensors.iter().all(all_floats));
    }
    // The other way round: what is refused is refused by the crate, or beyond what is read here.
    if let (Err(e), Ok(reference)) = (&loaded, &reference) {
        let odd = |(name, view): (&str, safetensors::tensor::TensorView)| {
            name.len() > 160
                || name.contains(char::is_control)
                || view.shape().len() > 8
                || view.shape().contains(&0)
                || !["F32", "F16", "U32"].contains(&format!("{:?}", view.dtype()).as_str())
        };
        // Of two entries with one name the crate sees the last.
        let entries = String::from_utf8_lossy(bytes).matches("\"dtype\"").count();
        assert!(entries > reference.len() || reference.iter().any(odd), "{e}");
    }
}

fn good() -> Vec<u8> {
    let tensors = ["w", "b", "norm.weight"]
        .map(|name| (name.to_string(), Tensor::f32([2, name.len()], vec![0.5; 2 * name.len()])));
    seqloom::checkpoint::save(&tensors).expect("a file")
}

#[test]
fn a_good_file_is_read() {
    assert_eq!(load(FILE, &good()).expect("a good file").len(), 3);
    check(&good());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn lies_in_the_header(bytes in claimed(), edits in edits()) {
        check(&bytes);
        check(&edited(&bytes, &edits[..edits.len().min(2)]));
    }

    #[test]
    fn edits_of_a_file(edits in edits(), after in edits()) {
        // The length of the header is as it should be, so that the edits are read.
        let good = good();
        let length = u64::from_le_bytes(good[..8].try_into().expect("eight bytes")) as usize;
        let header = edited(&good[8..8 + length], &edits);
        let bytes = [&(header.len() as u64).to_le_bytes(), &header[..], &good[8 + length..]].concat();
        check(&bytes);
        check(&edited(&bytes, &after));
    }

    #[test]
    fn bytes_by_chance(bytes in vec(any::<u8>(), 0..200), length in 0u64..200) {
        check(&bytes);
        check(&[&length.to_le_bytes(), &bytes[..]].concat());
    }
}

/// Every length of a good file, and every byte of it changed.
#[test]
fn every_end_and_every_byte() {
    let good = good();
    for end in 0..good.len() {
        check(&good[..end]);
        for bit in [0, 2, 5, 7] {
            check(&good.iter().enumerate().map(|(i, b)| if i == end { b ^ 1 << bit } else { *b }).collect::<Vec<u8>>());
        }
    }
}
