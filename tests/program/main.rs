//! The program as people meet it: its exit codes, its two streams and its files, with models that train in a second.

mod attention;
mod average;
mod bench;
mod compare;
mod correct;
mod generate;
mod gpt2;
mod hostile;
mod inspect;
mod interchange;
mod lab;
mod mistakes;
mod recurrent;
mod resume;
mod run_directory;
mod streams;
mod text;
mod verify;

use seqloom::case::Draw;
use seqloom::checkpoint;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const RECIPE: &str = r#"
[model]
d_model = 32
heads = 2
encoder_layers = 1
decoder_layers = 1
ffn = 64
dropout = 0.1
[data]
source = "a.de"
target = "a.en"
[tokenizer]
vocab_size = 300
[train]
steps = 12
batch_tokens = 300
lr = 3e-3
warmup = 4
eval_every = 6
save_every = 3
log_every = 1
[decode]
max_length = 12
"#;

const WORDS: [(&str, &str); 12] = [
    ("der", "the"),
    ("hund", "dog"),
    ("katze", "cat"),
    ("mann", "man"),
    ("frau", "woman"),
    ("sieht", "sees"),
    ("liebt", "loves"),
    ("einen", "a"),
    ("klein", "small"),
    ("groß", "big"),
    ("rot", "red"),
    ("heute", "today"),
];

/// A directory in which the program runs: `tiny.toml` with its corpus `a.de`, `a.en`, and what the runs leave.
struct Place(TempDir);

/// What a command did.
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a temporary directory"));
        let lines = |pairs: &[(String, String)], pick: fn(&(String, String)) -> &String| {
            pairs.iter().map(|pair| pick(pair).clone() + "\n").collect::<String>()
        };
        let pairs = pairs();
        place.write("tiny.toml", RECIPE);
        place.write("a.de", lines(&pairs, |(source, _)| source));
        place.write("a.en", lines(&pairs, |(_, target)| target));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("a file in a temporary directory");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The program with arguments that have no spaces in them.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seqloom"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &str) -> Outcome {
        self.feed(arguments, b"")
    }

    /// Runs with `input` on standard input.
    fn feed(&self, arguments: &str, input: &[u8]) -> Outcome {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("the program starts");
        // A program that fails before it reads closes the pipe.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        let output = child.wait_with_output().expect("the program ends");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8 on both streams");
        Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Trains `tiny.toml` on the CPU.
    fn train(&self, arguments: &str) -> Outcome {
        self.run(&format!("train tiny.toml --device cpu {arguments}"))
    }

    /// Every file under a directory with its bytes.
    fn tree(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        walk(&self.path(name), &mut files);
        files
    }

    /// Whether a run's model is this checkpoint's; for transformers it has more tensors beside the parameters.
    fn is_model_of(&self, run: &str, step: u64) -> bool {
        let files = [format!("{run}/model.safetensors"), format!("{run}/checkpoints/step-{step:06}/model.safetensors")];
        let [model, checkpoint] = files.map(|file| checkpoint::load(&file, &self.read(&file)).expect("tensors"));
        !checkpoint.is_empty() && checkpoint.iter().all(|parameter| model.contains(parameter))
    }

    /// Sorted names of what is in a directory.
    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).unwrap_or_else(|e| panic!("{directory}: {e}"));
        let name = |e: std::io::Result<fs::DirEntry>| e.expect("an entry").file_name().into_string().expect("UTF-8");
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    fn metrics(&self, run: &str) -> Vec<Value> {
        let text = self.text(&format!("{run}/metrics.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
    }
}

impl Outcome {
    #[track_caller]
    fn succeeds(self) -> Outcome {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self
    }

    /// Exit code 2 and one line for people, which has all of `parts` in it.
    #[track_caller]
    fn refuses(&self, parts: &[&str]) {
        let said = |line: &&str| {
            !["device: ", "data: ", "model: ", "memory: ", "warning: "].iter().any(|s| line.starts_with(s))
        };
        let lines: Vec<&str> = self.err.lines().filter(said).collect();
        assert_eq!(self.code, Some(2), "{}", self.err);
        assert!(lines.len() == 1 && lines[0].starts_with("error: "), "{}", self.err);
        assert_eq!(self.out, "");
        for part in parts {
            assert!(lines[0].contains(part), "{part} is not in: {}", lines[0]);
        }
        // What a library would say to a programmer.
        for word in ["panicked", "wgpu", "unwrap", "Validation", "os error", "Err("] {
            assert!(!self.err.contains(word), "{}", self.err);
        }
    }
}

fn walk(path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => walk(&path, files),
            false => drop(files.insert(path.clone(), fs::read(&path).expect("a file"))),
        }
    }
}

/// Sentences of two to eight words, translated word by word.
fn pairs() -> Vec<(String, String)> {
    let mut draw = Draw::new(1);
    let mut pair = || {
        let words: Vec<_> = (0..2 + draw.below(7)).map(|_| WORDS[draw.below(WORDS.len())]).collect();
        let side = |words: Vec<&str>| words.join(" ");
        (side(words.iter().map(|w| w.0).collect()), side(words.iter().map(|w| w.1).collect()))
    };
    (0..60).map(|_| pair()).collect()
}
