//! The statements, as parsed: plain syntax trees of our own around sqlparser's queries and expressions.
//!
//! Invariant: nothing here has been looked up in a catalog.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Query};

pub use super::options::Given;
use super::split::Location;

/// One statement with its text.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Its own text, without the semicolon.
    pub text: String,
    /// Where it begins in the text that was parsed.
    pub start: Location,
    /// Characters of that text before it.
    pub before: usize,
}

/// What a statement says.
#[derive(Clone, Debug)]
pub enum StatementKind {
    /// CREATE SOURCE; CREATE TABLE … WITH (connector = …).
    CreateSource(CreateSource),
    /// CREATE TABLE.
    CreateTable(CreateTable),
    /// CREATE STREAM, CREATE MATERIALIZED VIEW.
    CreateQuery(CreateQuery),
    /// CREATE SINK.
    CreateSink(CreateSink),
    /// DROP.
    Drop(Drop),
    /// INSERT.
    Insert(Insert),
    /// COPY … FROM STDIN.
    CopyIn(CopyIn),
    /// COPY (SUBSCRIBE …) TO STDOUT.
    CopySubscribe {
        /// The subscription.
        subscribe: Subscribe,
        /// How rows are written.
        format: CopyFormat,
    },
    /// COPY (SELECT …) TO STDOUT.
    CopyQuery {
        /// The query.
        query: Box<Query>,
        /// How rows are written.
        format: CopyFormat,
    },
    /// SELECT, VALUES, WITH … SELECT; with `EMIT` it is a subscription.
    Query {
        /// The query.
        query: Box<Query>,
        /// `EMIT …` and the like.
        tail: QueryTail,
    },
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// SHOW.
    Show(Show),
    /// DESCRIBE.
    Describe {
        /// The object.
        object: String,
        /// Its place.
        at: Location,
    },
    /// EXPLAIN.
    Explain(Explain),
    /// BEGIN.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE SAVEPOINT.
    Release(String),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(String),
    /// SET; the values joined with `, `. No value = DEFAULT.
    Set {
        /// The setting.
        name: String,
        /// Its value.
        value: Option<String>,
        /// Its place.
        at: Location,
    },
    /// DEALLOCATE name; none = DEALLOCATE ALL.
    Deallocate {
        /// The prepared statement.
        name: Option<String>,
    },
    /// RESET name; none = RESET ALL, DISCARD ALL.
    Reset {
        /// The setting.
        name: Option<String>,
        /// Its place.
        at: Location,
    },
    /// CHECKPOINT.
    Checkpoint,
    /// FLUSH, WAIT.
    Flush,
    /// ADVANCE WATERMARK FOR s TO ts.
    AdvanceWatermark(AdvanceWatermark),
    /// ALTER STREAM … SET, ALTER MATERIALIZED VIEW … SET.
    AlterQuery(AlterQuery),
    /// PAUSE.
    Pause {
        /// The pipeline or sink.
        object: String,
        /// Its place.
        at: Location,
    },
    /// RESUME.
    Resume {
        /// The pipeline or sink.
        object: String,
        /// Its place.
        at: Location,
    },
}

/// ALTER STREAM s SET (…), ALTER MATERIALIZED VIEW v SET (…).
#[derive(Clone, Debug, PartialEq)]
pub struct AlterQuery {
    /// Which of the two.
    pub kind: RelationKind,
    /// Its name.
    pub name: String,
    /// What is to be changed.
    pub options: Vec<Given>,
    /// The place of the name.
    pub at: Location,
}

/// What to do when the name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Refuse,
    /// IF NOT EXISTS: leave it and say so.
    Keep,
    /// OR REPLACE.
    Replace,
}

/// The kinds of objects as the user names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// SOURCE
    Source,
    /// TABLE
    Table,
    /// STREAM
    Stream,
    /// MATERIALIZED VIEW
    View,
    /// SINK
    Sink,
}

impl RelationKind {
    /// Its words, in lowercase.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Table => "table",
            Self::Stream => "stream",
            Self::View => "materialized view",
            Self::Sink => "sink",
        }
    }
}

/// Where a column comes from.
#[derive(Clone, Debug)]
pub enum ColumnOrigin {
    /// A field of the record.
    Field,
    /// `GENERATED ALWAYS AS (expr)`, `AS expr`.
    Computed(Box<Expr>),
    /// `METADATA FROM 'key'`, `INCLUDE key AS column`.
    Metadata(String),
}

