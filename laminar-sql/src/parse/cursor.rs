//! A cursor over the tokens of one statement: words, names, literals, and places for errors.

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::split::{Location, MAX_NESTING};
use crate::error::{Kind, SqlError};

static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// Reads one statement from left to right.
pub(super) struct Cursor {
    parser: Parser<'static>,
    end: Location,
}

impl Cursor {
    pub fn new(tokens: Vec<TokenWithSpan>) -> Self {
        let end = tokens.last().map_or(Location { line: 1, column: 1 }, |t| t.span.end.into());
        let parser = Parser::new(&DIALECT).with_recursion_limit(MAX_NESTING).with_tokens_with_locations(tokens);
        Self { parser, end }
    }

    /// The place of the next token.
    pub fn here(&self) -> Location {
        let token = self.parser.peek_token();
        if token.token == Token::EOF { self.end } else { token.span.start.into() }
    }

    pub fn peek(&self) -> Token {
        self.parser.peek_token().token
    }

    pub fn peek_at(&self, n: usize) -> Token {
        self.parser.peek_nth_token(n).token
    }

    pub fn at_end(&self) -> bool {
        self.peek() == Token::EOF
    }

    /// Whether the next tokens are these words, in any case, unquoted.
    pub fn looking_at(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, word)| is_word(&self.peek_at(i), word))
    }

    /// Takes the words if they come next.
    pub fn accept(&mut self, words: &[&str]) -> bool {
        let found = self.looking_at(words);
        if found {
            for _ in words {
                self.parser.next_token();
            }
        }
        found
    }

    /// Takes the words, or refuses.
    pub fn expect(&mut self, words: &[&str]) -> Result<(), SqlError> {
        if self.accept(words) { Ok(()) } else { Err(self.unexpected(&words.join(" "))) }
    }

    pub fn accept_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub fn expect_token(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.accept_token(token) { Ok(()) } else { Err(self.unexpected(&format!("'{token}'"))) }
    }

    pub fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    /// "expected X, found Y" at the next token.
    pub fn unexpected(&self, expected: &str) -> SqlError {
        let found = match self.peek() {
            Token::EOF => "the end of the statement".to_owned(),
            other => format!("\"{other}\""),
        };
        SqlError::new(Kind::Syntax, format!("syntax error: expected {expected}, found {found}")).at(self.here())
    }

    /// Nothing may follow.
    pub fn finish(&mut self) -> Result<(), SqlError> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected("the end of the statement")) }
    }

    pub fn parser(&mut self) -> &mut Parser<'static> {
        &mut self.parser
    }

    /// One identifier, folded to lower case unless quoted.
    pub fn name(&mut self) -> Result<String, SqlError> {
        let at = self.here();
        let ident = self.parser.parse_identifier().map_err(|e| super::from_parser(&e).at(at))?;
        Ok(fold(&ident))
    }

    /// `[schema.]name`; `public` is the only schema that objects have.
    pub fn object(&mut self) -> Result<String, SqlError> {
        let at = self.here();
        let first = self.name()?;
        if !self.accept_token(&Token::Period) {
            return Ok(first);
        }
        let second = self.name()?;
        if first == "public" || first == "pg_catalog" || first == "information_schema" {
            return Ok(if first == "public" { second } else { format!("{first}.{second}") });
        }
        Err(SqlError::new(Kind::UndefinedObject, format!("schema \"{first}\" does not exist"))
            .hint("all objects are in the schema public")
            .at(at))
    }

    /// `a, b, c`.
    pub fn comma_separated<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut all = vec![item(self)?];
        while self.accept_token(&Token::Comma) {
            all.push(item(self)?);
        }
        Ok(all)
    }

    /// `( a, b, c )`.
    pub fn parenthesised<T>(&mut self, item: impl FnMut(&mut Self) -> Result<T, SqlError>) -> Result<Vec<T>, SqlError> {
        self.expect_token(&Token::LParen)?;
        let all = self.comma_separated(item)?;
        self.expect_token(&Token::RParen)?;
        Ok(all)
    }

    pub fn expr(&mut self) -> Result<Expr, SqlError> {
        let at = self.here();
        self.parser.parse_expr().map_err(|e| super::from_parser(&e).at(at))
    }

    pub fn query(&mut self) -> Result<Box<Query>, SqlError> {
        let at = self.here();
        self.parser.parse_query().map_err(|e| super::from_parser(&e).at(at))
    }

    /// A text literal.
    pub fn text(&mut self) -> Result<String, SqlError> {
        match self.peek() {
            Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) => {
                self.next();
                Ok(s)
            }
            Token::DollarQuotedString(s) => {
                self.next();
                Ok(s.value)
            }
            _ => Err(self.unexpected("a text in single quotes")),
        }
    }

    /// The next word in upper case, if it is an unquoted word.
    pub fn word(&self) -> Option<String> {
        match self.peek() {
            Token::Word(w) if w.quote_style.is_none() => Some(w.value.to_uppercase()),
            _ => None,
        }
    }
}

pub(super) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// PostgreSQL's folding.
pub(crate) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}
