//! What the table of keys is made of: a [`Key`] as the parser and the printer see it, the [`Value`] types that a key
//! may have, and the two macros that turn the table into structs and enums.

use super::Recipe;
use std::fmt::Display;
use std::ops::{Bound, RangeBounds};
use toml::de::DeValue;

/// A table of the TOML file.
pub struct Section {
    /// As between brackets; "" for the keys before the first section.
    pub name: &'static str,
    /// Lines of documentation.
    pub doc: &'static [&'static str],
    /// In the order in which they are printed.
    pub keys: &'static [Key],
}

/// One setting of the recipe.
pub struct Key {
    /// "section.name", as in messages and after `--set`; the name alone before the first section.
    pub path: &'static str,
    /// As before the equals sign.
    pub name: &'static str,
    /// Lines of documentation.
    pub doc: &'static [&'static str],
    /// Type and range in words, to follow "expected".
    pub expected: fn() -> String,
    /// The recipe's value, as TOML.
    pub get: fn(&Recipe) -> String,
    /// Sets the recipe's value; `None`, and nothing set, if it is not what is expected.
    pub set: fn(&mut Recipe, &DeValue) -> Option<()>,
    /// What exactly is wrong with a value of several parts that `set` refuses.
    pub fault: fn(&DeValue) -> Option<String>,
}

/// A type that a key may have.
pub trait Value: Sized {
    /// What a range bounds: the type itself, or the element of a list.
    type Item: PartialOrd + Display;
    /// The type in words, to follow "expected".
    fn expected() -> String;
    /// `None` if the TOML value is of another type.
    fn read(value: &DeValue) -> Option<Self>;
    /// What is wrong with a value that has parts and that `read` refuses, to follow the key.
    fn fault(_: &DeValue) -> Option<String> {
        None
    }
    /// As TOML, such that `read` gives the same again.
    fn print(&self) -> String;
    /// What a range bounds.
    fn items(&self) -> &[Self::Item];
}

impl Value for bool {
    type Item = bool;
    fn expected() -> String {
        "true or false".into()
    }
    fn read(value: &DeValue) -> Option<bool> {
        value.as_bool()
    }
    fn print(&self) -> String {
        self.to_string()
    }
    fn items(&self) -> &[bool] {
        std::slice::from_ref(self)
    }
}

impl Value for String {
    type Item = String;
    fn expected() -> String {
        "a string".into()
    }
    fn read(value: &DeValue) -> Option<String> {
        value.as_str().map(str::to_owned)
    }
    fn print(&self) -> String {
        toml::Value::from(self.as_str()).to_string()
    }
    fn items(&self) -> &[String] {
        std::slice::from_ref(self)
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Value for $type {
            type Item = $type;
            fn expected() -> String {
                "a whole number".into()
            }
            fn read(value: &DeValue) -> Option<$type> {
                let integer = value.as_integer()?;
                <$type>::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            fn print(&self) -> String {
                self.to_string()
            }
            fn items(&self) -> &[$type] {
                std::slice::from_ref(self)
            }
        }
    )*};
}
whole_number!(usize, u64);

impl Value for f64 {
    type Item = f64;
    fn expected() -> String {
        "a number".into()
    }
    fn read(value: &DeValue) -> Option<f64> {
        match value {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|integer| integer as f64)
            }
            _ => None,
        }
    }
    /// `Debug` is the shortest text that reads back to the same bits, and keeps the point that makes a TOML float.
    fn print(&self) -> String {
        format!("{self:?}")
    }
    fn items(&self) -> &[f64] {
        std::slice::from_ref(self)
    }
}

impl Value for [f64; 2] {
    type Item = f64;
    fn expected() -> String {
        "a list of two numbers".into()
    }
    fn read(value: &DeValue) -> Option<[f64; 2]> {
        let list: Option<Vec<f64>> = value.as_array()?.iter().map(|item| f64::read(item.get_ref())).collect();
        list?.try_into().ok()
    }
    fn print(&self) -> String {
        format!("{self:?}")
    }
    fn items(&self) -> &[f64] {
        self
    }
}

/// [`Value::read`], and `None` outside `range`; NaN is outside every range.
pub fn read_within<V: Value>(value: &DeValue, range: impl RangeBounds<V::Item>) -> Option<V> {
    V::read(value).filter(|value| value.items().iter().all(|item| range.contains(item)))
}