/// A column of CREATE SOURCE or CREATE TABLE.
#[derive(Clone, Debug)]
pub struct ColumnDef {
    /// Name.
    pub name: String,
    /// Type; none for `INCLUDE` (the connector's type) and `c AS expr` (the expression's).
    pub data_type: Option<DataType>,
    /// NOT NULL.
    pub not_null: bool,
    /// Where it comes from.
    pub origin: ColumnOrigin,
    /// Its place.
    pub at: Location,
}

/// `WATERMARK FOR column [AS expr] [IDLE AFTER interval]`, or `column type LATENESS interval`.
#[derive(Clone, Debug)]
pub struct WatermarkClause {
    /// The event-time column.
    pub column: String,
    /// `column - interval`; none = no delay.
    pub expr: Option<Box<Expr>>,
    /// A plain delay (`LATENESS`).
    pub delay: Option<Box<Expr>>,
    /// `IDLE AFTER`.
    pub idle_after: Option<Box<Expr>>,
    /// Its place.
    pub at: Location,
}

/// `FORMAT x ENCODE y (…)`, `FORMAT JSON`.
#[derive(Clone, Debug, Default)]
pub struct FormatClause {
    /// The word after FORMAT, in lower case.
    pub format: String,
    /// The word after ENCODE, in lower case.
    pub encode: Option<String>,
    /// Its options.
    pub options: Vec<Given>,
}

/// CREATE SOURCE.
#[derive(Clone, Debug)]
pub struct CreateSource {
    /// Name.
    pub name: String,
    /// When it exists.
    pub existing: Existing,
    /// Columns.
    pub columns: Vec<ColumnDef>,
    /// PRIMARY KEY.
    pub primary_key: Vec<String>,
    /// WATERMARK.
    pub watermark: Option<WatermarkClause>,
    /// The connector named by `FROM KAFKA (…)`.
    pub connector: Option<String>,
    /// Options.
    pub options: Vec<Given>,
    /// FORMAT … ENCODE ….
    pub format: Option<FormatClause>,
    /// The name's place.
    pub at: Location,
}

/// CREATE TABLE without a connector.
#[derive(Clone, Debug)]
pub struct CreateTable {
    /// Name.
    pub name: String,
    /// When it exists.
    pub existing: Existing,
    /// Columns.
    pub columns: Vec<ColumnDef>,
    /// PRIMARY KEY.
    pub primary_key: Vec<String>,
    /// Options.
    pub options: Vec<Given>,
    /// WATERMARK: refused, but by its name.
    pub watermark: Option<WatermarkClause>,
    /// The name's place.
    pub at: Location,
}

/// EMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitClause {
    /// `ON WINDOW CLOSE` and its aliases.
    OnWindowClose,
    /// `ON UPDATE`
    OnUpdate,
    /// `CHANGES`
    Changes,
}

/// What may follow a continuous query.
#[derive(Clone, Debug, Default)]
pub struct QueryTail {
    /// EMIT, with its place.
    pub emit: Option<(EmitClause, Location)>,
    /// ALLOW LATENESS, with its place.
    pub lateness: Option<(Box<Expr>, Location)>,
}

/// CREATE STREAM, CREATE MATERIALIZED VIEW.
#[derive(Clone, Debug)]
pub struct CreateQuery {
    /// Stream or view.
    pub kind: RelationKind,
    /// Name.
    pub name: String,
    /// When it exists.
    pub existing: Existing,
    /// Names for the columns; empty = those of the query.
    pub columns: Vec<String>,
    /// Options.
    pub options: Vec<Given>,
    /// The query.
    pub query: Box<Query>,
    /// EMIT and the like.
    pub tail: QueryTail,
    /// The name's place.
    pub at: Location,
}

/// What a sink writes.
#[derive(Clone, Debug)]
pub enum SinkInput {
    /// FROM v.
    Object(String),
    /// AS SELECT ….
    Query(Box<Query>, QueryTail),
}

