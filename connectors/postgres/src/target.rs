//! The table that rows go to: whether it can take them, and the statements that bring them.
//!
//! Invariants: columns that the rows do not have keep their defaults; with a key the table has a unique
//! index over exactly its columns, none of which may be NULL, so that one key is one row.

use arrow::datatypes::{DataType, SchemaRef};
use laminar_core::graph::Delivery;
use tokio_postgres::Statement;

use crate::error::Trouble;
use crate::identifier::{list, quoted};
use crate::lasting;
use crate::session::Session;

const TABLE: &str = "SELECT oid, relkind::text FROM pg_class WHERE oid = to_regclass($1)";
const COLUMNS: &str = "SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typcategory::text, a.attnotnull, \
     a.attgenerated <> '' OR a.attidentity = 'a' \
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
const UNIQUE: &str = "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indimmediate \
     AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND $2::text[] = ( \
     SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\") \
     FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place) \
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE k.place <= i.indnkeyatts))";
const UNIQUE_OVER: &str = "SELECT i.indexrelid::regclass::text FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique \
     AND i.indisvalid AND NOT EXISTS ( \
     SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place) \
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
     WHERE k.place <= i.indnkeyatts AND a.attname::text <> ALL ($2::text[])) \
     AND (i.indexprs IS NULL OR NOT EXISTS ( \
     SELECT FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
     WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass \
     AND d.refobjid = i.indrelid AND a.attname::text <> ALL ($2::text[]))) LIMIT 1";

/// The rows and their key, and the name of the table.
#[derive(Clone, Debug)]
pub struct Target {
    /// The table, quoted.
    pub table: String,
    /// The columns of the rows.
    pub columns: SchemaRef,
    /// Which of them name a row; none = rows are only added.
    pub key: Vec<usize>,
}

/// The statements, prepared.
pub struct Statements {
    /// Adds or replaces the rows of an array of JSON texts.
    pub write: Statement,
    /// Removes the rows of an array of keys, where there is a key.
    pub remove: Option<Statement>,
}

/// Whether one row at most of `table` (SQL) has the same values in these columns, so that it can be replaced by them.
///
/// # Errors
/// The server fails.
pub fn is_key(session: &Session, table: &str, mut columns: Vec<&str>) -> Result<bool, Trouble> {
    columns.sort_unstable();
    Ok(session.run(async |client| client.query_one(UNIQUE, &[&table, &columns]).await)?.get(0))
}

impl Target {
    /// Looks at the table and prepares the statements.
    ///
    /// # Errors
    /// It is missing, or cannot take the rows, or the server fails.
    pub fn prepare(&self, session: &Session, delivery: Delivery) -> Result<Statements, Trouble> {
        let table = &self.table;
        let Some(found) = session.run(async |client| client.query_opt(TABLE, &[table]).await)? else {
            return Err(Trouble::NoTable {
                table: table.clone(),
                server: session.place().server.clone(),
                columns: self.names(),
            });
        };
        let (oid, kind): (u32, String) = (found.get(0), found.get(1));
        if !matches!(kind.as_str(), "r" | "p" | "v" | "f") {
            return Err(self.unfit("it is no table".to_string()));
        }
        if delivery == Delivery::ExactlyOnce {
            lasting::check(session, table)?;
        }
        self.check_columns(session, oid)?;
        if !self.key.is_empty() {
            self.check_key(session)?;
        } else if delivery == Delivery::AtLeastOnce {
            self.check_repetition(session, oid)?;
        }
        let write = self.write();
        let remove = self.remove();
        Ok(Statements {
            write: session.run(async |client| client.prepare(&write).await)?,
            remove: remove.map(|remove| session.run(async |client| client.prepare(&remove).await)).transpose()?,
        })
    }

