//! Reading one table key by key, and refusing what was not read.
//!
//! Every method notes its problem and goes on, so one run reports all of them.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use toml::de::{DeTable, DeValue};

use super::interpolate::interpolate;
use super::model::Located;
use super::nearest::nearest;
use super::problem::Problem;

/// What all readers of one file share.
pub struct Context<'a> {
    /// Gives environment variables.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Problems so far.
    pub problems: RefCell<Vec<Problem>>,
}

impl Context<'_> {
    /// Notes a problem.
    pub fn problem(&self, offset: usize, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem::at(offset, message));
    }

    /// Replaces variables; a failure is noted and gives none.
    fn interpolated(&self, text: &str, offset: usize) -> Option<String> {
        interpolate(text, self.lookup).map_err(|message| self.problem(offset, message)).ok()
    }
}

/// Reads the keys of one table.
pub struct Reader<'a> {
    context: &'a Context<'a>,
    table: Option<&'a DeTable<'a>>,
    /// How messages call the table, e.g. `[server]`.
    name: String,
    offset: usize,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Reader<'a> {
    /// A reader of `table`; none reads as an empty table.
    pub fn new(
        context: &'a Context<'a>,
        table: Option<&'a DeTable<'a>>,
        name: impl Into<String>,
        offset: usize,
    ) -> Self {
        Self { context, table, name: name.into(), offset, known: RefCell::new(Vec::new()) }
    }

    /// Byte offset of the table.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn value(&self, key: &'static str) -> Option<(&'a DeValue<'a>, usize)> {
        self.known.borrow_mut().push(key);
        let spanned = self.table?.get(key)?;
        Some((spanned.get_ref(), spanned.span().start))
    }

    fn wrong_type(&self, key: &str, offset: usize, wanted: &str, found: &DeValue<'_>) {
        let message = format!("`{key}` in {} must be {wanted}, found {}", self.name, found.type_str());
        self.context.problem(offset, message);
    }

    /// A text with its variables replaced.
    pub fn text(&self, key: &'static str) -> Option<Located<String>> {
        let (value, offset) = self.value(key)?;
        let Some(text) = value.as_str() else {
            self.wrong_type(key, offset, "a string", value);
            return None;
        };
        let value = self.context.interpolated(text, offset)?;
        Some(Located { value, offset })
    }

    /// A list of texts.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let (value, offset) = self.value(key)?;
        let Some(array) = value.as_array() else {
            self.wrong_type(key, offset, "an array of strings", value);
            return None;
        };
        let mut texts = Vec::new();
        for element in array.iter() {
            let offset = element.span().start;
            match element.get_ref().as_str() {
                Some(text) => texts.extend(self.context.interpolated(text, offset)),
                None => self.wrong_type(key, offset, "an array of strings", element.get_ref()),
            }
        }
        Some(texts)
    }

    /// A text that must be there and not be empty.
    pub fn required(&self, key: &'static str) -> Located<String> {
        let present = self.table.is_some_and(|t| t.contains_key(key));
        let text = self.text(key);
        match text {
            Some(text) if !text.value.trim().is_empty() => text,
            Some(text) => {
                self.context.problem(text.offset, format!("`{key}` in {} is empty", self.name));
                text
            }
            None => {
                if !present {
                    self.context.problem(self.offset, format!("{} needs a `{key}`", self.name));
                }
                Located { value: String::new(), offset: self.offset }
            }
        }
    }

    /// A text read by `parse`, or the default.
    pub fn parsed<T>(&self, key: &'static str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let Some(text) = self.text(key) else { return default };
        match parse(&text.value) {
            Ok(value) => value,
            Err(message) => {
                self.context.problem(text.offset, format!("`{key}` in {}: {message}", self.name));
                default
            }
        }
    }

    /// A whole number within `range`; a string may stand for it (`"${WORKERS:-2}"`).
    pub fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let (value, offset) = self.value(key)?;
        let read = match value {
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok().and_then(|i| u64::try_from(i).ok()),
            DeValue::String(s) => self.context.interpolated(s, offset)?.trim().parse().ok(),
            other => {
                self.wrong_type(key, offset, "a whole number", other);
                return None;
            }
        };
        match read {
            Some(n) if range.contains(&n) => Some(n),
            _ => {
                let (low, high) = (range.start(), range.end());
                let message = format!("`{key}` in {} must be a whole number from {low} to {high}", self.name);
                self.context.problem(offset, message);
                None
            }
        }
    }

    /// A truth value; a string may stand for it.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let (value, offset) = self.value(key)?;
        match value {
            DeValue::Boolean(b) => Some(*b),
            DeValue::String(s) => match self.context.interpolated(s, offset)?.trim() {
                "true" => Some(true),
                "false" => Some(false),
                _ => {
                    self.context.problem(offset, format!("`{key}` in {} must be true or false", self.name));
                    None
                }
            },
            other => {
                self.wrong_type(key, offset, "true or false", other);
                None
            }
        }
    }

    /// One of a list of words, or the default.
    pub fn choice<T: Copy>(&self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        self.parsed(key, default, |text| {
            words.iter().find(|(w, _)| *w == text).map(|(_, v)| *v).ok_or_else(|| {
                let list: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
                format!("`{text}` is not one of {}", list.join(", "))
            })
        })
    }

    /// A table within this one.
    pub fn table(&self, key: &'static str) -> Reader<'a> {
        let (table, offset) = match self.value(key) {
            Some((DeValue::Table(table), offset)) => (Some(table), offset),
            Some((other, offset)) => {
                self.wrong_type(key, offset, "a table", other);
                (None, offset)
            }
            None => (None, self.offset),
        };
        Reader::new(self.context, table, format!("[{key}]"), offset)
    }

    /// The tables of `[[key]]`.
    pub fn tables(&self, key: &'static str) -> Vec<Reader<'a>> {
        let Some((value, offset)) = self.value(key) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            self.wrong_type(key, offset, &format!("an array of tables, `[[{key}]]`"), value);
            return Vec::new();
        };
        let mut readers = Vec::new();
        for element in array.iter() {
            let offset = element.span().start;
            match element.get_ref() {
                DeValue::Table(table) => {
                    let name = match table.get("name").and_then(|n| n.get_ref().as_str()) {
                        Some(name) => format!("[[{key}]] {name}"),
                        None => format!("[[{key}]]"),
                    };
                    readers.push(Reader::new(self.context, Some(table), name, offset));
                }
                other => self.wrong_type(key, offset, "an array of tables", other),
            }
        }
        readers
    }

    /// Free keys with plain values; nested tables become dotted keys (`bootstrap.servers`).
    pub fn properties(&self, key: &'static str) -> Vec<(String, Located<String>)> {
        let mut out = Vec::new();
        match self.value(key) {
            Some((DeValue::Table(table), _)) => self.flatten("", table, &mut out),
            Some((other, offset)) => self.wrong_type(key, offset, "a table", other),
            None => {}
        }
        out
    }

    fn flatten(&self, prefix: &str, table: &DeTable<'_>, out: &mut Vec<(String, Located<String>)>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let offset = value.span().start;
            let text = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.flatten(&format!("{name}."), inner, out);
                    continue;
                }
                DeValue::String(s) => match self.context.interpolated(s, offset) {
                    Some(text) => text,
                    None => continue,
                },
                DeValue::Integer(i) => i.to_string(),
                DeValue::Float(f) => f.as_str().to_owned(),
                DeValue::Boolean(b) => b.to_string(),
                DeValue::Datetime(d) => d.to_string(),
                other @ DeValue::Array(_) => {
                    self.wrong_type(&name, offset, "a string, number or truth value", other);
                    continue;
                }
            };
            out.push((name, Located { value: text, offset }));
        }
    }

    /// Refuses every key that no method has asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(|t| t.keys()) {
            let word: &str = key.get_ref();
            if known.contains(&word) {
                continue;
            }
            let next = match nearest(word, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            self.context.problem(key.span().start, format!("unknown key `{word}` in {}; {next}", self.name));
        }
    }
}
