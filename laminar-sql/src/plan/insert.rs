//! INSERT and COPY FROM: whole, checked rows for a table or push source; a query for a sink.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::sql::sqlparser::ast::{Expr, Query, SetExpr, Value, ValueWithSpan, Values, VisitMut, VisitorMut};
use laminar_core::graph::{ColumnSource, ObjectSpec};
use laminar_core::ids::ObjectId;

use super::{Context, Param, Planned};
use crate::adhoc::AdhocQuery;
use crate::catalog::CatalogEntry;
use crate::error::{Kind, SqlError};
use crate::parse::{Conflict, CopyIn, Insert, Location};

impl Context<'_> {
    pub(super) fn insert(&self, insert: &Insert) -> Result<Planned, SqlError> {
        let target = self.writable(&insert.target).map_err(|e| e.at(insert.at))?;
        if let Some((_, at)) = &insert.tail.emit {
            return Err(SqlError::new(Kind::InvalidDefinition, "EMIT belongs to a continuous query").at(*at));
        }
        let columns = given_columns(target, &insert.columns)?;
        self.check_conflict(target, insert)?;
        let mut query = (*insert.query).clone();
        substitute(&mut query, self.params)?;
        let plain = Context { params: &[], ..*self };
        let query = plain.bound(&query)?;
        let width = query.schema().fields().len();
        if width != columns.len() {
            let message = format!("INSERT has {} target columns but {width} expressions", columns.len());
            return Err(SqlError::new(Kind::Syntax, message).at(insert.at));
        }
        if !query.relations()?.is_empty() {
            return self.insert_query(target, &columns, query, insert);
        }
        // Constant rows need no reactor: they are computed here, on the planning thread.
        let batches = query.constant_rows(self.stop)?;
        let schema = batches.first().map_or_else(|| Arc::new(arrow::datatypes::Schema::empty()), RecordBatch::schema);
        let given = concat_batches(&schema, &batches)?;
        let rows = whole_rows(target, &columns, &given)?;
        Ok(Planned::Insert { target: target.id(), rows, on_conflict: insert.conflict })
    }

    fn insert_query(
        &self,
        target: &CatalogEntry,
        columns: &[usize],
        query: AdhocQuery,
        insert: &Insert,
    ) -> Result<Planned, SqlError> {
        let schema = &target.schema().columns;
        let whole = columns.iter().copied().eq(0..schema.fields().len());
        let same = query.schema().fields().iter().zip(schema.fields()).all(|(a, b)| a.data_type() == b.data_type());
        if !whole || !same {
            return Err(SqlError::unsupported(
                "INSERT … SELECT with other columns or types than the target's",
                "select all columns of the target in its order, with CAST to their types",
            )
            .at(insert.at));
        }
        Ok(Planned::InsertQuery { target: target.id(), query: Box::new(query), on_conflict: insert.conflict })
    }

    /// Types of the parameters of an INSERT: of the columns that they fill directly, else text.
    pub(super) fn insert_parameters(&self, insert: &Insert) -> Result<Vec<DataType>, SqlError> {
        let target = self.writable(&insert.target).map_err(|e| e.at(insert.at))?;
        let columns = given_columns(target, &insert.columns)?;
        let schema = &target.schema().columns;
        let mut types: Vec<DataType> = Vec::new();
        let mut set = |number: usize, data_type: DataType| {
            if types.len() < number {
                types.resize(number, DataType::Utf8);
            }
            types[number - 1] = data_type;
        };
        let mut all = Numbers(Vec::new());
        let mut query = (*insert.query).clone();
        let _ = query.visit(&mut all);
        all.0.iter().for_each(|n| set(*n, DataType::Utf8));
        if let SetExpr::Values(Values { rows, .. }) = insert.query.body.as_ref() {
            for row in rows {
                for (expr, column) in row.content.iter().zip(&columns) {
                    if let Some(number) = placeholder(expr) {
                        set(number, schema.field(*column).data_type().clone());
                    }
                }
            }
        }
        Ok(types)
    }

    pub(super) fn copy_in(&self, copy: &CopyIn) -> Result<Planned, SqlError> {
        let (target, columns) = self.copy_target(&copy.target, &copy.columns, copy.at)?;
        Ok(Planned::CopyIn { target, columns, format: copy.format.clone() })
    }

    /// Where rows go: a table or push source, and the places of the named columns, or of all.
    pub(super) fn copy_target(
        &self,
        target: &str,
        columns: &[(String, Location)],
        at: Location,
    ) -> Result<(ObjectId, Vec<usize>), SqlError> {
        let target = self.writable(target).map_err(|e| e.at(at))?;
        Ok((target.id(), given_columns(target, columns)?))
    }

    /// A table or a push source.
    fn writable(&self, name: &str) -> Result<&CatalogEntry, SqlError> {
        let entry = self.catalog.require(name)?;
        let refuse = |what: &str, hint: &str| {
            let message = format!("\"{name}\" is {what}, rows cannot be inserted");
            Err(SqlError::new(Kind::WrongObjectKind, message).hint(hint))
        };
        match &entry.spec {
            ObjectSpec::Table(_) => Ok(entry),
            ObjectSpec::Source(source) => match &source.connector {
                Some(connector) => {
                    refuse(&format!("a source fed by connector {connector}"), "a source without connector takes INSERT")
                }
                None if source.columns.iter().any(|c| matches!(c.from, ColumnSource::Computed(_))) => {
                    Err(SqlError::unsupported(
                        "INSERT into a source with computed columns",
                        "declare them as plain columns",
                    ))
                }
                None => Ok(entry),
            },
            ObjectSpec::Pipeline(_) => refuse("computed by its query", "insert into what it reads"),
            ObjectSpec::Sink(_) => refuse("a sink", "CREATE SINK … AS SELECT writes a query into another system"),
        }
    }

    fn check_conflict(&self, target: &CatalogEntry, insert: &Insert) -> Result<(), SqlError> {
        if insert.conflict == Conflict::Error {
            return Ok(());
        }
        let schema = target.schema();
        let name_of = |i: &usize| schema.columns.field(*i).name().clone();
        let key: Vec<String> = match (&target.spec, &schema.key) {
            (ObjectSpec::Table(_), Some(key)) if !key.is_empty() => key.iter().map(name_of).collect(),
            _ => {
                let message = format!("\"{}\" has no primary key, so there is no conflict", target.name());
                return Err(SqlError::new(Kind::InvalidDefinition, message).at(insert.at));
            }
        };
        let same_set =
            |names: &[String], other: &[String]| names.len() == other.len() && names.iter().all(|n| other.contains(n));
        if !insert.conflict_columns.is_empty() && !same_set(&insert.conflict_columns, &key) {
            let message = format!("ON CONFLICT must name the primary key ({})", key.join(", "));
            return Err(SqlError::new(Kind::InvalidDefinition, message).at(insert.at));
        }
        if insert.conflict == Conflict::Replace {
            let rest: Vec<String> =
                schema.columns.fields().iter().map(|f| f.name().clone()).filter(|n| !key.contains(n)).collect();
            let updated: Vec<String> = insert.updated.iter().filter(|n| !key.contains(n)).cloned().collect();
            if !same_set(&updated, &rest) {
                let hint = format!("set every column outside the key: {}", rest.join(", "));
                let what = "ON CONFLICT DO UPDATE of some columns only";
                return Err(SqlError::unsupported(what, hint).at(insert.at));
            }
        }
        Ok(())
    }
}

