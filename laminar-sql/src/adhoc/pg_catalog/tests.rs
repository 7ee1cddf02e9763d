//! What tools get: every statement they were recorded to send is planned and run.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use futures::TryStreamExt;

use super::*;

fn column(name: &str, data_type: DataType, nullable: bool) -> Column {
    Column { name: name.to_owned(), data_type, nullable }
}

fn relation(oid: u32, name: &str, kind: RelationKind) -> Relation {
    Relation {
        oid,
        name: name.to_owned(),
        kind,
        columns: vec![
            column("id", DataType::Int64, false),
            column("Name", DataType::Utf8, true),
            column("price", DataType::Decimal128(10, 2), true),
            column("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ],
        primary_key: Vec::new(),
        connector: None,
        definition: None,
        comment: None,
    }
}

fn snapshot() -> Arc<Snapshot> {
    let mut table = relation(16_385, "t", RelationKind::Table);
    table.primary_key = vec![0, 1];
    let mut view = relation(16_386, "v", RelationKind::MaterializedView);
    view.definition = Some("SELECT * FROM t".to_owned());
    view.comment = Some("a comment".to_owned());
    let stream = relation(16_387, "s", RelationKind::Stream);
    let mut source = relation(16_388, "trades", RelationKind::Source);
    source.connector = Some("kafka".to_owned());
    Arc::new(Snapshot {
        user: "ada".to_owned(),
        version: "PostgreSQL 15.0 (LaminarDB 0.1.0)".to_owned(),
        backend: 7,
        relations: vec![table, view, stream, source],
        settings: vec![Setting { name: "TimeZone".to_owned(), value: "UTC".to_owned(), description: String::new() }],
        functions: vec![("lower".to_owned(), 'f'), ("sum".to_owned(), 'a')],
    })
}

fn parse(sql: &str) -> Vec<Statement> {
    Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap_or_else(|e| panic!("{e}\n{sql}"))
}

async fn run(sql: &str) -> Result<Vec<RecordBatch>, SystemError> {
    assert!(SystemQuery::concerns(sql), "{sql}");
    SystemQuery::plan(sql, snapshot()).await?.execute().await?.try_collect().await
}

/// Rows as text, columns separated by `|`.
async fn rows(sql: &str) -> Vec<String> {
    let batches = run(sql).await.unwrap_or_else(|e| panic!("{e}"));
    let mut rows = Vec::new();
    for batch in &batches {
        let options = FormatOptions::default();
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

async fn replay(recorded: &str) {
    let mut failures = Vec::new();
    for statement in parse(recorded) {
        let sql = statement.to_string();
        if matches!(sql.as_str(), "SELECT 1" | "SELECT 1 AS x") || !matches!(statement, Statement::Query(_)) {
            continue;
        }
        if let Err(error) = run(&sql).await {
            failures.push(format!("{error}\n{sql}"));
        }
    }
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n\n"));
}

#[tokio::test]
async fn everything_psql_was_recorded_to_ask_is_answered() {
    replay(include_str!("recorded/psql.sql")).await;
}

#[tokio::test]
async fn everything_drivers_were_recorded_to_ask_is_answered() {
    replay(include_str!("recorded/drivers.sql")).await;
}

/// The recorded statement that starts with a comment.
fn recorded(comment: &str) -> String {
    let all = concat!(include_str!("recorded/psql.sql"), include_str!("recorded/drivers.sql"));
    let start = all.find(comment).unwrap_or_else(|| panic!("no {comment}"));
    let statement = all[start..].split_once('\n').unwrap().1;
    statement.split_once(';').unwrap().0.to_owned()
}

#[tokio::test]
async fn list_of_objects_names_each_with_its_kind() {
    let list = rows(&recorded("-- psql 15: \\d\n")).await;
    assert_eq!(
        list,
        [
            "public|s|view|ada",
            "public|t|table|ada",
            "public|trades|foreign table|ada",
            "public|v|materialized view|ada"
        ]
    );
}

#[tokio::test]
async fn description_of_an_object_has_its_columns_types_and_key() {
    let found = rows(&recorded("-- psql 15: \\d t\n")).await;
    assert_eq!(found, ["16385|public|t"]);
    let columns = rows(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = '16385' AND a.attnum > 0 ORDER BY a.attnum",
    )
    .await;
    assert_eq!(
        columns,
        ["id|bigint|true", "Name|text|true", "price|numeric(10,2)|false", "ts|timestamp(3) without time zone|false"]
    );
    let key =
        rows("SELECT pg_get_constraintdef(oid, true), pg_get_indexdef(conindid, 0, true) FROM pg_constraint").await;
    assert_eq!(key, ["PRIMARY KEY (id, \"Name\")|CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id, \"Name\")"]);
}

#[tokio::test]
async fn casts_between_names_and_numbers_work_both_ways() {
    assert_eq!(
        rows("SELECT 't'::regclass AS n, relname FROM pg_class WHERE oid = 'public.t'::regclass").await,
        ["16385|t"]
    );
    assert_eq!(rows("SELECT oid::regclass FROM pg_class WHERE relname = 'trades'").await, ["trades"]);
    assert_eq!(
        rows("SELECT attrelid::regclass::oid FROM pg_attribute WHERE attname = 'id' AND attrelid = 16385").await,
        ["16385"]
    );
    assert_eq!(rows("SELECT 1700::regtype::text AS a, 'int8'::regtype::oid AS b").await, ["numeric|20"]);
}

#[tokio::test]
async fn functions_answer_without_a_relation() {
    assert_eq!(
        rows("SELECT version(), pg_catalog.current_database(), current_schema(), current_user, pg_backend_pid()").await,
        ["PostgreSQL 15.0 (LaminarDB 0.1.0)|laminardb|public|ada|7"]
    );
    assert_eq!(
        rows("SELECT current_setting('timezone'), pg_size_pretty(20480), quote_ident('A b')").await,
        ["UTC|20 kB|\"A b\""]
    );
}

#[tokio::test]
async fn columns_without_alias_have_postgresql_names() {
    let sql = "SELECT 1, 2, version(), count(*), relname, c.relname, lower(relname), count(*) + 1 FROM pg_class c GROUP BY relname";
    let batches = run(sql).await.unwrap();
    let names: Vec<String> = batches[0].schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["?column?", "?column?_2", "version", "count", "relname", "relname_2", "lower", "?column?_3"]);
}

#[tokio::test]
async fn like_pattern_with_its_own_escape_character_matches_the_same() {
    assert_eq!(rows("SELECT version() IS NULL AS c, 'pg_x' LIKE 'pg/_' || '%' ESCAPE '/' AS a, 'pgax' LIKE 'pg/_%' ESCAPE '/' AS b").await, ["false|true|false"]);
}

#[tokio::test]
async fn relation_names_are_system_relations_only_where_no_schema_says_otherwise() {
    let mut statement = parse("SELECT * FROM pg_class, other.pg_type, plain").remove(0);
    let Statement::Query(query) = &mut statement else { panic!("a query") };
    assert!(rewrite(query));
    assert_eq!(query.to_string(), "SELECT * FROM pg_catalog.pg_class, other.pg_type, plain");
}

#[test]
fn query_over_users_objects_keeps_its_subqueries_and_concatenations() {
    let sql = "SELECT a || NULL AS x, (SELECT b FROM u) AS y FROM v";
    let mut statement = parse(sql).remove(0);
    let Statement::Query(query) = &mut statement else { panic!("a query") };
    assert!(!rewrite(query));
    assert_eq!(query.to_string(), sql);
}

#[tokio::test]
async fn parameters_are_typed_by_their_use_and_bound_as_text() {
    let sql = "SELECT relname FROM pg_class WHERE oid = $1 AND relkind = $2";
    let query = SystemQuery::plan(sql, snapshot()).await.unwrap();
    assert_eq!(query.parameters().unwrap(), [DataType::Int32, DataType::Utf8]);
    let bound = query.clone().bind(&[Some("16385".to_owned()), Some("r".to_owned())]).unwrap();
    let batches: Vec<RecordBatch> = bound.execute().await.unwrap().try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    assert!(query.bind(&[Some("x".to_owned()), None]).is_err());
}

#[tokio::test]
async fn mistakes_have_the_sqlstate_of_postgresql() {
    for (sql, sqlstate) in [
        ("SELECT nope FROM pg_class", "42703"),
        ("SELECT 1 FROM pg_class, nope", "42P01"),
        ("SELECT nope(1) FROM pg_class", "42883"),
    ] {
        assert_eq!(run(sql).await.unwrap_err().sqlstate, sqlstate, "{sql}");
    }
}

#[test]
fn queries_over_objects_do_not_belong_here() {
    for sql in [
        "SELECT 1",
        "SELECT * FROM v",
        "SELECT now()",
        "INSERT INTO t VALUES (1)",
        "SELECT version() FROM v",
        "nonsense",
    ] {
        assert!(!SystemQuery::concerns(sql), "{sql}");
    }
    for sql in ["SELECT version()", "SELECT * FROM pg_class", "SELECT 't'::regclass", "SELECT current_user"] {
        assert!(SystemQuery::concerns(sql), "{sql}");
    }
}
