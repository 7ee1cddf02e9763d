//! CREATE SOURCE.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use laminar_core::connector::options::Options;
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::graph::{ColumnSource, ObjectSpec, SourceColumn, SourceSpec, WatermarkSpec};

use super::constant::{column_expr, delay_of};
use super::interval::{micros, text_micros};
use super::query::Place;
use super::types::arrow_type;
use super::{Context, Planned};
use crate::catalog::CatalogEntry;
use crate::catalog::nearest;
use crate::error::{Kind, SqlError};
use crate::parse::{ColumnDef, ColumnOrigin, CreateSource, FormatClause, Given, RelationKind, WatermarkClause};

/// Microseconds of silence after which a split no longer holds time back, unless the user says otherwise.
const IDLE_AFTER: i64 = 10_000_000;
/// How far ahead of its arrival a time may lie.
const MAX_FUTURE: i64 = 3_600_000_000;

/// The connector, format and options that a WITH (…) and its relatives name together.
pub(super) struct Connection {
    pub connector: Option<String>,
    pub format: Option<String>,
    /// Envelope words of `FORMAT UPSERT`, `FORMAT DEBEZIUM`.
    pub envelope: Option<String>,
    /// All other options.
    pub options: Vec<Given>,
}

/// Sorts connector and format out of the options.
pub(super) fn connection(
    named: &Option<String>,
    options: &[Given],
    clause: &Option<FormatClause>,
) -> Result<Connection, SqlError> {
    let mut all = Connection { connector: named.clone(), format: None, envelope: None, options: Vec::new() };
    let twice = |what: &str, at| Err(SqlError::new(Kind::InvalidOption, format!("the {what} is given twice")).at(at));
    for given in options {
        match given.key.to_lowercase().as_str() {
            "connector" if all.connector.is_some() => return twice("connector", given.at),
            "connector" => all.connector = Some(given.value.to_lowercase()),
            "format" | "value_format" | "value.format" if all.format.is_some() => return twice("format", given.at),
            "format" | "value_format" | "value.format" => all.set_format(&given.value),
            _ => all.options.push(given.clone()),
        }
    }
    if let Some(FormatClause { format, encode, options }) = clause {
        if all.format.is_some() {
            return Err(SqlError::new(Kind::InvalidOption, "the format is given twice: in WITH and in FORMAT"));
        }
        match encode {
            Some(encode) => {
                all.format = Some(encode.clone());
                if format != "plain" {
                    all.envelope = Some(format.clone());
                }
            }
            None => all.set_format(format),
        }
        all.options.extend(options.iter().cloned());
    }
    Ok(all)
}

impl Connection {
    /// `debezium-json` and `upsert_json` name envelope and format.
    fn set_format(&mut self, value: &str) {
        let value = value.to_lowercase().replace('_', "-");
        match value.split_once('-') {
            Some((envelope @ ("debezium" | "upsert"), format)) => {
                self.envelope = Some(envelope.to_owned());
                self.format = Some(format.to_owned());
            }
            _ => self.format = Some(value),
        }
    }

    /// The options for the connector and the format.
    pub fn given(&self) -> Options {
        self.options.iter().map(|g| (g.key.clone(), g.value.clone())).collect()
    }

    /// Points an error at the option that it names.
    pub fn place(&self, error: SqlError) -> SqlError {
        let named = self.options.iter().find(|g| error.message.contains(&format!("'{}'", g.key)));
        match named {
            Some(given) => error.at(given.at),
            None => error,
        }
    }

    /// Takes an option that the planner itself understands.
    pub fn take(&mut self, key: &str) -> Option<Given> {
        let at = self.options.iter().position(|g| g.key.eq_ignore_ascii_case(key))?;
        Some(self.options.remove(at))
    }
}

pub(super) fn unknown_name<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> SqlError {
    let known: Vec<&str> = known.collect();
    let error = SqlError::new(Kind::InvalidOption, format!("there is no {what} \"{name}\""));
    match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean \"{near}\"?")),
        None => error.hint(format!("this build has: {}", known.join(", "))),
    }
}

