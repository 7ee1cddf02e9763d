//! Statements against a registry of connectors that check nothing: what is planned, what is refused.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use laminar_core::connector::options::{OptionKind, OptionSpec, Options};
use laminar_core::connector::{
    Applier, ConnectorError, Decoder, DecoderFactory, EncodedRecord, Encoder, EncoderFactory, Malformed, RawRecord,
    Registry, SinkFactory, SinkIdentity, Source, SourceFactory,
};
use laminar_core::data::{Batch, ChangeMode};
use laminar_core::graph::{EmitMode, Envelope, NodeSpec, ObjectSpec, OperatorSpec, SinkSpec, SourceSpec, WindowKind};

use laminar_core::ids::Epoch;

use super::{Param, Planned, Planner, SessionSettings};
use crate::catalog::{Catalog, CatalogRecord};
use crate::error::SqlError;
use crate::parse::parse;

const fn option(name: &'static str, aliases: &'static [&'static str], required: bool) -> OptionSpec {
    OptionSpec { name, aliases, kind: OptionKind::Text, default: None, required, secret: false, doc: "for tests" }
}

static OPTIONS: &[OptionSpec] =
    &[option("topic", &[], true), option("bootstrap.servers", &["properties.bootstrap.server"], false)];
static METADATA: &[(&str, DataType)] = &[("offset", DataType::Int64)];

struct Kafka;

fn never() -> ConnectorError {
    ConnectorError::user("LDB-6999", "not in this test")
}

impl SourceFactory for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }
    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }
    fn metadata(&self) -> &'static [(&'static str, DataType)] {
        METADATA
    }
    fn create(&self, _: &SourceSpec) -> Result<Box<dyn Source>, ConnectorError> {
        Err(never())
    }
}

impl SinkFactory for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }
    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }
    fn create(&self, _: &SinkSpec, _: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        Err(never())
    }
}

/// A sink without options of its own making: the reference shows more connectors than this test has.
struct Target(&'static str, &'static [OptionSpec]);

static FILE: &[OptionSpec] = &[option("path", &[], true)];
static POSTGRES: &[OptionSpec] = &[
    option("host", &[], false),
    option("database", &[], true),
    option("user", &[], true),
    OptionSpec { secret: true, ..option("password", &[], false) },
    option("table", &[], true),
];

impl SinkFactory for Target {
    fn name(&self) -> &'static str {
        self.0
    }
    fn options(&self) -> &'static [OptionSpec] {
        self.1
    }
    fn format(&self) -> Option<&'static str> {
        (self.0 == "postgres").then_some("json")
    }
    fn create(&self, _: &SinkSpec, _: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        Err(never())
    }
}

struct Json;

struct Nothing(SchemaRef);

impl Decoder for Nothing {
    fn push(&mut self, _: &RawRecord<'_>) -> Result<usize, Malformed> {
        Ok(0)
    }
    fn rows(&self) -> usize {
        0
    }
    fn finish(&mut self) -> Result<RecordBatch, ConnectorError> {
        Ok(RecordBatch::new_empty(self.0.clone()))
    }
}

impl DecoderFactory for Json {
    fn name(&self) -> &'static str {
        "json"
    }
    fn create(&self, _: &[String], schema: SchemaRef, _: &Options) -> Result<Box<dyn Decoder>, ConnectorError> {
        Ok(Box::new(Nothing(schema)))
    }
}

/// A catalog that grows statement by statement.
impl Encoder for Nothing {
    fn encode(&mut self, _: &Batch, _: Epoch, _: &mut dyn FnMut(EncodedRecord<'_>)) -> Result<(), ConnectorError> {
        Err(never())
    }
}

impl EncoderFactory for Json {
    fn name(&self) -> &'static str {
        "json"
    }
    fn create(
        &self,
        schema: SchemaRef,
        _: Envelope,
        _: Option<&[usize]>,
        _: &Options,
    ) -> Result<Box<dyn Encoder>, ConnectorError> {
        Ok(Box::new(Nothing(schema)))
    }
}

