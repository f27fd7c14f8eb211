//! Files: read with one clear line when that fails, written whole or not at all.

use seqloom::error::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};

fn why(e: &std::io::Error) -> String {
    match e.kind() {
        ErrorKind::NotFound => "no such file or directory".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "is a directory".into(),
        ErrorKind::NotADirectory => "a part of the path is not a directory".into(),
        ErrorKind::AlreadyExists => "there is something else of this name".into(),
        ErrorKind::DirectoryNotEmpty => "there is a directory of this name that is not empty".into(),
        ErrorKind::StorageFull => "no space left on the device".into(),
        _ => {
            let text = e.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_string()
        }
    }
}

/// What a file of settings has at most, in bytes: parsed, it takes many times as much.
pub const SETTINGS: u64 = 1 << 20;
/// What a file has at most that lists things: tokens, tensors, times.
pub const LIST: u64 = 32 << 20;

/// The bytes of a file. Errors: there is none, or something that has no end.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let length = length(path)?;
    let mut bytes = vec![];
    // What the file claims may be more than there is memory.
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX)).map_err(|_| {
        Error::Input(format!("cannot read {}: its {length} bytes do not fit into memory", path.display()))
    })?;
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(cannot_read(path))?;
    Ok(bytes)
}

/// Bytes of a file. A pipe or a device would be waited for, perhaps for ever.
fn length(path: &Path) -> Result<u64> {
    let found = fs::metadata(path).map_err(cannot_read(path))?;
    match (found.is_file(), found.is_dir()) {
        (true, _) => Ok(found.len()),
        (_, true) => Err(cannot_read(path)(ErrorKind::IsADirectory.into())),
        _ => Err(Error::Input(format!(
            "cannot read {}: it is a pipe or a device, expected a file; write what comes out of it to a file first",
            path.display()
        ))),
    }
}

fn cannot_read(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::Input(format!("cannot read {}: {}", path.display(), why(&e)))
}

/// Writes a line to standard output.
pub fn print(line: std::fmt::Arguments) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|e| Error::Input(format!("standard output cannot be written: {}", why(&e))))
}

/// The text of a file. Errors: it has more than `most` bytes, so it is something else.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    let length = length(path)?;
    if length > most {
        return Err(Error::Input(format!(
            "cannot read {}: it has {length} bytes, and what is expected here has at most {most}; is it another file?",
            path.display()
        )));
    }
    String::from_utf8(read(path)?).map_err(|e| {
        Error::Input(format!("{}: invalid UTF-8 at byte {}", path.display(), e.utf8_error().valid_up_to()))
    })
}

fn cannot_write(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::Input(format!("cannot write {}: {}", path.display(), why(&e)))
}

/// A path to be typed after a command, in quotes where it would not be one word.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    match text.chars().all(|c| c.is_alphanumeric() || "/\\:._-+~".contains(c)) {
        true => text,
        false => format!("\"{text}\""),
    }
}

/// Refuses what cannot be the name of a directory that is to be made: it is nobody's name, or what is there cannot be
/// seen yet, because the path leads back out of a directory that does not exist.
pub fn check_out(path: &Path) -> Result<()> {
    let back = |a: &&Path| a.components().next_back() == Some(Component::ParentDir);
    if path.file_name().is_none() {
        return Err(Error::Input(format!("--out {} ends in no name; give the directory's own", path.display())));
    }
    match path.ancestors().filter(back).find(|a| !a.is_dir()) {
        Some(gone) => Err(Error::Input(format!("--out {}: there is no {}", path.display(), gone.display()))),
        None => Ok(()),
    }
}

/// Makes a directory and those above it.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(cannot_write(path))
}

/// What a file or directory is called until it is whole.
fn temporary(name: &str) -> String {
    format!(".{name}.new")
}

/// Whether this is a name of what is not whole yet, or not any more.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".new")
}

/// Replaces a file by one with these bytes: written under another name, synced, renamed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(temporary(&name));
    write_synced(&temporary, bytes)?;
    fs::rename(&temporary, path).map_err(cannot_write(path))
}

/// Whether [`write`] could replace this file; nothing is left behind.
pub fn check_writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(cannot_write(path)(ErrorKind::IsADirectory.into()));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(temporary(&name));
    File::create(&temporary).map_err(cannot_write(path))?;
    remove(&temporary)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(cannot_write(path))
}

/// Makes a directory with these files appear at once: written under another name, synced, renamed once. Errors: there
/// is something of its name that is not an empty directory. A file's name may have directories in it.
pub fn write_dir(path: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(temporary(&name));
    remove(&temporary)?;
    make_dir(&temporary)?;
    for (file, bytes) in files {
        let path = temporary.join(file);
        path.parent().map_or(Ok(()), make_dir)?;
        write_synced(&path, bytes)?;
    }
    sync_dir(Some(&temporary));
    // Not every system renames to the name of an empty directory; one that is not empty stays, and so does the error.
    let _ = fs::remove_dir(path);
    if let Err(e) = fs::rename(&temporary, path) {
        remove(&temporary)?;
        return Err(cannot_write(path)(e));
    }
    sync_dir(path.parent());
    Ok(())
}

/// Names in a directory reach the disk with the directory's own sync, where a directory can be opened.
fn sync_dir(path: Option<&Path>) {
    if let Some(Ok(directory)) = path.map(File::open) {
        let _ = directory.sync_all();
    }
}

/// Removes a file, or a directory with all that is in it, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(cannot_write(path)(e)),
        _ => Ok(()),
    }
}

/// Removes a directory that a kill must not leave half there: under a temporary name.
pub fn discard(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(temporary(&name));
    remove(&temporary)?;
    fs::rename(path, &temporary).map_err(cannot_write(path))?;
    remove(&temporary)
}

/// Gives a file another name, if it is there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(cannot_write(to)(e)),
        _ => Ok(()),
    }
}

/// Locks a file, made if need be, until it is dropped; none where the system cannot tell. Errors: another process holds
/// it, `busy` says what that means.
pub fn lock(path: &Path, busy: impl FnOnce() -> String) -> Result<Option<File>> {
    let file = File::options().create(true).append(true).open(path).map_err(cannot_write(path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::Input(busy())),
        Err(TryLockError::Error(e)) => {
            eprintln!("warning: {} cannot be locked: {}", path.display(), why(&e));
            Ok(None)
        }
    }
}

/// Whether two paths lead to one directory that is there.
pub fn same(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Names of what is in a directory, sorted; none if there is no such directory.
pub fn list(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(cannot_read(path)(e)),
    };
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Appends text to a file, and waits until it is on the disk.
pub fn append(path: &Path, text: &str) -> Result<()> {
    let open = || File::options().create(true).append(true).open(path);
    let append = |mut file: File| file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
    open().and_then(append).map_err(cannot_write(path))
}

/// The WGSL files of a directory and of its `lib`, relative to it.
pub fn shaders(dir: &Path) -> Result<Vec<(String, String)>> {
    let mut files = vec![];
    for (prefix, dir) in [("", dir.to_path_buf()), ("lib/", dir.join("lib"))] {
        for name in list(&dir)?.into_iter().filter(|n| n.ends_with(".wgsl")) {
            files.push((format!("{prefix}{name}"), read_text(&dir.join(&name), SETTINGS)?));
        }
    }
    match files.is_empty() {
        true => Err(Error::Input(format!("{}: there are no .wgsl files here", PathBuf::from(dir).display()))),
        false => Ok(files),
    }
}