impl Context<'_> {
    pub(super) fn create_source(&self, create: &CreateSource) -> Result<Planned, SqlError> {
        let CreateSource { name, existing, columns, primary_key, watermark, connector, options, format, at } = create;
        let Some(place) = self.place(name, *existing, RelationKind::Source, *at)? else {
            return Ok(Planned::Nothing {
                tag: "CREATE SOURCE",
                notices: vec![format!("\"{name}\" already exists, skipping")],
            });
        };
        let Place { id, replaces, notices } = place;
        if !primary_key.is_empty() {
            return Err(SqlError::unsupported(
                "PRIMARY KEY on a source",
                "a source is append-only; use CREATE TABLE for rows by key, or GROUP BY with last_value in a view",
            )
            .at(*at));
        }
        if columns.is_empty() {
            return Err(SqlError::new(Kind::InvalidDefinition, format!("source \"{name}\" has no columns"))
                .hint("name its columns: CREATE SOURCE s (id BIGINT, ts TIMESTAMP, …)")
                .at(*at));
        }
        let mut connection = connection(connector, options, format)?;
        refuse_sink_target(&mut connection)?;
        let max_future = connection.take("max_future");
        let checked = self.source_options(&connection)?;
        let mut made = Columns::default();
        for column in columns {
            self.source_column(&mut made, column, &connection).map_err(|e| e.at(column.at))?;
        }
        let schema = Arc::new(Schema::new(made.fields));
        let watermark = match watermark {
            Some(clause) => Some(self.watermark(clause, &schema, max_future.as_ref())?),
            None => None,
        };
        let time = watermark.as_ref().map(|w| vec![w.column]).unwrap_or_default();
        let schema = StreamSchema { columns: schema, mode: ChangeMode::Append, key: None, time };
        let mut spec = SourceSpec {
            id,
            name: name.clone(),
            connector: connection.connector.clone(),
            format: connection.format.clone(),
            options: checked,
            schema,
            columns: made.columns,
            watermark,
        };
        self.check_source(&mut spec, max_future.is_some())?;
        let mut functions = std::collections::BTreeMap::new();
        for column in &spec.columns {
            if let ColumnSource::Computed(e) = &column.from {
                crate::compile::functions_of(e, &mut functions);
            }
        }
        let entry = CatalogEntry {
            spec: ObjectSpec::Source(spec),
            sql: self.sql.to_owned(),
            depends_on: Vec::new(),
            belongs_to: None,
            functions,
            coverage: Vec::new(),
            time_zone: self.settings.time_zone().to_owned(),
            altered: None,
        };
        Ok(Planned::Create { objects: vec![entry], replaces, notices })
    }

    /// Options by canonical name, checked against connector and format.
    fn source_options(&self, connection: &Connection) -> Result<Options, SqlError> {
        if let Some(envelope) = &connection.envelope {
            return Err(SqlError::unsupported(
                format!("FORMAT {} on a source", envelope.to_uppercase()),
                "FORMAT PLAIN reads append-only records",
            ));
        }
        let Some(connector) = &connection.connector else {
            if connection.format.is_some() {
                return Err(SqlError::new(Kind::InvalidOption, "a push source has no format")
                    .hint("add connector = '…', or leave the format out"));
            }
            return match connection.options.first() {
                None => Ok(Options::new()),
                Some(given) => Err(SqlError::new(
                    Kind::InvalidOption,
                    format!("a push source has no option \"{}\"", given.key),
                )
                .hint("a source with connector = '…' takes the connector's options; a push source takes max_future")
                .at(given.at)),
            };
        };
        let given = connection.given();
        let checked = self
            .registry
            .source_options(connector, connection.format.as_deref(), &given)
            .map_err(|e| connection.place(e.into()))?;
        let typed = self.registry.sources.get(connector.as_str()).is_some_and(|f| f.typed());
        match (&connection.format, typed) {
            (Some(_), true) => Err(SqlError::new(
                Kind::InvalidOption,
                format!("connector {connector} brings typed rows and takes no format"),
            )),
            (None, false) => {
                let formats: Vec<&str> = self.registry.decoders.keys().copied().collect();
                Err(SqlError::new(Kind::InvalidOption, format!("connector {connector} needs a format"))
                    .hint(format!("add format = '…'; this build reads: {}", formats.join(", "))))
            }
            _ => Ok(checked),
        }
    }

    fn source_column(&self, made: &mut Columns, def: &ColumnDef, connection: &Connection) -> Result<(), SqlError> {
        let ColumnDef { name, data_type, not_null, origin, at: _ } = def;
        if made.fields.iter().any(|f| f.name() == name) {
            return Err(SqlError::new(Kind::InvalidDefinition, format!("column \"{name}\" is declared twice")));
        }
        let declared = data_type.as_ref().map(arrow_type).transpose()?;
        let max_chars = declared.as_ref().and_then(|t| t.max_chars);
        let declared = declared.map(|t| t.data_type);
        let (from, data_type) = match origin {
            ColumnOrigin::Field => match declared {
                Some(t) => (ColumnSource::Field(name.clone()), t),
                None => return Err(SqlError::new(Kind::Syntax, format!("column \"{name}\" has no type"))),
            },
            ColumnOrigin::Metadata(key) => {
                let natural = self.metadata_type(key, connection)?;
                match declared {
                    Some(t) if t != natural => {
                        return Err(SqlError::new(
                            Kind::Datatype,
                            format!(
                                "metadata {key} is of type {}, not {}",
                                super::sql_type(&natural, None),
                                super::sql_type(&t, None)
                            ),
                        )
                        .hint("declare it so, and CAST it in a computed column or in the query"));
                    }
                    _ => (ColumnSource::Metadata(key.to_lowercase()), natural),
                }
            }
            ColumnOrigin::Computed(expr) => {
                let input = Schema::new(made.fields.clone());
                let expr = column_expr(self, expr, &input, declared.as_ref())?;
                let data_type = expr.1;
                (ColumnSource::Computed(expr.0), data_type)
            }
        };
        made.fields.push(Field::new(name, data_type, !not_null));
        made.columns.push(SourceColumn { from, max_chars });
        Ok(())
    }

    fn metadata_type(&self, key: &str, connection: &Connection) -> Result<DataType, SqlError> {
        let Some(factory) = connection.connector.as_ref().and_then(|c| self.registry.sources.get(c.as_str())) else {
            return Err(SqlError::new(Kind::InvalidDefinition, "a push source has no metadata columns"));
        };
        let key = key.to_lowercase();
        let known = factory.metadata();
        known
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, data_type)| data_type.clone())
            .ok_or_else(|| unknown_name("metadata column", &key, known.iter().map(|(name, _)| *name)))
    }

    fn watermark(
        &self,
        clause: &WatermarkClause,
        schema: &Schema,
        max_future: Option<&Given>,
    ) -> Result<WatermarkSpec, SqlError> {
        let WatermarkClause { column, expr, delay, idle_after, at } = clause;
        let Ok(index) = schema.index_of(column) else {
            return Err(SqlError::new(
                Kind::UndefinedColumn,
                format!("WATERMARK FOR {column}: there is no such column"),
            )
            .at(*at));
        };
        if !matches!(schema.field(index).data_type(), DataType::Timestamp(_, _)) {
            return Err(SqlError::new(
                Kind::Datatype,
                format!(
                    "WATERMARK FOR {column}: the column is {}, event time is a TIMESTAMP",
                    super::sql_type(schema.field(index).data_type(), None)
                ),
            )
            .hint("add a computed column, for example: ts TIMESTAMP(3) GENERATED ALWAYS AS (to_timestamp_millis(ms))")
            .at(*at));
        }
        let delay = match (expr, delay) {
            (Some(expr), _) => delay_of(expr, column).map_err(|e| e.at(*at))?,
            (None, Some(delay)) => micros(delay)?,
            (None, None) => 0,
        };
        if delay < 0 {
            return Err(SqlError::new(
                Kind::InvalidDefinition,
                "a watermark cannot run ahead of event time: write ts - INTERVAL '…'",
            )
            .at(*at));
        }
        let idle_after = match idle_after {
            Some(e) => micros(e)?,
            None => IDLE_AFTER,
        };
        if idle_after <= 0 {
            return Err(
                SqlError::new(Kind::InvalidDefinition, "IDLE AFTER takes an interval greater than zero").at(*at)
            );
        }
        let max_future = match max_future {
            Some(given) if ["none", "off"].contains(&given.value.to_lowercase().as_str()) => None,
            Some(given) => Some(text_micros(&given.value).map_err(|e| e.at(given.at))?),
            None => Some(MAX_FUTURE),
        };
        Ok(WatermarkSpec { column: index, delay, idle_after, max_future })
    }

    /// Asks the connector and the format whether they can do it.
    fn check_source(&self, spec: &mut SourceSpec, max_future_given: bool) -> Result<(), SqlError> {
        let Some(factory) = spec.connector.as_ref().and_then(|c| self.registry.sources.get(c.as_str())) else {
            return Ok(());
        };
        if factory.bounded(&spec.options).map_err(SqlError::from)?
            && !max_future_given
            && let Some(watermark) = &mut spec.watermark
        {
            watermark.max_future = None;
        }
        if let Some(decoder) = spec.format.as_ref().and_then(|f| self.registry.decoders.get(f.as_str())) {
            let (names, fields): (Vec<String>, Vec<Field>) = spec
                .columns
                .iter()
                .zip(spec.schema.columns.fields())
                .filter_map(|(c, f)| match &c.from {
                    ColumnSource::Field(name) => Some((name.clone(), f.as_ref().clone())),
                    ColumnSource::Metadata(_) | ColumnSource::Computed(_) => None,
                })
                .unzip();
            decoder.create(&names, Arc::new(Schema::new(fields)), &spec.options).map_err(SqlError::from)?;
        }
        Ok(factory.check(spec)?)
    }
}

#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    columns: Vec<SourceColumn>,
}

fn refuse_sink_target(connection: &mut Connection) -> Result<(), SqlError> {
    match connection.take("type") {
        Some(given) if given.value.eq_ignore_ascii_case("source") => Ok(()),
        Some(given) if given.value.eq_ignore_ascii_case("sink") => Err(SqlError::unsupported(
            "CREATE TABLE … WITH (type = 'sink')",
            "write CREATE SINK name AS SELECT … WITH (connector = '…')",
        )
        .at(given.at)),
        Some(given) => {
            Err(SqlError::new(Kind::InvalidOption, format!("type = '{}' is neither source nor sink", given.value))
                .at(given.at))
        }
        None => Ok(()),
    }
}
