//! The answer of a batch engine: DataFusion's own filters, projections and GROUP BY over all rows at
//! once. Windows are no part of it: their columns are made here, row by row and window by window.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use laminar_core::connector::Registry;
use laminar_sql::adhoc::{AdhocQuery, RelationRows};
use laminar_sql::catalog::Catalog;
use laminar_sql::parse;
use laminar_sql::plan::{Planned, Planner, SessionSettings, sql_type};

use crate::grammar::{Expansion, Query};

/// A relation as a batch: all its rows and, for a source, the watermark before each.
#[derive(Clone)]
pub struct Table {
    pub rows: RecordBatch,
    pub watermarks: Option<Vec<i64>>,
}

/// All relations.
pub struct Oracle {
    runtime: tokio::runtime::Runtime,
    planner: Planner,
    pub tables: BTreeMap<String, Table>,
    /// Planned once a case, run at each comparison.
    plans: BTreeMap<String, AdhocQuery>,
}

impl Default for Oracle {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self {
            runtime,
            planner: Planner::new(Arc::new(Registry::default())),
            tables: BTreeMap::new(),
            plans: BTreeMap::new(),
        }
    }
}

impl Oracle {
    /// Answers a query and keeps the answer under its name, for queries over it.
    pub fn answer(&mut self, query: &Query) -> RecordBatch {
        let mut tables: BTreeMap<String, RecordBatch> = BTreeMap::new();
        for name in &query.reads {
            tables.insert(name.clone(), self.tables[name].rows.clone());
        }
        for expansion in &query.expansions {
            tables.insert(expansion.table.clone(), expand(&self.tables[&expansion.relation], expansion));
        }
        let tables: Vec<(String, RecordBatch)> =
            tables.iter().map(|(name, rows)| (name.clone(), numbered(rows))).collect();
        if !self.plans.contains_key(&query.name) {
            self.plans.insert(query.name.clone(), self.planned(&query.batch, &tables));
        }
        let rows = self.run(self.plans[&query.name].clone(), tables, &query.batch);
        self.tables.insert(query.name.clone(), Table { rows: rows.clone(), watermarks: None });
        rows
    }

    fn planned(&self, sql: &str, tables: &[(String, RecordBatch)]) -> AdhocQuery {
        let mut catalog = Catalog::new();
        for (name, rows) in tables {
            let column = |f: &Arc<Field>| {
                let not_null = if f.is_nullable() { "" } else { " NOT NULL" };
                format!("{} {}{not_null}", f.name(), sql_type(f.data_type(), None))
            };
            let columns: Vec<String> = rows.schema().fields().iter().map(column).collect();
            let create = format!("CREATE TABLE {name} ({}, PRIMARY KEY ({NUMBER}))", columns.join(", "));
            let Planned::Create { objects, .. } = self.plan(&create, &catalog) else { panic!("{create}") };
            for entry in objects {
                catalog = catalog.add(entry).unwrap();
            }
        }
        let Planned::Query(query) = self.plan(sql, &catalog) else { panic!("{sql}") };
        let relations =
            query.relations().unwrap_or_else(|error| panic!("the batch query is not optimised: {error}\n{sql}"));
        for relation in relations {
            let known = tables.iter().any(|(name, _)| relation.name == format!("public.{name}"));
            assert!(known, "{} is not among the oracle's relations", relation.name);
        }
        *query
    }

    fn run(&self, query: AdhocQuery, tables: Vec<(String, RecordBatch)>, sql: &str) -> RecordBatch {
        let inputs: RelationRows =
            tables.into_iter().map(|(name, rows)| (format!("public.{name}"), vec![rows])).collect();
        let schema = query.schema();
        let rows = self.runtime.block_on(async { query.execute(inputs).await?.try_collect::<Vec<_>>().await });
        let rows = rows.unwrap_or_else(|error| panic!("the batch query fails: {error}\n{sql}"));
        concat_batches(&schema, &rows).unwrap()
    }

    fn plan(&self, sql: &str, catalog: &Catalog) -> Planned {
        let refused = |error: &dyn std::fmt::Display| -> ! { panic!("the batch query is refused: {error}\n{sql}") };
        let statements = parse::parse(sql).unwrap_or_else(|error| refused(&error));
        self.planner
            .plan(&statements[0], catalog, &SessionSettings::default(), &[])
            .unwrap_or_else(|error| refused(&error))
    }
}

/// The name of a column that no query reads; a TABLE needs a key.
const NUMBER: &str = "batch_row";

fn numbered(rows: &RecordBatch) -> RecordBatch {
    let mut fields: Vec<Field> = rows.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new(NUMBER, DataType::Int64, false));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new((0..rows.num_rows() as i64).collect::<Int64Array>()));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// The watermark before each row of a source: the greatest time so far, less the delay.
pub fn watermarks(rows: &RecordBatch, delay: i64) -> Vec<i64> {
    let mut greatest: Option<i64> = None;
    let times = micros(rows.column_by_name("ts").unwrap());
    let before = |time: i64| {
        let watermark = greatest.map_or(i64::MIN, |g| g - delay);
        greatest = Some(greatest.map_or(time, |g| g.max(time)));
        watermark
    };
    times.values().iter().copied().map(before).collect()
}

fn micros(column: &ArrayRef) -> TimestampMicrosecondArray {
    let zoneless = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
    zoneless.as_primitive::<TimestampMicrosecondType>().clone()
}

/// Each row once for every window it lies in and is not late for, with the window's columns.
fn expand(table: &Table, expansion: &Expansion) -> RecordBatch {
    let column = table.rows.column_by_name(&expansion.time).unwrap();
    let times = micros(column);
    let window = &expansion.window;
    let (mut rows, mut starts) = (Vec::new(), Vec::new());
    for row in 0..times.len() {
        if times.is_null(row) {
            continue;
        }
        let time = times.value(row);
        let mut start = (time - window.offset).div_euclid(window.slide) * window.slide + window.offset;
        while start + window.size > time {
            let closes = start + window.size + expansion.lateness;
            if table.watermarks.as_ref().is_none_or(|w| closes > w[row]) {
                rows.push(row as u32);
                starts.push(start);
            }
            start -= window.slide;
        }
    }
    let unit = match column.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1000,
        _ => 1,
    };
    let bound = |shift: i64| -> ArrayRef {
        let bounds: TimestampMicrosecondArray = starts.iter().map(|start| Some(start + shift)).collect();
        cast(&bounds, column.data_type()).unwrap()
    };
    // The last moment of a window in nanoseconds is not a whole microsecond.
    let last: ArrayRef = if *column.data_type() == DataType::Timestamp(TimeUnit::Nanosecond, None) {
        let ends = starts.iter().map(|start| Some((start + window.size) * 1000 - 1));
        Arc::new(ends.collect::<arrow::array::TimestampNanosecondArray>())
    } else {
        bound(window.size - unit)
    };
    let taken = take_record_batch(&table.rows, &UInt32Array::from(rows)).unwrap();
    let mut fields: Vec<Field> = taken.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut columns = taken.columns().to_vec();
    for (name, values) in [("window_start", bound(0)), ("window_end", bound(window.size)), ("window_time", last)] {
        fields.push(Field::new(name, column.data_type().clone(), false));
        columns.push(values);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Rows as texts, sorted: what two answers are compared by.
pub fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" | "));
        }
    }
    lines.sort();
    lines
}