/// CREATE SINK.
#[derive(Clone, Debug)]
pub struct CreateSink {
    /// Name.
    pub name: String,
    /// When it exists.
    pub existing: Existing,
    /// What it writes.
    pub input: SinkInput,
    /// The connector named by `INTO KAFKA (…)`.
    pub connector: Option<String>,
    /// Options.
    pub options: Vec<Given>,
    /// FORMAT … ENCODE ….
    pub format: Option<FormatClause>,
    /// The name's place.
    pub at: Location,
}

/// DROP.
#[derive(Clone, Debug)]
pub struct Drop {
    /// The kind named.
    pub kind: RelationKind,
    /// Names, with their places.
    pub names: Vec<(String, Location)>,
    /// IF EXISTS.
    pub if_exists: bool,
    /// CASCADE.
    pub cascade: bool,
}

/// ON CONFLICT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A duplicate key is an error.
    Error,
    /// DO NOTHING: the row that is there stays.
    Nothing,
    /// DO UPDATE SET every column = EXCLUDED: the new row replaces it.
    Replace,
}

/// INSERT.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The table, push source or sink.
    pub target: String,
    /// Columns; empty = all.
    pub columns: Vec<(String, Location)>,
    /// VALUES or SELECT.
    pub query: Box<Query>,
    /// EMIT and the like, where the target is a sink.
    pub tail: QueryTail,
    /// ON CONFLICT (columns).
    pub conflict_columns: Vec<String>,
    /// ON CONFLICT.
    pub conflict: Conflict,
    /// For `DO UPDATE SET`: the columns that are set to EXCLUDED's.
    pub updated: Vec<String>,
    /// The target's place.
    pub at: Location,
}

/// How COPY writes and reads rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFormat {
    /// CSV, else PostgreSQL's text format.
    pub csv: bool,
    /// A first line of column names.
    pub header: bool,
    /// Between fields.
    pub delimiter: char,
    /// What stands for NULL.
    pub null: String,
    /// CSV's quote.
    pub quote: char,
    /// CSV's escape within quotes.
    pub escape: char,
}

/// COPY … FROM STDIN.
#[derive(Clone, Debug)]
pub struct CopyIn {
    /// The table or push source.
    pub target: String,
    /// Columns; empty = all.
    pub columns: Vec<(String, Location)>,
    /// How rows are written.
    pub format: CopyFormat,
    /// The target's place.
    pub at: Location,
}

/// What is subscribed to.
#[derive(Clone, Debug)]
pub enum SubscribeTarget {
    /// An object.
    Object(String),
    /// `(SELECT columns FROM object [WHERE …])`.
    Query(Box<Query>),
}

/// SUBSCRIBE.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// To what.
    pub target: SubscribeTarget,
    /// AS OF EPOCH.
    pub as_of: Option<u64>,
    /// Options.
    pub options: Vec<Given>,
    /// The target's place.
    pub at: Location,
}

/// SHOW.
#[derive(Clone, Debug)]
pub enum Show {
    /// SHOW SOURCES, TABLES, ….
    Objects(RelationKind),
    /// SHOW PIPELINES: streams, views and sinks with their inputs.
    Pipelines,
    /// SHOW CHECKPOINTS.
    Checkpoints,
    /// SHOW CREATE x.
    Create(String, Location),
    /// SHOW PLAN COVERAGE [FOR x].
    PlanCoverage(Option<(String, Location)>),
    /// SHOW COLUMNS FROM x.
    Columns(String, Location),
    /// SHOW FUNCTIONS.
    Functions,
    /// SHOW CONNECTORS.
    Connectors,
    /// SHOW ALL.
    AllSettings,
    /// SHOW setting.
    Setting(String, Location),
}

/// EXPLAIN's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainFormat {
    /// Indented text.
    Text,
    /// FORMAT JSON.
    Json,
}

/// EXPLAIN.
#[derive(Clone, Debug)]
pub enum Explain {
    /// EXPLAIN statement.
    Statement(Box<Statement>, ExplainFormat),
    /// EXPLAIN object.
    Object(String, ExplainFormat, Location),
    /// EXPLAIN WATERMARK object.
    Watermark(String, Location),
}

/// ADVANCE WATERMARK.
#[derive(Clone, Debug)]
pub struct AdvanceWatermark {
    /// The push source.
    pub source: String,
    /// A timestamp constant.
    pub to: Box<Expr>,
    /// The source's place.
    pub at: Location,
}