/// Type and range in words. The table's ranges have these four shapes, or are `..`, which says nothing.
pub fn expected_within<V: Value>(range: impl RangeBounds<V::Item>) -> String {
    use Bound::{Excluded, Included};
    V::expected()
        + &match (range.start_bound(), range.end_bound()) {
            (Included(low), Included(high)) => format!(" from {low} to {high}"),
            (Included(low), Excluded(high)) => format!(" from {low} to below {high}"),
            (Excluded(low), Included(high)) => format!(" above {low} and at most {high}"),
            (Excluded(low), Excluded(high)) => format!(" above {low} and below {high}"),
            _ => String::new(),
        }
}

/// `"a", "b" or "c"`.
pub fn one_of(names: &[&str]) -> String {
    match names {
        [only] => format!("\"{only}\", the only one in this version"),
        [first @ .., last] => {
            first.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ") + &format!(" or \"{last}\"")
        }
        [] => String::new(),
    }
}

/// Enums whose variants are strings in TOML.
macro_rules! choices {
    ($(
        $(#[doc = $doc:literal])*
        $Name:ident { $( $(#[doc = $variant_doc:literal])* $Variant:ident = $text:literal, )* }
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
        pub enum $Name { $( $(#[doc = $variant_doc])* $Variant, )* }

        /// As in TOML, without the quotes.
        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $( Self::$Variant => $text, )* })
            }
        }

        impl super::table::Value for $Name {
            type Item = Self;
            fn expected() -> String {
                super::table::one_of(&[$($text),*])
            }
            fn read(value: &toml::de::DeValue) -> Option<Self> {
                match value.as_str()? {
                    $( $text => Some(Self::$Variant), )*
                    _ => None,
                }
            }
            fn print(&self) -> String {
                format!("\"{self}\"")
            }
            fn items(&self) -> &[Self] {
                std::slice::from_ref(self)
            }
        }
    )*};
}

/// The recipe's struct, a struct for each section, their defaults, and `SECTIONS` with every [`Key`].
///
/// Entries are `name: type = default;` or `name: type = default, range;` under their documentation.
macro_rules! table {
    (
        $(#[doc = $recipe_doc:literal])*
        Recipe { $( $(#[doc = $top_doc:literal])* $top:ident: $top_type:ty = $top_default:expr; )* }
        $(
            $(#[doc = $section_doc:literal])*
            $section:ident: $Section:ident {
                $( $(#[doc = $doc:literal])* $key:ident: $type:ty = $default:expr $(, $range:expr)?; )*
            }
        )*
    ) => {
        $(#[doc = $recipe_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct Recipe {
            $( $(#[doc = $top_doc])* pub $top: $top_type, )*
            $( $(#[doc = $section_doc])* pub $section: $Section, )*
        }

        /// Every key's default; what is left to say is where the data is.
        impl Default for Recipe {
            fn default() -> Self {
                Self { $( $top: $top_default, )* $( $section: $Section::default(), )* }
            }
        }

        $(
            $(#[doc = $section_doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( $(#[doc = $doc])* pub $key: $type, )*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )* }
                }
            }
        )*

        /// Every key, in the order in which they are printed.
        static SECTIONS: &[table::Section] = &[
            table::Section {
                name: "",
                doc: &[],
                keys: &[$( table!(@key stringify!($top), $top: $top_type, [$($top_doc),*], [$top], ..), )*],
            },
            $( table::Section {
                name: stringify!($section),
                doc: &[$($section_doc),*],
                keys: &[$(
                    table!(
                        @key concat!(stringify!($section), ".", stringify!($key)),
                        $key: $type, [$($doc),*], [$section.$key] $(, $range)?
                    ),
                )*],
            }, )*
        ];
    };

    (@key $path:expr, $key:ident: $type:ty, $doc:tt, $field:tt) => {
        table!(@key $path, $key: $type, $doc, $field, ..)
    };
    (@key $path:expr, $key:ident: $type:ty, $doc:tt, [$($field:tt)+], $range:expr) => {
        table::Key {
            path: $path,
            name: stringify!($key),
            doc: &$doc,
            expected: || table::expected_within::<$type>($range),
            get: |recipe| table::Value::print(&recipe.$($field)+),
            set: |recipe, value| {
                recipe.$($field)+ = table::read_within::<$type>(value, $range)?;
                Some(())
            },
            fault: <$type as table::Value>::fault,
        }
    };
}

pub(super) use {choices, table};