struct Desk {
    planner: Planner,
    catalog: Catalog,
    settings: SessionSettings,
}

impl Desk {
    fn new() -> Self {
        let registry = Registry::default().source(Kafka).sink(Kafka).decoder(Json).encoder(Json);
        let registry = registry.sink(Target("file", FILE)).sink(Target("postgres", POSTGRES));
        Self {
            planner: Planner::new(Arc::new(registry)),
            catalog: Catalog::new(),
            settings: SessionSettings::default(),
        }
    }

    fn with_trades() -> Self {
        let mut desk = Self::new();
        desk.run(
            "CREATE SOURCE trades (symbol VARCHAR(8), price DOUBLE, qty BIGINT, ts TIMESTAMP(3),
             WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)",
        )
        .unwrap();
        desk.run("CREATE TABLE names (symbol VARCHAR, name VARCHAR, PRIMARY KEY (symbol))").unwrap();
        desk
    }

    fn run(&mut self, sql: &str) -> Result<Option<Planned>, SqlError> {
        self.run_with(sql, &[])
    }

    fn run_with(&mut self, sql: &str, params: &[Param]) -> Result<Option<Planned>, SqlError> {
        let mut last = None;
        for statement in parse(sql)? {
            let planned = self.planner.plan(&statement, &self.catalog, &self.settings, params)?;
            match &planned {
                Planned::Create { objects, replaces, .. } => {
                    for id in replaces {
                        self.catalog = self.catalog.remove(*id)?;
                    }
                    for object in objects {
                        self.catalog = self.catalog.add(object.clone())?;
                    }
                }
                Planned::Drop { objects, .. } => {
                    for id in objects {
                        self.catalog = self.catalog.remove(*id)?;
                    }
                }
                _ => {}
            }
            last = Some(planned);
        }
        Ok(last)
    }

    fn refused(&mut self, sql: &str) -> SqlError {
        match self.run(sql) {
            Ok(_) => panic!("not refused: {sql}"),
            Err(error) => error,
        }
    }

    fn nodes(&self, name: &str) -> Vec<NodeSpec> {
        match &self.catalog.get(name).unwrap().spec {
            ObjectSpec::Pipeline(pipeline) => pipeline.nodes.clone(),
            other => panic!("{} is no pipeline", other.name()),
        }
    }
}

fn aggregate(nodes: &[NodeSpec]) -> &NodeSpec {
    nodes.iter().find(|n| matches!(n.operator, OperatorSpec::Aggregate { .. })).unwrap()
}

fn window_of(nodes: &[NodeSpec]) -> Option<WindowKind> {
    match &aggregate(nodes).operator {
        OperatorSpec::Aggregate { window, .. } => window.map(|w| w.kind),
        _ => None,
    }
}

const MINUTE: i64 = 60_000_000;

#[test]
fn group_form_table_form_and_date_bin_give_the_same_window() {
    for from_group in [
        "trades GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE)",
        "TUMBLE(TABLE trades, DESCRIPTOR(ts), INTERVAL '1 minute') GROUP BY symbol, window_start, window_end",
        "TABLE(TUMBLE(TABLE trades, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY symbol, window_start, window_end",
        "TUMBLE(trades, ts, INTERVAL '1 minute') GROUP BY symbol, window_start, window_end",
        "trades GROUP BY symbol, tumble(INTERVAL '1 minute')",
        "trades GROUP BY symbol, date_bin(INTERVAL '1 minute', ts)",
        "trades GROUP BY symbol, date_trunc('minute', ts)",
    ] {
        let mut desk = Desk::with_trades();
        desk.run(&format!("CREATE STREAM v AS SELECT symbol, count(*) AS n FROM {from_group}"))
            .unwrap_or_else(|e| panic!("{from_group}: {e}"));
        let nodes = desk.nodes("v");
        assert_eq!(window_of(&nodes), Some(WindowKind::Tumble { size: MINUTE, offset: 0 }), "{from_group}");
    }
}

