//! The parenthesised list of columns, keys and watermark of CREATE SOURCE and CREATE TABLE.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::statement::{ColumnDef, ColumnOrigin, WatermarkClause};
use crate::error::SqlError;

/// What stands between the parentheses.
#[derive(Default)]
pub(super) struct Columns {
    pub columns: Vec<ColumnDef>,
    pub primary_key: Vec<String>,
    pub watermark: Option<WatermarkClause>,
}

impl Columns {
    /// Reads `( … )`.
    pub fn read(cursor: &mut Cursor) -> Result<Self, SqlError> {
        let mut all = Self::default();
        cursor.expect_token(&Token::LParen)?;
        if cursor.accept_token(&Token::RParen) {
            return Ok(all);
        }
        loop {
            all.item(cursor)?;
            if !cursor.accept_token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
        Ok(all)
    }

    fn item(&mut self, cursor: &mut Cursor) -> Result<(), SqlError> {
        let at = cursor.here();
        if cursor.accept(&["WATERMARK", "FOR"]) {
            return self.set_watermark(cursor, at);
        }
        if cursor.looking_at(&["CONSTRAINT"]) {
            cursor.next();
            cursor.name()?;
        }
        if cursor.accept(&["PRIMARY", "KEY"]) {
            self.primary_key = cursor.parenthesised(Cursor::name)?;
            if cursor.accept(&["NOT", "ENFORCED"]) {
                return Ok(());
            }
            return Ok(());
        }
        for (words, name) in [(&["UNIQUE"][..], "UNIQUE"), (&["CHECK"], "CHECK"), (&["FOREIGN", "KEY"], "FOREIGN KEY")]
        {
            if cursor.looking_at(words) && cursor.peek_at(words.len()) == Token::LParen {
                return Err(SqlError::unsupported(name, "remove the constraint").at(at));
            }
        }
        self.column(cursor)
    }

    fn set_watermark(&mut self, cursor: &mut Cursor, at: super::Location) -> Result<(), SqlError> {
        if self.watermark.is_some() {
            return Err(cursor.unexpected("one WATERMARK only"));
        }
        let column = cursor.name()?;
        let expr = if cursor.accept(&["AS"]) { Some(Box::new(cursor.expr()?)) } else { None };
        let mut idle_after = None;
        if cursor.accept(&["IDLE", "AFTER"]) {
            idle_after = Some(Box::new(cursor.expr()?));
            if cursor.looking_at(&["CLOSE"]) {
                return Err(SqlError::unsupported(
                    "IDLE AFTER … CLOSE",
                    "leave CLOSE out: an idle split no longer holds time back",
                )
                .at(cursor.here()));
            }
        }
        self.watermark = Some(WatermarkClause { column, expr, delay: None, idle_after, at });
        Ok(())
    }

    fn column(&mut self, cursor: &mut Cursor) -> Result<(), SqlError> {
        let at = cursor.here();
        let name = cursor.name()?;
        let mut column = ColumnDef { name, data_type: None, not_null: false, origin: ColumnOrigin::Field, at };
        if cursor.accept(&["AS"]) {
            column.origin = ColumnOrigin::Computed(Box::new(cursor.expr()?));
            self.columns.push(column);
            return Ok(());
        }
        column.data_type = Some(cursor.parser().parse_data_type().map_err(|e| super::from_parser(&e).at(at))?);
        loop {
            let at = cursor.here();
            if cursor.accept(&["NOT", "NULL"]) {
                column.not_null = true;
            } else if cursor.accept(&["NULL"]) {
                column.not_null = false;
            } else if cursor.accept(&["PRIMARY", "KEY"]) {
                self.primary_key.push(column.name.clone());
            } else if cursor.accept(&["GENERATED", "ALWAYS", "AS"]) {
                cursor.expect_token(&Token::LParen)?;
                column.origin = ColumnOrigin::Computed(Box::new(cursor.expr()?));
                cursor.expect_token(&Token::RParen)?;
                cursor.accept(&["STORED"]);
            } else if cursor.accept(&["METADATA"]) {
                let key = if cursor.accept(&["FROM"]) { cursor.text()? } else { column.name.clone() };
                column.origin = ColumnOrigin::Metadata(key);
                cursor.accept(&["VIRTUAL"]);
            } else if cursor.accept(&["LATENESS"]) {
                let delay = Some(Box::new(cursor.expr()?));
                self.watermark =
                    Some(WatermarkClause { column: column.name.clone(), expr: None, delay, idle_after: None, at });
            } else if let Some(word) =
                cursor.word().filter(|w| ["DEFAULT", "UNIQUE", "REFERENCES", "CHECK", "COLLATE"].contains(&w.as_str()))
            {
                return Err(SqlError::unsupported(format!("{word} on a column"), "remove it").at(at));
            } else {
                break;
            }
        }
        self.columns.push(column);
        Ok(())
    }
}

/// `INCLUDE partition [AS p]`, any number of times, after the columns.
pub(super) fn include(cursor: &mut Cursor, into: &mut Vec<ColumnDef>) -> Result<(), SqlError> {
    while cursor.accept(&["INCLUDE"]) {
        let at = cursor.here();
        let key = cursor.name()?;
        let name = if cursor.accept(&["AS"]) { cursor.name()? } else { key.clone() };
        into.push(ColumnDef { name, data_type: None, not_null: false, origin: ColumnOrigin::Metadata(key), at });
    }
    Ok(())
}
