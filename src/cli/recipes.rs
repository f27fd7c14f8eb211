//! `seqloom recipes`: the built-in recipes.

use clap::Args;
use seqloom::error::{Error, Result};
use seqloom::recipe::Recipe;
use std::process::ExitCode;

/// Arguments of `recipes`.
#[derive(Args)]
pub struct Recipes {
    /// Print this recipe as TOML, every key with its meaning, type and default
    name: Option<String>,
}

/// The TOML of a built-in recipe, or what there is instead.
pub fn builtin(name: &str) -> Result<&'static str> {
    Recipe::builtin(name).ok_or_else(|| Error::Input(format!("there is no recipe {name}; built in: {}", names())))
}

/// The names of the built-in recipes, as a list for people.
pub fn names() -> String {
    Recipe::builtin_names().collect::<Vec<_>>().join(", ")
}

/// Prints on standard output.
pub fn run(args: &Recipes) -> Result<ExitCode> {
    match &args.name {
        Some(name) => out!("{}", Recipe::parse(name, builtin(name)?, &[])?.to_toml().trim_end()),
        None => {
            for name in Recipe::builtin_names() {
                let about = builtin(name)?.lines().next().unwrap_or_default().trim_start_matches("# ");
                out!("{name:12} {about}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