#[test]
fn hop_takes_slide_then_size_and_swapped_arguments_are_refused() {
    let mut desk = Desk::with_trades();
    desk.run("CREATE STREAM h AS SELECT window_start, sum(qty) AS q FROM trades GROUP BY HOP(ts, INTERVAL '1 minute', INTERVAL '5 minutes')").unwrap();
    let expected = WindowKind::Hop { slide: MINUTE, size: 5 * MINUTE, offset: 0 };
    assert_eq!(window_of(&desk.nodes("h")), Some(expected));
    let error = desk.refused("CREATE STREAM x AS SELECT count(*) AS n FROM trades GROUP BY HOP(ts, INTERVAL '5 minutes', INTERVAL '1 minute')");
    assert!(error.message.contains("swapped"), "{error}");
}

#[test]
fn a_stream_over_windows_emits_on_close_and_a_view_its_current_value() {
    let mut desk = Desk::with_trades();
    let query =
        "SELECT symbol, window_end, max(price) AS high FROM trades GROUP BY symbol, TUMBLE(ts, INTERVAL '1 minute')";
    desk.run(&format!("CREATE STREAM s AS {query}")).unwrap();
    desk.run(&format!("CREATE MATERIALIZED VIEW v AS {query}")).unwrap();
    desk.run(&format!("CREATE MATERIALIZED VIEW c AS {query} EMIT FINAL ALLOW LATENESS INTERVAL '5 s'")).unwrap();
    let emit = |desk: &Desk, name: &str| match aggregate(&desk.nodes(name)).operator {
        OperatorSpec::Aggregate { emit, lateness, .. } => (emit, lateness),
        _ => unreachable!(),
    };
    assert_eq!(emit(&desk, "s"), (EmitMode::OnWindowClose, 0));
    assert_eq!(emit(&desk, "v"), (EmitMode::Changes, 0));
    assert_eq!(emit(&desk, "c"), (EmitMode::OnWindowClose, 5_000_000));
    assert_eq!(desk.catalog.get("s").unwrap().schema().mode, ChangeMode::Append);
    // (symbol, window_end) names one row.
    assert_eq!(desk.catalog.get("v").unwrap().schema().key, Some(vec![0, 1]));
}

#[test]
fn window_columns_are_time_attributes_and_a_computed_column_is_not() {
    let mut desk = Desk::with_trades();
    desk.run(
        "CREATE STREAM w AS SELECT window_time, count(*) AS n FROM trades GROUP BY TUMBLE(ts, INTERVAL '1 second')",
    )
    .unwrap();
    desk.run(
        "CREATE STREAM w2 AS SELECT window_start, sum(n) AS n FROM w GROUP BY TUMBLE(window_time, INTERVAL '1 minute')",
    )
    .unwrap();
    desk.run("CREATE STREAM late AS SELECT ts + INTERVAL '1 hour' AS moved FROM trades").unwrap();
    let error =
        desk.refused("CREATE STREAM x AS SELECT count(*) AS n FROM late GROUP BY TUMBLE(moved, INTERVAL '1 minute')");
    assert!(error.message.contains("moved"), "{error}");
}

#[test]
fn exchanges_stand_before_keyed_aggregates_and_operator_ids_are_stable() {
    let sql = "CREATE MATERIALIZED VIEW v AS SELECT symbol, sum(qty) AS q FROM trades WHERE price > 1 GROUP BY symbol";
    let (mut a, mut b) = (Desk::with_trades(), Desk::with_trades());
    a.run(sql).unwrap();
    b.run(sql).unwrap();
    let nodes = a.nodes("v");
    assert_eq!(nodes, b.nodes("v"));
    let at = nodes.iter().position(|n| matches!(n.operator, OperatorSpec::Aggregate { .. })).unwrap();
    assert!(matches!(&nodes[at - 1].operator, OperatorSpec::Exchange { keys } if keys.len() == 1));
    assert!(matches!(nodes.last().unwrap().operator, OperatorSpec::Materialize { .. }));
    assert_eq!(nodes.last().unwrap().output.columns.field(1).data_type(), &DataType::Decimal128(38, 0));
    let mut ids: Vec<u64> = nodes.iter().map(|n| n.id.0).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), nodes.len());
}

