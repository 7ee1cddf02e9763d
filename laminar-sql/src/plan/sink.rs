//! CREATE SINK.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::graph::{Delivery, Envelope, ObjectSpec, OperatorSpec, PipelineKind, SinkSpec};
use laminar_core::ids::ObjectId;

use super::query::Place;
use super::source::{Connection, connection, unknown_name};
use super::{Context, Planned};
use crate::catalog::{CatalogEntry, kind_of};
use crate::error::{Kind, SqlError};
use crate::parse::{CreateSink, QueryTail, RelationKind, SinkInput};
use crate::{quoted, without_secrets};

/// The name of the anonymous stream of a sink AS SELECT.
fn stream_name(sink: &str) -> String {
    format!("{sink}$query")
}

/// `SELECT * FROM source`: a source runs only where a query reads it.
fn all_of(source: &str) -> Result<Box<Query>, SqlError> {
    Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&format!("SELECT * FROM {}", quoted(source)))
        .and_then(|mut parser| parser.parse_query())
        .map_err(|e| crate::parse::from_parser(&e))
}

impl Context<'_> {
    pub(super) fn create_sink(&self, create: &CreateSink) -> Result<Planned, SqlError> {
        let CreateSink { name, existing, input, connector, options, format, at } = create;
        let Some(place) = self.place(name, *existing, RelationKind::Sink, *at)? else {
            return Ok(Planned::Nothing {
                tag: "CREATE SINK",
                notices: vec![format!("\"{name}\" already exists, skipping")],
            });
        };
        let Place { id, replaces, mut notices } = place;
        let mut connection = connection(connector, options, format)?;
        let mut objects = Vec::new();
        let (mut whole, mut input) = (None, input);
        if let SinkInput::Object(object) = input
            && matches!(self.catalog.get(object).map(|e| &e.spec), Some(ObjectSpec::Source(_)))
        {
            input = whole.insert(SinkInput::Query(all_of(object)?, QueryTail::default()));
        }
        let (from, id, schema, by) = match input {
            SinkInput::Object(object) => {
                let entry = self.catalog.require(object).map_err(|e| e.at(*at))?;
                if matches!(entry.spec, ObjectSpec::Sink(_)) {
                    return Err(SqlError::new(Kind::WrongObjectKind, format!("\"{object}\" is a sink"))
                        .hint("write the stream or view itself")
                        .at(*at));
                }
                let by = format!("{} {object}", kind_of(&entry.spec).words());
                (entry.id(), id, entry.schema().clone(), by)
            }
            SinkInput::Query(query, tail) => {
                let (mut entry, mut more) = self.pipeline_entry(
                    id,
                    &stream_name(name),
                    PipelineKind::Stream,
                    query,
                    tail,
                    &[],
                    Default::default(),
                )?;
                notices.append(&mut more);
                let sink_id = ObjectId(id.0 + 1);
                entry.belongs_to = Some(sink_id);
                // Shown as the query of a stream; what the sink was made from it keeps itself.
                entry.sql = without_secrets(&entry.sql, self.registry);
                let by = updated_by(&entry);
                let schema = entry.schema().clone();
                objects.push(entry);
                (id, sink_id, schema, by)
            }
        };
        let spec = self.sink_spec(id, name, from, &mut connection, schema, &by).map_err(|e| e.at(*at))?;
        objects.push(CatalogEntry {
            spec: ObjectSpec::Sink(spec),
            sql: self.sql.to_owned(),
            depends_on: vec![from],
            belongs_to: None,
            functions: Default::default(),
            coverage: Vec::new(),
            time_zone: self.settings.time_zone().to_owned(),
            altered: None,
        });
        Ok(Planned::Create { objects, replaces, notices })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one statement")]
    fn sink_spec(
        &self,
        id: ObjectId,
        name: &str,
        from: ObjectId,
        connection: &mut Connection,
        schema: StreamSchema,
        by: &str,
    ) -> Result<SinkSpec, SqlError> {
        let delivery = delivery(connection)?;
        let key = sink_key(connection, &schema)?;
        let envelope = envelope(connection, &schema, key.as_deref(), by)?;
        let Some(connector) = connection.connector.clone() else {
            let known: Vec<&str> = self.registry.sinks.keys().copied().collect();
            return Err(SqlError::new(Kind::InvalidOption, format!("sink \"{name}\" has no connector"))
                .hint(format!("add WITH (connector = '…'); this build writes to: {}", known.join(", "))));
        };
        let factory = self
            .registry
            .sinks
            .get(connector.as_str())
            .ok_or_else(|| unknown_name("sink connector", &connector, self.registry.sinks.keys().copied()))?;
        if connection.format.is_none() {
            connection.format = factory.format().map(str::to_owned);
        }
        let options = self
            .registry
            .sink_options(&connector, connection.format.as_deref(), &connection.given())
            .map_err(|e| connection.place(e.into()))?;
        if connection.format.is_none() && factory.encoded() {
            let known: Vec<&str> = self.registry.encoders.keys().copied().collect();
            return Err(SqlError::new(Kind::InvalidOption, format!("connector {connector} needs a format"))
                .hint(format!("add format = '…'; this build writes: {}", known.join(", "))));
        }
        let spec = SinkSpec {
            id,
            name: name.to_owned(),
            from,
            connector,
            format: connection.format.clone(),
            options,
            delivery,
            envelope,
            key,
            schema,
        };
        if let Some(encoder) = spec.format.as_ref().and_then(|f| self.registry.encoders.get(f.as_str())) {
            encoder.create(spec.schema.columns.clone(), spec.envelope, spec.key.as_deref(), &spec.options)?;
        }
        factory.check(&spec)?;
        Ok(spec)
    }
}

