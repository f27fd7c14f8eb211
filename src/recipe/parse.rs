//! From TOML and `--set` to a recipe, with messages that say where.

use super::check::{self, RIVALS, SOURCES, VALIDATION};
use super::lookup::{find, shorten, unknown_key, unknown_section};
use super::table::Key;
use super::{Recipe, SECTIONS};
use crate::error::{Error, Result};
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// One `key = value`, from the file or from `--set`.
struct Setting<'a> {
    key: &'static Key,
    value: DeValue<'a>,
    /// The value as it was written.
    written: &'a str,
    /// `my.toml:12` or `--set section.key=value`.
    place: String,
    /// From `--set`, where a string needs no quotes.
    typed: bool,
}

/// See [`Recipe::parse`].
pub(super) fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Recipe> {
    let mut settings = read_file(file, text)?;
    let overrides = overrides.iter().map(|text| read_override(text)).collect::<Result<Vec<_>>>()?;
    let idle_before = check::idle(&apply(settings.iter())?);
    if overrides.iter().any(|setting| SOURCES.contains(&setting.key.path) && !setting.is_empty()) {
        settings.retain(|setting| !SOURCES.contains(&setting.key.path) && !VALIDATION.contains(&setting.key.path));
    }
    for (key, stronger) in RIVALS {
        if overrides.iter().any(|setting| setting.key.path == key) {
            settings.retain(|setting| setting.key.path != stronger);
        }
    }
    // What an override leaves without effect is forgotten; what the text itself says in vain is a mistake.
    let mut idle = check::idle(&apply(settings.iter().chain(&overrides))?);
    idle.retain(|(key, _)| idle_before.iter().all(|(before, _)| before != key));
    settings.retain(|setting| idle.iter().all(|(key, _)| *key != setting.key.path));
    settings.extend(overrides);
    let recipe = assemble(file, &settings)?;
    let defaults = Recipe::of_kind(recipe.model.kind);
    let says = |key: &str| settings.iter().rfind(|s| s.key.path == key && !s.says(&defaults));
    let vain = check::idle(&recipe).into_iter().find_map(|(key, why)| Some((says(key)?, why)));
    match vain {
        Some((s, why)) => fail(&s.place, format!("{}: has no effect: {why}; leave it out", s.key.path)),
        None => Ok(recipe),
    }
}

/// See [`Recipe::parse_stored`].
pub(super) fn parse_stored(file: &str, text: &str) -> Result<Recipe> {
    let settings = read_file(file, text)?;
    let has = |section: &str| settings.iter().any(|s| s.key.path.split_once('.').is_some_and(|(s, _)| s == section));
    match SECTIONS.iter().find(|section| !section.name.is_empty() && !has(section.name)) {
        Some(section) => fail(file, format!("[{}] is missing: this is not the whole recipe of a run", section.name)),
        None => assemble(file, &settings),
    }
}

/// The recipe of these settings.
fn assemble(file: &str, settings: &[Setting]) -> Result<Recipe> {
    let mut recipe = apply(settings)?;
    if recipe.name.is_empty() {
        let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str());
        recipe.name = stem.filter(|stem| check::is_directory_name(stem)).unwrap_or("recipe").into();
    }
    match check::conflict(&recipe) {
        None => Ok(recipe),
        Some(conflict) => {
            let last = |path: &&str| settings.iter().rfind(|setting| setting.key.path == *path);
            let set: Vec<&Setting> = conflict.keys.iter().filter_map(last).collect();
            // The recipe may have been right before the override.
            let blamed = set.iter().find(|setting| setting.typed).or(set.first());
            fail(blamed.map_or(file, |setting| &setting.place), conflict.text)
        }
    }
}