#[test]
fn an_updating_query_into_a_plain_sink_is_refused_with_the_way_out() {
    let mut desk = Desk::with_trades();
    let query = "SELECT symbol, count(*) AS n FROM trades GROUP BY symbol";
    let error = desk.refused(&format!("CREATE SINK k INTO KAFKA (topic = 'x', format = 'json') AS {query}"));
    assert!(error.hint.unwrap().contains("EMIT ON WINDOW CLOSE"));
    desk.run(&format!(
        "CREATE SINK k AS {query} WITH (connector = 'kafka', topic = 'x', format = 'json', envelope = 'upsert')"
    ))
    .unwrap();
    match &desk.catalog.get("k").unwrap().spec {
        ObjectSpec::Sink(sink) => assert_eq!((sink.envelope, sink.key.as_deref()), (Envelope::Upsert, Some(&[0][..]))),
        other => panic!("{other:?}"),
    }
    desk.run("DROP SINK k").unwrap();
    assert!(desk.catalog.get("k$query").is_none(), "the anonymous stream goes with its sink");
}

#[test]
fn min_over_rows_that_change_is_refused_by_name() {
    let mut desk = Desk::with_trades();
    desk.run("CREATE MATERIALIZED VIEW v AS SELECT symbol, count(*) AS n FROM trades GROUP BY symbol").unwrap();
    desk.run("CREATE MATERIALIZED VIEW ok AS SELECT sum(n) AS n FROM v").unwrap();
    let error = desk.refused("CREATE MATERIALIZED VIEW x AS SELECT min(n) AS n FROM v");
    assert!(error.message.contains("min()"), "{error}");
    assert_eq!(error.sqlstate, "0A000");
}

#[test]
fn clauses_that_nothing_executes_are_refused_by_name() {
    let mut desk = Desk::with_trades();
    for body in [
        "SELECT symbol FROM trades ORDER BY symbol",
        "SELECT symbol FROM trades LIMIT 1",
        "SELECT t.symbol FROM trades t JOIN names n ON t.symbol = n.symbol",
        "SELECT symbol, lag(price) OVER (ORDER BY ts) AS p FROM trades",
        "SELECT DISTINCT ON (symbol) symbol FROM trades",
        "SELECT count(DISTINCT symbol) AS n FROM trades",
        "SELECT symbol FROM trades WHERE price > (SELECT 1)",
        "SELECT symbol FROM trades EXCEPT SELECT symbol FROM names",
        "SELECT symbol, count(*) AS n FROM trades GROUP BY ROLLUP (symbol)",
        "SELECT symbol FROM trades FOR SYSTEM_TIME AS OF ts",
        "SELECT now() AS n FROM trades",
        "SELECT symbol FROM trades EMIT EVERY INTERVAL '1 s'",
        "SELECT symbol FROM trades LATE DATA TO names",
        "SELECT count(*) AS n FROM trades GROUP BY SESSION(ts, INTERVAL '1 minute')",
    ] {
        let error = desk.refused(&format!("CREATE MATERIALIZED VIEW x AS {body}"));
        assert_eq!(error.sqlstate, "0A000", "{body}: {error}");
    }
}