    fn check_columns(&self, session: &Session, oid: u32) -> Result<(), Trouble> {
        let found = session.run(async |client| client.query(COLUMNS, &[&oid]).await)?;
        for field in self.columns.fields() {
            let name = field.name();
            let Some(column) = found.iter().find(|column| column.get::<_, String>(0) == *name) else {
                let why = format!(
                    "column {0} is missing; ALTER TABLE … ADD COLUMN {0}, or leave it out of the query",
                    quoted(name)
                );
                return Err(self.unfit(why));
            };
            let (kind, category): (String, String) = (column.get(1), column.get(2));
            if column.get(4) {
                let why = format!("column {} is generated by the table; leave it out of the query", quoted(name));
                return Err(self.unfit(why));
            }
            if !fits(field.data_type(), &category) {
                let why = format!(
                    "column {} is {kind}, and the values are {}; CAST them in the query, or alter the column",
                    quoted(name),
                    field.data_type()
                );
                return Err(self.unfit(why));
            }
        }
        let nullable = |index: &usize| {
            let name = self.columns.field(*index).name();
            found.iter().any(|column| column.get::<_, String>(0) == *name && !column.get::<_, bool>(3))
        };
        match self.key.iter().find(|index| nullable(index)) {
            Some(index) => {
                let name = quoted(self.columns.field(*index).name());
                Err(self.unfit(format!(
                    "key column {name} may be NULL, and two NULLs would be two rows; ALTER TABLE … ALTER COLUMN {name} SET \
                     NOT NULL, or make the key the primary key"
                )))
            }
            None => Ok(()),
        }
    }

    fn check_key(&self, session: &Session) -> Result<(), Trouble> {
        if is_key(session, &self.table, self.key_names().collect())? {
            return Ok(());
        }
        let key = list("", self.key_names());
        Err(self.unfit(format!(
            "it has no primary key and no unique index over exactly the key ({key}), by which rows are replaced; ALTER TABLE \
             … ADD PRIMARY KEY ({key}), or state key = '' if rows are only to be added"
        )))
    }

    /// Rows that are only added must be able to come again.
    fn check_repetition(&self, session: &Session, oid: u32) -> Result<(), Trouble> {
        let names: Vec<&str> = self.columns.fields().iter().map(|field| field.name().as_str()).collect();
        let Some(found) = session.run(async |client| client.query_opt(UNIQUE_OVER, &[&oid, &names]).await)? else {
            return Ok(());
        };
        let index: String = found.get(0);
        Err(self.unfit(format!(
            "its unique index {index} is over columns of the rows, and a row that is sent again after a failure would be \
             refused for ever; state key = 'column, …' so that it is replaced, or delivery = 'exactly_once'"
        )))
    }

    /// `INSERT` of the rows that PostgreSQL reads from JSON texts.
    fn write(&self) -> String {
        let table = &self.table;
        let names = self.names();
        let values = list("r.", self.columns.fields().iter().map(|field| field.name().as_str()));
        let mut sql = format!(
            "INSERT INTO {table} ({names}) SELECT {values} FROM unnest($1::text[]) AS d (doc), \
             LATERAL jsonb_populate_record(NULL::{table}, d.doc::jsonb) AS r"
        );
        if !self.key.is_empty() {
            let others = (0..self.columns.fields().len()).filter(|index| !self.key.contains(index));
            let others = others.map(|index| quoted(self.columns.field(index).name()));
            let sets: Vec<String> = others.map(|name| format!("{name} = excluded.{name}")).collect();
            let action = if sets.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", sets.join(", ")) };
            sql.push_str(&format!(" ON CONFLICT ({}) DO {action}", list("", self.key_names())));
        }
        sql
    }

    /// `DELETE` of the rows that have the keys of JSON texts.
    fn remove(&self) -> Option<String> {
        if self.key.is_empty() {
            return None;
        }
        let table = &self.table;
        let same: Vec<String> = self.key_names().map(quoted).map(|name| format!("t.{name} = r.{name}")).collect();
        Some(format!(
            "DELETE FROM {table} AS t USING unnest($1::text[]) AS d (doc), \
             LATERAL jsonb_populate_record(NULL::{table}, d.doc::jsonb) AS r WHERE {}",
            same.join(" AND ")
        ))
    }

    fn names(&self) -> String {
        list("", self.columns.fields().iter().map(|field| field.name().as_str()))
    }

    fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|index| self.columns.field(*index).name().as_str())
    }

    fn unfit(&self, why: String) -> Trouble {
        Trouble::Unfit { table: self.table.clone(), why }
    }
}

/// Whether a type's JSON can be read by PostgreSQL's types of a category at all; single values may still not.
fn fits(values: &DataType, category: &str) -> bool {
    let text = matches!(values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null);
    match category {
        "N" => text || values.is_numeric(),
        "B" => text || *values == DataType::Boolean,
        "D" => text || values.is_temporal(),
        "A" | "R" | "G" | "I" | "T" => text,
        _ => true,
    }
}