/// The defaults with these settings, whether or not they fit each other.
fn apply<'a>(settings: impl IntoIterator<Item = &'a Setting<'a>> + Clone) -> Result<Recipe> {
    // What the defaults are depends on one of the settings.
    let mut recipe = Recipe::default();
    let mut kinds = settings.clone().into_iter().filter(|setting| setting.key.path == "model.kind");
    kinds.try_for_each(|setting| setting.apply(&mut recipe))?;
    let mut recipe = Recipe::of_kind(recipe.model.kind);
    settings.into_iter().try_for_each(|setting| setting.apply(&mut recipe))?;
    Ok(recipe)
}

fn fail<T>(place: &str, text: String) -> Result<T> {
    Err(Error::Input(format!("{place}: {text}")))
}

impl Setting<'_> {
    fn is_empty(&self) -> bool {
        self.written.is_empty() || self.value.as_str() == Some("")
    }

    /// Whether it says what holds without it. A stored recipe says every key.
    fn says(&self, defaults: &Recipe) -> bool {
        let mut recipe = defaults.clone();
        self.apply(&mut recipe).is_ok() && recipe == *defaults
    }

    fn apply(&self, recipe: &mut Recipe) -> Result<()> {
        let Key { path, expected, set, fault, .. } = self.key;
        // `--set data.tsv=2024` is TOML for a number, and yet a file's name.
        let as_string = DeValue::String(self.written.into());
        if set(recipe, &self.value).is_some() || (self.typed && set(recipe, &as_string).is_some()) {
            return Ok(());
        }
        if let Some(fault) = fault(&self.value) {
            return fail(&self.place, format!("{path}: {fault}"));
        }
        let found = if self.value.is_table() { "a table".into() } else { shorten(self.written) };
        fail(&self.place, format!("{path}: expected {}, found {found}", expected()))
    }
}

/// The file's settings in the order of its lines.
fn read_file<'a>(file: &str, text: &'a str) -> Result<Vec<Setting<'a>>> {
    let place = |at: usize| format!("{file}:{}", 1 + text[..at].matches('\n').count());
    let sections = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let at = if span.is_empty() { String::new() } else { format!(": {}", shorten(&text[span.clone()])) };
            return fail(&place(span.start), format!("not TOML: {}{at}", error.message().replace('\n', ", ")));
        }
    };
    // (position of the key, path, value)
    let mut found = Vec::new();
    for (name, value) in sections {
        let (at, name, shown) = (name.span().start, name.into_inner(), shorten(&text[value.span()]));
        let known = SECTIONS.iter().any(|section| section.name == name);
        match (known, value.get_ref()) {
            (true, DeValue::Table(keys)) => found.extend(
                keys.iter().map(|(key, value)| (key.span().start, format!("{name}.{}", key.get_ref()), value.clone())),
            ),
            (true, _) => {
                return fail(&place(at), format!("{name}: expected a section, written [{name}], found {shown}"));
            }
            (false, DeValue::Table(_)) if find(&name).is_none() => return fail(&place(at), unknown_section(&name)),
            (false, _) => found.push((at, name.into_owned(), value)),
        }
    }
    found.sort_by_key(|(at, ..)| *at);
    let setting = |(at, path, value): (usize, String, toml::Spanned<DeValue<'a>>)| {
        let (place, written) = (place(at), &text[value.span()]);
        let Some(key) = find(&path) else { return fail(&place, unknown_key(&path)) };
        Ok(Setting { key, value: value.into_inner(), written, place, typed: false })
    };
    found.into_iter().map(setting).collect()
}

/// A setting from `section.key=value`.
fn read_override(text: &str) -> Result<Setting<'_>> {
    let place = format!("--set {}", text.replace(char::is_control, " "));
    let Some((path, written)) = text.split_once('=') else {
        return fail(&place, "expected section.key=value, such as train.steps=500".into());
    };
    let (path, written) = (path.trim(), written.trim());
    let Some(key) = find(path) else { return fail(&place, unknown_key(path)) };
    let value = DeValue::parse(written).map_or_else(|_| DeValue::String(written.into()), toml::Spanned::into_inner);
    Ok(Setting { key, value, written, place, typed: true })
}

#[cfg(test)]
mod tests;