#[test]
fn errors_carry_the_place_and_the_nearest_name() {
    let mut desk = Desk::with_trades();
    let error = desk.refused("CREATE MATERIALIZED VIEW x AS\nSELECT * FROM trade");
    assert_eq!((error.sqlstate, error.position), ("42P01", Some(45)));
    assert!(error.hint.unwrap().contains("trades"));
    // The second of two statements, a window over a relation, a window over a column.
    for (sql, at) in [
        ("SELECT 1;\n  SELECT * FROM trade", 27),
        (
            "CREATE STREAM x AS SELECT count(*) AS n FROM TUMBLE(TABLE trade, DESCRIPTOR(ts), INTERVAL '1 s') GROUP BY window_start",
            59,
        ),
        ("CREATE STREAM x AS SELECT count(*) AS n\nFROM trades GROUP BY TUMBLE(tss, INTERVAL '1 s')", 62),
        ("SELECT\nnope FROM names", 8),
    ] {
        let error = desk.refused(sql);
        assert_eq!(error.position, Some(at), "{sql}: {error}");
    }
    let error = desk.refused("CREATE SOURCE");
    assert_eq!(error.sqlstate, "42601");
    assert!(error.position.is_some());
    let error = desk.refused("CREATE SOURCE s (a BIGINT) FROM KAFKA (topci = 'x', format = 'json')");
    assert!(error.message.contains("topic"), "{error}");
    assert_eq!(error.position, Some(40));
}

#[test]
fn drop_names_what_depends_and_cascade_takes_it() {
    let mut desk = Desk::with_trades();
    desk.run("CREATE STREAM a AS SELECT symbol FROM trades; CREATE STREAM b AS SELECT symbol FROM a").unwrap();
    let error = desk.refused("DROP SOURCE trades");
    assert_eq!(error.sqlstate, "2BP01");
    assert!(error.detail.unwrap().contains('a'));
    desk.run("DROP SOURCE trades CASCADE").unwrap();
    assert!(desk.catalog.get("b").is_none());
    desk.run("DROP STREAM IF EXISTS b").unwrap();
}

#[test]
fn inserted_rows_are_whole_typed_and_checked() {
    let mut desk = Desk::with_trades();
    let params = [Param::Text("ABC".to_owned()), Param::Text("2.5".to_owned())];
    let planned =
        desk.run_with("INSERT INTO trades (symbol, price, ts) VALUES ($1, $2, '2024-01-01 00:00:00')", &params);
    let Ok(Some(Planned::Insert { rows, .. })) = planned else { panic!("{planned:?}") };
    assert_eq!((rows.num_rows(), rows.num_columns()), (1, 4));
    assert_eq!(desk.refused("INSERT INTO trades (symbol) VALUES ('much too long')").sqlstate, "22001");
    assert_eq!(desk.refused("INSERT INTO names VALUES (NULL, 'x')").sqlstate, "23502");
    assert_eq!(desk.refused("INSERT INTO trades (qty) VALUES ('many')").sqlstate, "22P02");
}

#[test]
fn a_record_of_the_catalog_reads_back_equal() {
    let mut desk = Desk::with_trades();
    desk.run("CREATE MATERIALIZED VIEW v AS SELECT upper(symbol) AS s, avg(price) AS p, TUMBLE_END(ts, INTERVAL '1 minute') AS e
              FROM trades GROUP BY upper(symbol), TUMBLE(ts, INTERVAL '1 minute') HAVING count(*) > 1").unwrap();
    let records: Vec<_> = desk.catalog.iter().map(|entry| CatalogRecord::from_entry(entry)).collect();
    for record in &records {
        let text = record.to_json().unwrap();
        assert_eq!(CatalogRecord::from_json(&text).unwrap(), *record);
    }
    let again = Catalog::from_records(records).unwrap();
    assert_eq!(again.get("v"), desk.catalog.get("v"));
    assert!(again.next_id() >= desk.catalog.next_id());
}

#[test]
fn the_optimizer_still_has_every_rule_that_streams_use() {
    let known: Vec<String> =
        datafusion::optimizer::Optimizer::new().rules.iter().map(|r| r.name().to_owned()).collect();
    for rule in super::logical::stream_rules() {
        assert!(known.iter().any(|k| k == rule.name()), "{} is gone", rule.name());
    }
}

/// Examples of the reference: ```sql blocks are planned one after the other, ```sql refused blocks are refused.
#[test]
fn every_example_of_the_reference_is_planned_or_refused_as_it_says() {
    let page = include_str!("../../../docs/sql.md");
    let mut desk = Desk::new();
    let mut count = 0;
    for block in page.split("```sql").skip(1) {
        let (head, rest) = block.split_once('\n').unwrap();
        let (body, _) = rest.split_once("```").unwrap();
        count += 1;
        if head.trim() == "refused" {
            for statement in body.split(";\n").filter(|s| !s.trim().is_empty()) {
                desk.refused(statement);
            }
        } else {
            desk.run(body).unwrap_or_else(|e| panic!("{e} (position {:?}) in\n{body}", e.position));
        }
    }
    assert!(count > 10, "{count} examples");
}

#[test]
fn the_page_of_functions_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/functions.md");
    let generated = crate::function::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == generated, "docs/functions.md is stale: run this test with UPDATE_DOCS=1");
}

