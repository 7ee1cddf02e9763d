//! The JSON decoder: one pass over a record, straight into columns.
//!
//! A record is first matched against the shape of the last one (see `shape`), value by value; at the
//! first difference the walk by the grammar takes over in the middle and learns the new shape.
//! Invariants: a refused record leaves the columns as they were; nothing is accepted that is not
//! JSON; of a key that occurs twice each value must fit and the last one counts.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use laminar_connector_kit::{ConnectorError, ConnectorOptions, OptionSpec, Options};
use laminar_core::connector::{Decoder, DecoderFactory, Malformed, RawRecord};

use super::capture::{self, Reading};
use super::options::JsonOptions;
use super::shape::{Shape, Target};
use super::{skip, string};
use crate::column::{self, Column};
use crate::value::Fault;

/// Above so many columns keys are looked up by hash.
const SCANNED_COLUMNS: usize = 12;

/// Characters of a value that a refusal shows.
const SHOWN: usize = 60;

/// Makes [`JsonDecoder`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonDecoderFactory;

impl DecoderFactory for JsonDecoderFactory {
    fn name(&self) -> &'static str {
        "json"
    }

    fn options(&self) -> &'static [OptionSpec] {
        JsonOptions::OPTIONS
    }

    fn create(
        &self,
        fields: &[String],
        schema: SchemaRef,
        options: &Options,
    ) -> Result<Box<dyn Decoder>, ConnectorError> {
        Ok(Box::new(JsonDecoder::new(fields, schema, &JsonOptions::from_options(options)?)?))
    }
}

/// Where a value was refused.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    fault: Fault,
    column: Option<usize>,
    at: usize,
}

/// Decodes JSON objects to the columns of one schema.
pub struct JsonDecoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    by_name: Option<HashMap<Box<str>, usize>>,
    shape: Shape,
    /// Columns that the learned shape does not fill.
    unfilled: Vec<usize>,
    rows: usize,
    reading: Reading,
    max_record: usize,
    /// An unescaped key, reused.
    key: Vec<u8>,
}

impl JsonDecoder {
    /// A decoder of the record's `fields`, in order, to the columns of `schema`.
    ///
    /// # Errors
    /// `LDB-6201`: a type that JSON cannot hold.
    pub fn new(fields: &[String], schema: SchemaRef, options: &JsonOptions) -> Result<Self, ConnectorError> {
        let pairs = fields.iter().zip(schema.fields());
        let columns = pairs.map(|(name, field)| Column::new(name, field)).collect::<Result<Vec<_>, _>>()?;
        let by_name = (columns.len() > SCANNED_COLUMNS)
            .then(|| columns.iter().enumerate().map(|(index, column)| (column.name.clone(), index)).collect());
        Ok(Self {
            schema,
            by_name,
            unfilled: Vec::new(),
            columns,
            shape: Shape::default(),
            rows: 0,
            reading: Reading {
                epoch: options.epoch_unit(),
                numbers_in_strings: options.numbers_in_strings,
                any_as_text: options.text == "any",
                max_depth: options.max_depth,
            },
            max_record: options.max_record.as_usize(),
            key: Vec::new(),
        })
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if !bytes.is_ascii() && std::str::from_utf8(bytes).is_err() {
            return Err(Refusal { fault: Fault::Utf8, column: None, at: 0 });
        }
        let (mut at, mut step) = (0, 0);
        while let Some(gap) = self.shape.gap(step) {
            if !gap.stands(bytes, at) {
                break;
            }
            at += gap.len as usize;
            step += 1;
            if gap.target == Target::End {
                ended(bytes, at)?;
                return fill(&mut self.columns, &self.unfilled);
            }
            // The literal may be the beginning of a longer run of white space.
            at = skip::space(bytes, at);
            at = match gap.target {
                Target::Column(index) => {
                    let index = index as usize;
                    let column = &mut self.columns[index];
                    capture::value(column, bytes, at, &self.reading).map_err(|fault| Refusal {
                        fault,
                        column: Some(index),
                        at,
                    })?
                }
                Target::Skip | Target::End => skip::value(bytes, at, self.reading.max_depth)
                    .map_err(|fault| Refusal { fault, column: None, at })?,
            };
        }
        self.walk(bytes, at, step)
    }

    /// Goes on by the grammar behind `step` matched values, and learns.
    fn walk(&mut self, bytes: &[u8], from: usize, step: usize) -> Result<(), Refusal> {
        let refuse = |fault, at| Refusal { fault, column: None, at };
        self.shape.relearn(step);
        // Where the literal before the next value begins.
        let mut literal = from;
        let mut at = skip::space(bytes, from);
        let mut first = step == 0;
        if first {
            if bytes.get(at) != Some(&b'{') {
                return Err(refuse(if at >= bytes.len() { Fault::Truncated } else { Fault::NotObject }, at));
            }
            at = skip::space(bytes, at + 1);
        }
        loop {
            match bytes.get(at) {
                Some(b'}') => break,
                Some(b',') if !first => at = skip::space(bytes, at + 1),
                Some(b'"') if first => {}
                Some(_) => return Err(refuse(Fault::Syntax, at)),
                None => return Err(refuse(Fault::Truncated, at)),
            }
            first = false;
            let (column, value) = self.key(bytes, at)?;
            at = self.member(bytes, literal, column, value)?;
            literal = at;
            at = skip::space(bytes, at);
        }
        // Both belong together, also when the record is refused for what follows it.
        let rows = self.rows;
        self.unfilled.clear();
        self.unfilled.extend((0..self.columns.len()).filter(|index| self.columns[*index].len() == rows));
        self.shape.learn(bytes, literal, at + 1, Target::End);
        ended(bytes, at + 1)?;
        fill(&mut self.columns, &self.unfilled)
    }

