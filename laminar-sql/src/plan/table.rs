//! CREATE TABLE.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::graph::{ObjectSpec, TableSpec};

use super::query::Place;
use super::types::arrow_type;
use super::{Context, Planned};
use crate::catalog::CatalogEntry;
use crate::error::{Kind, SqlError};
use crate::parse::{ColumnDef, ColumnOrigin, CreateTable, RelationKind};

impl Context<'_> {
    pub(super) fn create_table(&self, create: &CreateTable) -> Result<Planned, SqlError> {
        let CreateTable { name, existing, columns, primary_key, options: _, watermark, at } = create;
        let Some(place) = self.place(name, *existing, RelationKind::Table, *at)? else {
            return Ok(Planned::Nothing {
                tag: "CREATE TABLE",
                notices: vec![format!("\"{name}\" already exists, skipping")],
            });
        };
        let Place { id, replaces, notices } = place;
        if let Some(clause) = watermark {
            return Err(SqlError::unsupported(
                "WATERMARK on a table",
                "a table has no event time; a source with a watermark has: CREATE SOURCE",
            )
            .at(clause.at));
        }
        if primary_key.is_empty() {
            return Err(SqlError::new(Kind::InvalidDefinition, format!("table \"{name}\" has no PRIMARY KEY"))
                .hint("add PRIMARY KEY (…); for append-only rows use CREATE SOURCE without a connector")
                .at(*at));
        }
        let mut fields: Vec<Field> = Vec::with_capacity(columns.len());
        let mut max_chars = Vec::with_capacity(columns.len());
        for ColumnDef { name, data_type, not_null, origin, at } in columns {
            let (ColumnOrigin::Field, Some(data_type)) = (origin, data_type) else {
                return Err(SqlError::unsupported(
                    "a computed or metadata column of a table",
                    "compute it in the query that reads the table",
                )
                .at(*at));
            };
            if fields.iter().any(|f| f.name() == name) {
                return Err(
                    SqlError::new(Kind::InvalidDefinition, format!("column \"{name}\" is declared twice")).at(*at)
                );
            }
            let typed = arrow_type(data_type).map_err(|e| e.at(*at))?;
            fields.push(Field::new(name, typed.data_type, !not_null && !primary_key.contains(name)));
            max_chars.push(typed.max_chars);
        }
        let key = primary_key
            .iter()
            .map(|column| {
                fields.iter().position(|f| f.name() == column).ok_or_else(|| {
                    SqlError::new(Kind::UndefinedColumn, format!("PRIMARY KEY: column \"{column}\" does not exist"))
                        .at(*at)
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if (1..key.len()).any(|i| key[..i].contains(&key[i])) {
            return Err(SqlError::new(Kind::InvalidDefinition, "PRIMARY KEY names a column twice").at(*at));
        }
        let schema = StreamSchema {
            columns: Arc::new(Schema::new(fields)),
            mode: ChangeMode::Changelog,
            key: Some(key),
            time: Vec::new(),
        };
        let spec = TableSpec { id, name: name.clone(), schema, max_chars };
        let entry = CatalogEntry {
            spec: ObjectSpec::Table(spec),
            sql: self.sql.to_owned(),
            depends_on: Vec::new(),
            belongs_to: None,
            functions: Default::default(),
            coverage: Vec::new(),
            time_zone: self.settings.time_zone().to_owned(),
            altered: None,
        };
        Ok(Planned::Create { objects: vec![entry], replaces, notices })
    }
}
