//! Tokens, limits and places: cuts a text into statements.
//!
//! Invariant: no statement above [`MAX_BYTES`], [`MAX_TOKENS`] or [`MAX_NESTING`] reaches a parser.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use super::statement::Statement;
use crate::error::{Kind, SqlError};

/// The greatest length of a text, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// The greatest number of tokens of a text. A parse tree has fewer nodes than its text has tokens.
pub const MAX_TOKENS: usize = 2_000_000;
/// The greatest depth of parentheses, brackets and CASEs.
pub const MAX_NESTING: usize = 128;

/// Line and column, both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Line, from 1; 0 = unknown.
    pub line: u64,
    /// Column, from 1, in characters.
    pub column: u64,
}

impl Location {
    /// Reads ` at Line: 1, Column: 8`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let rest = text.trim_start().strip_prefix("at Line: ")?;
        let (line, column) = rest.split_once(", Column: ")?;
        Some(Self { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    }
}

impl From<datafusion::sql::sqlparser::tokenizer::Location> for Location {
    fn from(l: datafusion::sql::sqlparser::tokenizer::Location) -> Self {
        Self { line: l.line, column: l.column }
    }
}

/// Where each line of a text begins.
pub(crate) struct LineMap<'a> {
    text: &'a str,
    /// Byte offset and character offset of each line.
    lines: Vec<(usize, usize)>,
}

impl<'a> LineMap<'a> {
    pub fn new(text: &'a str) -> Self {
        let mut lines = vec![(0, 0)];
        let mut chars = 0;
        for (byte, c) in text.char_indices() {
            chars += 1;
            if c == '\n' {
                lines.push((byte + 1, chars));
            }
        }
        Self { text, lines }
    }

    /// Byte offset of a place.
    pub fn byte(&self, at: Location) -> usize {
        let Some(&(start, _)) = self.lines.get((at.line.max(1) - 1) as usize) else { return self.text.len() };
        self.text[start..]
            .char_indices()
            .nth((at.column.max(1) - 1) as usize)
            .map_or(self.text.len(), |(i, _)| start + i)
    }

    /// Number of characters before a place.
    fn characters(&self, at: Location) -> usize {
        let line = self.lines.get((at.line.max(1) - 1) as usize).map_or(0, |&(_, chars)| chars);
        line + (at.column.max(1) - 1) as usize
    }

    /// The position of an error from its place.
    pub fn place(&self, mut error: SqlError) -> SqlError {
        if let (None, Some(at)) = (error.position, error.location) {
            error.position = Some(self.characters(at) + 1);
        }
        error
    }
}

impl Statement {
    /// The position of an error of planning from its place, in the text that was parsed.
    pub(crate) fn place(&self, mut error: SqlError) -> SqlError {
        if let (None, Some(at)) = (error.position, error.location) {
            let column =
                if at.line == self.start.line { at.column.saturating_sub(self.start.column) + 1 } else { at.column };
            let within = Location { line: at.line.saturating_sub(self.start.line) + 1, column };
            error.position = Some(self.before + LineMap::new(&self.text).characters(within) + 1);
        }
        error
    }
}

/// One statement: its tokens (without white space at the ends) and its text.
pub(super) struct Piece {
    pub tokens: Vec<TokenWithSpan>,
    pub text: String,
    /// The place of its first token.
    pub start: Location,
    /// Characters before it.
    pub before: usize,
}

/// Cuts the text at its semicolons.
pub(super) fn statements(sql: &str, map: &LineMap<'_>) -> Result<Vec<Piece>, SqlError> {
    if sql.len() > MAX_BYTES {
        return Err(SqlError::new(
            Kind::TooComplex,
            format!("the text has {} bytes, the limit is {MAX_BYTES}", sql.len()),
        )
        .hint("send it in several statements, or load rows with COPY"));
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .map_err(|e| super::from_parser(&e.into()))?;
    if tokens.len() > MAX_TOKENS {
        return Err(SqlError::new(
            Kind::TooComplex,
            format!("the text has {} tokens, the limit is {MAX_TOKENS}", tokens.len()),
        )
        .hint("send it in several statements, or load rows with COPY"));
    }
    check_nesting(&tokens)?;
    let mut pieces = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::new();
    for token in tokens {
        if token.token == Token::SemiColon {
            close(&mut current, map, &mut pieces);
        } else if !(current.is_empty() && matches!(token.token, Token::Whitespace(_))) {
            current.push(token);
        }
    }
    close(&mut current, map, &mut pieces);
    Ok(pieces)
}

fn close(current: &mut Vec<TokenWithSpan>, map: &LineMap<'_>, pieces: &mut Vec<Piece>) {
    let mut tokens = std::mem::take(current);
    while tokens.last().is_some_and(|t| matches!(t.token, Token::Whitespace(_) | Token::EOF)) {
        tokens.pop();
    }
    tokens.retain(|t| !is_comment(&t.token) && t.token != Token::EOF);
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return };
    let start: Location = first.span.start.into();
    let text = map.text[map.byte(start)..map.byte(last.span.end.into())].to_owned();
    pieces.push(Piece { tokens, text, start, before: map.characters(start) });
}

fn is_comment(token: &Token) -> bool {
    matches!(token, Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)))
}

fn check_nesting(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let mut depth = 0usize;
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::Word(w) if w.keyword == Keyword::CASE => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Word(w) if w.keyword == Keyword::END => depth = depth.saturating_sub(1),
            Token::SemiColon => depth = 0,
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(SqlError::new(
                Kind::TooComplex,
                format!("the statement is nested more than {MAX_NESTING} levels deep"),
            )
            .hint("split it into several views or CTEs")
            .at(token.span.start.into()));
        }
    }
    Ok(())
}