    /// Reads a key and its colon: the column it names, and where the value begins.
    fn key(&mut self, bytes: &[u8], at: usize) -> Result<(Option<usize>, usize), Refusal> {
        let refuse = |fault, at| Refusal { fault, column: None, at };
        if bytes.get(at) != Some(&b'"') {
            return Err(refuse(Fault::Syntax, at));
        }
        let span = string::span(bytes, at + 1).map_err(|fault| refuse(fault, at))?;
        let raw = &bytes[at + 1..span.end];
        let column = if span.escaped {
            let mut key = std::mem::take(&mut self.key);
            key.clear();
            let unescaped = string::unescape(raw, &mut key);
            let column = self.find(&key);
            self.key = key;
            unescaped.map_err(|fault| refuse(fault, at))?;
            column
        } else {
            self.find(raw)
        };
        let at = skip::space(bytes, span.end + 1);
        let at = skip::literal(bytes, at, b":").map_err(|fault| refuse(fault, at))?;
        Ok((column, skip::space(bytes, at)))
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        match &self.by_name {
            Some(map) => std::str::from_utf8(key).ok().and_then(|key| map.get(key).copied()),
            None => self.columns.iter().position(|column| column.name.as_bytes() == key),
        }
    }

    /// Reads one value and learns what stood before it; says where the value ends.
    fn member(&mut self, bytes: &[u8], literal: usize, column: Option<usize>, at: usize) -> Result<usize, Refusal> {
        let Some(index) = column else {
            let end =
                skip::value(bytes, at, self.reading.max_depth).map_err(|fault| Refusal { fault, column: None, at })?;
            self.shape.learn(bytes, literal, at, Target::Skip);
            return Ok(end);
        };
        let target = &mut self.columns[index];
        if target.len() > self.rows {
            target.cut(self.rows);
            self.shape.spoil();
        }
        let end = capture::value(target, bytes, at, &self.reading).map_err(|fault| Refusal {
            fault,
            column: Some(index),
            at,
        })?;
        self.shape.learn(bytes, literal, at, Target::Column(index as u32));
        Ok(end)
    }

    /// The sentence for a refusal.
    #[cold]
    fn explain(&self, bytes: &[u8], refusal: Refusal) -> Malformed {
        let Refusal { fault, column, at } = refusal;
        let rest = &bytes[at.min(bytes.len())..];
        let reason = match column.map(|index| &self.columns[index]) {
            Some(column) if fault == Fault::Missing => format!("field \"{}\" {}", column.name, fault.text()),
            Some(column) => {
                let end = skip::value(rest, 0, u8::MAX).unwrap_or(rest.len());
                let of = column.kind.sql();
                format!("field \"{}\" ({of}): {} {}", column.name, excerpt(&rest[..end]), fault.text())
            }
            None if bytes.is_empty() => "the record is empty".to_string(),
            None => format!("the record {} at byte {at}: {}", fault.text(), excerpt(rest)),
        };
        Malformed { reason }
    }
}

impl Decoder for JsonDecoder {
    fn push(&mut self, record: &RawRecord<'_>) -> Result<usize, Malformed> {
        let bytes = record.payload;
        if bytes.len() > self.max_record {
            let (length, limit) = (bytes.len(), self.max_record);
            let reason = format!("the record has {length} bytes, more than option 'json.max_record' = {limit} allows");
            return Err(Malformed { reason });
        }
        match self.decode(bytes) {
            Ok(()) => {
                self.rows += 1;
                Ok(1)
            }
            Err(refusal) => {
                let rows = self.rows;
                self.columns.iter_mut().for_each(|column| column.cut(rows));
                Err(self.explain(bytes, refusal))
            }
        }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn finish(&mut self) -> Result<RecordBatch, ConnectorError> {
        column::batch(&mut self.columns, &self.schema, std::mem::take(&mut self.rows))
    }
}

/// Only white space may follow the record.
#[inline(always)]
fn ended(bytes: &[u8], at: usize) -> Result<(), Refusal> {
    if at == bytes.len() || skip::space(bytes, at) == bytes.len() {
        return Ok(());
    }
    Err(Refusal { fault: Fault::Trailing, column: None, at })
}

/// Nulls for the columns that the record did not hold.
#[inline]
fn fill(columns: &mut [Column], unfilled: &[usize]) -> Result<(), Refusal> {
    for &index in unfilled {
        let refuse = |fault| Refusal { fault, column: Some(index), at: 0 };
        columns[index].push_null(Fault::Missing).map_err(refuse)?;
    }
    Ok(())
}

/// The beginning of a text, cut at a character.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod tests;
