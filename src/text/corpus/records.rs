//! CSV, record by record, with the quoting of RFC 4180.

use super::{LONGEST_LINE, too_long};
use crate::error::{Error, Result};

/// Columns of a file.
const MOST_COLUMNS: usize = 1000;

/// The records of a CSV file that are not yet read.
pub(super) struct Records<'a> {
    name: &'a str,
    rest: &'a str,
    /// Number of the line on which `rest` starts, from 1.
    line: usize,
}

impl<'a> Records<'a> {
    /// All of a file's.
    pub(super) fn new(name: &'a str, text: &'a str) -> Records<'a> {
        Records { name, rest: text, line: 1 }
    }

    /// Whether there is no more.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Number of the line on which the next one starts, from 1.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The fields of the next record, at least one.
    pub(super) fn next_record(&mut self) -> Result<Vec<String>> {
        let mut fields = Vec::new();
        let (line, before) = (self.line, self.rest.len());
        loop {
            if fields.len() == MOST_COLUMNS {
                let name = self.name;
                return Err(Error::Input(format!("{name}: line {line}: more than {MOST_COLUMNS} columns")));
            }
            fields.push(if self.rest.starts_with('"') { self.quoted()? } else { self.plain().to_owned() });
            if before - self.rest.len() > LONGEST_LINE {
                return Err(too_long(self.name, line, before - self.rest.len()));
            }
            let separator = match self.rest.as_bytes() {
                [b',' | b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                // Nothing, or the carriage return that ends a file cut before its line feed.
                rest => rest.len(),
            };
            if self.skip(separator) != "," {
                return Ok(fields);
            }
        }
    }

    /// A field without quotes around it, up to a comma or the end of the line. Quotes inside are characters.
    fn plain(&mut self) -> &'a str {
        let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let ends_line = !self.rest[end..].starts_with(',');
        let field = &self.rest[..end];
        let field = if ends_line { field.strip_suffix('\r').unwrap_or(field) } else { field };
        self.skip(field.len())
    }

    /// A field in quotes, which are taken off; two quotes inside are one.
    fn quoted(&mut self) -> Result<String> {
        let opened = self.line;
        let mut field = String::new();
        self.skip(1);
        loop {
            let Some(quote) = self.rest.find('"') else {
                return Err(Error::Input(format!("{}: line {opened}: a quote is not closed", self.name)));
            };
            field += self.skip(quote);
            self.skip(1);
            match self.rest.as_bytes() {
                [b'"', ..] => field += self.skip(1),
                [] | [b',' | b'\n', ..] | [b'\r'] | [b'\r', b'\n', ..] => return Ok(field),
                _ => {
                    let (name, line) = (self.name, self.line);
                    return Err(Error::Input(format!(
                        "{name}: line {line}: text after a closing quote; a quote inside a field is written twice"
                    )));
                }
            }
        }
    }

    /// Takes `bytes` bytes off the rest.
    fn skip(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}