/// Indices of the columns that the rows give, in their order.
fn given_columns(target: &CatalogEntry, named: &[(String, Location)]) -> Result<Vec<usize>, SqlError> {
    let schema = &target.schema().columns;
    if named.is_empty() {
        return Ok((0..schema.fields().len()).collect());
    }
    let mut columns = Vec::with_capacity(named.len());
    for (name, at) in named {
        let Ok(index) = schema.index_of(name) else {
            let message = format!("column \"{name}\" of \"{}\" does not exist", target.name());
            return Err(SqlError::new(Kind::UndefinedColumn, message).at(*at));
        };
        if columns.contains(&index) {
            return Err(SqlError::new(Kind::AmbiguousColumn, format!("column \"{name}\" is given twice")).at(*at));
        }
        columns.push(index);
    }
    Ok(columns)
}

/// Rows of the target's schema: given columns cast to their types, others NULL, all checked.
fn whole_rows(target: &CatalogEntry, columns: &[usize], given: &RecordBatch) -> Result<RecordBatch, SqlError> {
    let schema: &SchemaRef = &target.schema().columns;
    let limits = max_chars(target);
    let mut made: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for (i, field) in schema.fields().iter().enumerate() {
        let column = match columns.iter().position(|c| *c == i) {
            Some(at) => cast(given.column(at), field.data_type(), field.name())?,
            None => new_null_array(field.data_type(), given.num_rows()),
        };
        if !field.is_nullable() && column.null_count() > 0 {
            let message =
                format!("null value in column \"{}\" of \"{}\", which is NOT NULL", field.name(), target.name());
            return Err(SqlError::new(Kind::NotNull, message));
        }
        if let Some(limit) = limits.get(i).copied().flatten() {
            check_length(&column, limit, field.name())?;
        }
        made.push(column);
    }
    Ok(RecordBatch::try_new(schema.clone(), made)?)
}