fn updated_by(entry: &CatalogEntry) -> String {
    let ObjectSpec::Pipeline(pipeline) = &entry.spec else { return "the query".to_owned() };
    let aggregate = pipeline
        .nodes
        .iter()
        .rev()
        .find(|n| n.output.mode == ChangeMode::Changelog && matches!(n.operator, OperatorSpec::Aggregate { .. }));
    match aggregate {
        Some(node) => format!("the operator {}", crate::explain::operator_text(&node.operator)),
        None => "its input".to_owned(),
    }
}

fn delivery(connection: &mut Connection) -> Result<Delivery, SqlError> {
    let Some(given) = connection.take("delivery") else { return Ok(Delivery::AtLeastOnce) };
    match given.value.to_lowercase().replace('-', "_").as_str() {
        "at_least_once" => Ok(Delivery::AtLeastOnce),
        "exactly_once" => Ok(Delivery::ExactlyOnce),
        other => Err(SqlError::new(Kind::InvalidOption, format!("delivery '{other}' does not exist"))
            .hint("delivery = 'at_least_once' or 'exactly_once'")
            .at(given.at)),
    }
}

/// The message key: declared, or the key of the rows.
fn sink_key(connection: &mut Connection, schema: &StreamSchema) -> Result<Option<Vec<usize>>, SqlError> {
    let given = connection.take("key").or_else(|| connection.take("primary_key"));
    let Some(given) = given else { return Ok(schema.key.clone()) };
    let mut key = Vec::new();
    for column in given.value.split(',').map(str::trim).filter(|c| !c.is_empty()) {
        let index = schema.columns.index_of(column).map_err(|_| {
            SqlError::new(Kind::UndefinedColumn, format!("key: column \"{column}\" does not exist")).at(given.at)
        })?;
        key.push(index);
    }
    if let Some(natural) = &schema.key
        && schema.mode == ChangeMode::Changelog
        && !natural.iter().all(|c| key.contains(c))
    {
        let names: Vec<&str> = natural.iter().map(|c| schema.columns.field(*c).name().as_str()).collect();
        let message = format!("key = '{}' does not hold the key of the rows ({})", given.value, names.join(", "));
        return Err(SqlError::new(Kind::InvalidOption, message)
            .hint("two rows would share one message key")
            .at(given.at));
    }
    Ok(Some(key))
}

fn envelope(
    connection: &mut Connection,
    schema: &StreamSchema,
    key: Option<&[usize]>,
    by: &str,
) -> Result<Envelope, SqlError> {
    let given = connection.take("envelope");
    let at = given.as_ref().map(|g| g.at);
    let word = given.map(|g| g.value.to_lowercase()).or_else(|| connection.envelope.clone());
    let placed = |e: SqlError| match at {
        Some(at) => e.at(at),
        None => e,
    };
    let way_out =
        "use EMIT ON WINDOW CLOSE for one row per window, or state envelope = 'upsert', 'changelog' or 'debezium'";
    let envelope = match word.as_deref() {
        None if schema.mode == ChangeMode::Append => Envelope::Plain,
        None => {
            let message = format!("the rows of this sink change ({by} updates them), and a plain sink can only append");
            return Err(SqlError::new(Kind::InvalidDefinition, message).hint(way_out));
        }
        Some("plain" | "append" | "none") if schema.mode == ChangeMode::Changelog => {
            let message = format!("envelope plain cannot carry changes ({by} updates rows)");
            return Err(placed(SqlError::new(Kind::InvalidDefinition, message).hint(way_out)));
        }
        Some("plain" | "append" | "none") => Envelope::Plain,
        Some("upsert") => Envelope::Upsert,
        Some("changelog") => Envelope::Changelog,
        Some("debezium") => Envelope::Debezium,
        Some(other) => {
            return Err(placed(
                SqlError::new(Kind::InvalidOption, format!("envelope '{other}' does not exist"))
                    .hint("envelope = 'plain', 'upsert', 'changelog' or 'debezium'"),
            ));
        }
    };
    if envelope == Envelope::Upsert && key.is_none_or(<[usize]>::is_empty) {
        return Err(placed(
            SqlError::new(Kind::InvalidDefinition, "envelope upsert needs a key, and these rows have none")
                .hint("keep the GROUP BY columns in SELECT, or state key = 'column, …'"),
        ));
    }
    Ok(envelope)
}
