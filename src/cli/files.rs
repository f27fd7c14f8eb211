//! Files: read with one clear line when that fails, written whole or not at all.

use seqloom::error::{Error, Result};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

fn why(e: &std::io::Error) -> String {
    match e.kind() {
        ErrorKind::NotFound => "no such file or directory".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "is a directory".into(),
        ErrorKind::NotADirectory => "a part of the path is not a directory".into(),
        _ => e.to_string(),
    }
}

/// The bytes of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::Input(format!("cannot read {}: {}", path.display(), why(&e))))
}

/// Writes a line to standard output.
pub fn print(line: std::fmt::Arguments) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|e| Error::Input(format!("standard output cannot be written: {}", why(&e))))
}

/// The text of a file.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|e| {
        Error::Input(format!("{}: invalid UTF-8 at byte {}", path.display(), e.utf8_error().valid_up_to()))
    })
}

fn cannot_write(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::Input(format!("cannot write {}: {}", path.display(), why(&e)))
}

/// Makes a directory and those above it.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(cannot_write(path))
}

/// What a file or directory is called until it is whole.
fn temporary(name: &str) -> String {
    format!(".{name}.new")
}

/// Whether this is a name that [`write`] and [`write_dir`] give to what is not whole yet.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".new")
}

/// Removes what was being written in a directory when its writer was killed.
pub fn remove_temporary(dir: &Path) -> Result<()> {
    list(dir)?.iter().filter(|n| is_temporary(n)).try_for_each(|n| remove(&dir.join(n)))
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

/// Makes a directory with these files appear at once: written under another name, synced, renamed once. One that is
/// there already is replaced.
pub fn write_dir(path: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(temporary(&name));
    remove(&temporary)?;
    make_dir(&temporary)?;
    for (file, bytes) in files {
        write_synced(&temporary.join(file), bytes)?;
    }
    sync_dir(Some(&temporary));
    remove(path)?;
    fs::rename(&temporary, path).map_err(cannot_write(path))?;
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

/// Whether two paths lead to one directory that is there.
pub fn same(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Names of what is in a directory, sorted; none if there is no such directory.
pub fn list(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(Error::Input(format!("cannot read {}: {}", path.display(), why(&e)))),
    };
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Appends text to a file.
pub fn append(path: &Path, text: &str) -> Result<()> {
    let open = || File::options().create(true).append(true).open(path);
    open().and_then(|mut file| file.write_all(text.as_bytes())).map_err(cannot_write(path))
}

/// The WGSL files of a directory and of its `lib`, relative to it.
pub fn shaders(dir: &Path) -> Result<Vec<(String, String)>> {
    let mut files = vec![];
    for (prefix, dir) in [("", dir.to_path_buf()), ("lib/", dir.join("lib"))] {
        for name in list(&dir)?.into_iter().filter(|n| n.ends_with(".wgsl")) {
            files.push((format!("{prefix}{name}"), read_text(&dir.join(&name))?));
        }
    }
    match files.is_empty() {
        true => Err(Error::Input(format!("{}: there are no .wgsl files here", PathBuf::from(dir).display()))),
        false => Ok(files),
    }
}