fn max_chars(target: &CatalogEntry) -> Vec<Option<u32>> {
    match &target.spec {
        ObjectSpec::Table(table) => table.max_chars.clone(),
        ObjectSpec::Source(source) => source.columns.iter().map(|c| c.max_chars).collect(),
        ObjectSpec::Pipeline(_) | ObjectSpec::Sink(_) => Vec::new(),
    }
}

fn cast(column: &ArrayRef, to: &DataType, name: &str) -> Result<ArrayRef, SqlError> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, to, &strict).map_err(|e| {
        let made = SqlError::from(e);
        let message = format!("column \"{name}\": {}", made.message);
        SqlError { message, ..made }
    })
}

fn check_length(column: &ArrayRef, limit: u32, name: &str) -> Result<(), SqlError> {
    let Some(texts) = column.as_string_opt::<i32>() else { return Ok(()) };
    let too_long = texts.iter().flatten().find(|t| t.chars().count() > limit as usize);
    too_long.map_or(Ok(()), |text| {
        let length = text.chars().count();
        Err(SqlError::new(
            Kind::TooLong,
            format!("value of {length} characters is too long for column \"{name}\" of type VARCHAR({limit})"),
        ))
    })
}

fn placeholder(expr: &Expr) -> Option<usize> {
    let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = expr else { return None };
    name.trim_start_matches('$').parse().ok().filter(|n| *n > 0)
}

/// Collects the numbers of all parameters.
struct Numbers(Vec<usize>);

impl VisitorMut for Numbers {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> std::ops::ControlFlow<()> {
        self.0.extend(placeholder(expr));
        std::ops::ControlFlow::Continue(())
    }
}

/// Writes the parameters' values into the query as constants; the target's columns give them their types.
fn substitute(query: &mut Query, params: &[Param]) -> Result<(), SqlError> {
    let mut writer = Substitute { params, missing: None };
    let _ = query.visit(&mut writer);
    writer.missing.map_or(Ok(()), |number| {
        Err(SqlError::new(Kind::Parameter, format!("there is no value for parameter ${number}")))
    })
}

struct Substitute<'a> {
    params: &'a [Param],
    missing: Option<usize>,
}

impl VisitorMut for Substitute<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> std::ops::ControlFlow<()> {
        if let Some(number) = placeholder(expr) {
            let value = match self.params.get(number - 1) {
                Some(Param::Null) => Value::Null,
                Some(Param::Text(text)) => Value::SingleQuotedString(text.clone()),
                Some(Param::Value(literal, data_type)) => {
                    match crate::expression::literal_to_scalar(literal, data_type) {
                        Ok(scalar) if scalar.is_null() => Value::Null,
                        Ok(scalar) => Value::SingleQuotedString(scalar.to_string()),
                        Err(_) => Value::Null,
                    }
                }
                None => {
                    self.missing = Some(number);
                    Value::Null
                }
            };
            *expr = Expr::Value(value.into());
        }
        std::ops::ControlFlow::Continue(())
    }
}
