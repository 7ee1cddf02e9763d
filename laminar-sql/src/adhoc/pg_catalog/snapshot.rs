//! What the catalog holds at one moment, in the words that system relations need.

use arrow::datatypes::DataType;

use crate::quoted_if_needed;

/// The catalog at one moment, seen by one session.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The session's user, who owns everything.
    pub user: String,
    /// What `version()` answers.
    pub version: String,
    /// What `pg_backend_pid()` answers.
    pub backend: i32,
    /// All objects.
    pub relations: Vec<Relation>,
    /// All settings of the session.
    pub settings: Vec<Setting>,
    /// Names of the functions, with `f`, `a` or `w` for scalar, aggregate and window functions.
    pub functions: Vec<(String, char)>,
}

/// An object with columns.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Number, unique among objects, kept for the object's life; below 2^28.
    pub oid: u32,
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Indexes of the key's columns; empty = no key.
    pub primary_key: Vec<usize>,
    /// Connector of a source or sink.
    pub connector: Option<String>,
    /// The query of a view or stream.
    pub definition: Option<String>,
    /// What `\d+` shows beside it.
    pub comment: Option<String>,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// `CREATE SOURCE`
    Source,
    /// `CREATE TABLE`
    Table,
    /// `CREATE STREAM`
    Stream,
    /// `CREATE MATERIALIZED VIEW`
    MaterializedView,
    /// `CREATE SINK`
    Sink,
}

/// A column of an object.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub data_type: DataType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// A setting of the session.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
    /// One sentence.
    pub description: String,
}

impl RelationKind {
    /// `pg_class.relkind`: tools know only PostgreSQL's kinds, so what is fed from or drained to
    /// another system is a foreign table and what keeps nothing is a view.
    pub fn relkind(self) -> char {
        match self {
            Self::Table => 'r',
            Self::Stream => 'v',
            Self::MaterializedView => 'm',
            Self::Source | Self::Sink => 'f',
        }
    }

    /// `information_schema.tables.table_type`.
    pub fn table_type(self) -> &'static str {
        match self {
            Self::Table => "BASE TABLE",
            Self::Stream | Self::MaterializedView => "VIEW",
            Self::Source | Self::Sink => "FOREIGN",
        }
    }

    /// The word of its CREATE statement.
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Stream => "stream",
            Self::MaterializedView => "materialized view",
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }
}

impl Relation {
    /// Number of the index that keeps the primary key.
    pub fn index_oid(&self) -> u32 {
        self.oid | 1 << 28
    }

    /// Number of the primary-key constraint.
    pub fn constraint_oid(&self) -> u32 {
        self.oid | 1 << 29
    }

    /// Name of the index and of the constraint.
    pub fn key_name(&self) -> String {
        format!("{}_pkey", self.name)
    }

    /// The key's columns as `(a, b)`.
    pub fn key_columns(&self) -> String {
        let names: Vec<String> =
            self.primary_key.iter().filter_map(|i| self.columns.get(*i)).map(|c| quoted_if_needed(&c.name)).collect();
        format!("({})", names.join(", "))
    }
}

impl Snapshot {
    /// The object with a number.
    pub fn relation(&self, oid: i64) -> Option<&Relation> {
        self.relations.iter().find(|r| i64::from(r.oid) == oid)
    }

    /// The object whose primary key an index or a constraint is.
    pub fn keyed(&self, oid: i64) -> Option<&Relation> {
        self.relations.iter().find(|r| i64::from(r.index_oid()) == oid || i64::from(r.constraint_oid()) == oid)
    }

    /// Objects with a primary key.
    pub fn with_key(&self) -> impl Iterator<Item = &Relation> {
        self.relations.iter().filter(|r| !r.primary_key.is_empty())
    }
}