/// The literal that follows a word in a source text, wherever it occurs.
fn literals_after<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let after = text.split(word).skip(1);
    after
        .filter_map(|rest| {
            let rest = rest.trim_start().strip_prefix('"')?;
            rest.split_once('"').map(|(literal, _)| literal)
        })
        .collect()
}

#[test]
fn every_refusal_has_a_case_over_the_wire() {
    let cases = include_str!("../../../laminar-server/tests/slt/refused_query.slt").replace('\\', "");
    for (file, text) in [("admit.rs", include_str!("admit.rs")), ("admit_expr.rs", include_str!("admit_expr.rs"))] {
        let refusals = literals_after(text, "a.once_only(");
        assert!(refusals.len() > 5, "{file}: {} refusals found", refusals.len());
        for refusal in refusals {
            assert!(cases.contains(refusal), "{file}: no case in refused_query.slt for: {refusal}");
        }
    }
    let cases = include_str!("../../../laminar-server/tests/slt/refused_statement.slt");
    let list = include_str!("../parse/admin.rs").split_once("const REFUSED").unwrap().1;
    let words = literals_after(list.split_once("\n];").unwrap().0, "(&[");
    assert!(words.len() > 20, "{} refused statements found", words.len());
    for word in words {
        assert!(cases.contains(&format!("\n{word}")), "no case in refused_statement.slt for {word}");
    }
}

#[test]
fn no_statement_shows_the_value_of_a_secret_option() {
    let mut desk = Desk::with_trades();
    let create = "CREATE SINK s AS SELECT symbol FROM trades WITH (connector = 'postgres', database = 'shop', user = 'u', \
         table = 't', password = 'hunter2')";
    desk.run(create).unwrap();
    for sql in [
        "SHOW CREATE SINK s",
        "SHOW CREATE s$query",
        "SHOW PLAN COVERAGE",
        "SHOW SINKS",
        "SHOW CONNECTORS",
        "DESCRIBE s",
        "EXPLAIN s",
        "EXPLAIN (FORMAT JSON) s",
        &format!("EXPLAIN {}", create.replace("SINK s ", "SINK s2 ")),
        &format!("EXPLAIN (FORMAT JSON) {}", create.replace("SINK s ", "SINK s2 ")),
    ] {
        let Some(Planned::Rows(rows) | Planned::Objects(rows)) = desk.run(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
        else {
            panic!("{sql} shows rows")
        };
        let texts = rows.columns().iter().filter_map(|column| column.as_string_opt::<i32>());
        let shown = texts.flat_map(|text| text.iter().flatten()).collect::<Vec<_>>().join("\n");
        assert!(!shown.contains("hunter2"), "{sql}: {shown}");
        assert!(!sql.contains("JSON") || shown.contains("***") && shown.contains("shop"), "{sql}: {shown}");
    }
}
