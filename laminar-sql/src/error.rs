//! What is wrong with a statement, in words and codes that a PostgreSQL client understands.
//!
//! Invariant: every error carries a SQLSTATE and a stable code; whatever can be pointed at in the
//! text carries its position; whatever the user can do stands in the hint.

use std::fmt;

use datafusion::common::{DataFusionError, SchemaError};

use crate::parse::Location;

/// The class of an error: a stable code and its SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The text does not follow the grammar.
    Syntax,
    /// A clause, statement or function that this build does not execute.
    Unsupported,
    /// A name that does not exist.
    UndefinedObject,
    /// A column that does not exist.
    UndefinedColumn,
    /// A function that does not exist for these arguments.
    UndefinedFunction,
    /// A name that exists already.
    Duplicate,
    /// A column name given twice, or one that could mean two columns.
    AmbiguousColumn,
    /// The object is of another kind than the statement needs.
    WrongObjectKind,
    /// Others depend on the object.
    Dependents,
    /// Types that do not fit.
    Datatype,
    /// A column that is neither grouped nor aggregated.
    Grouping,
    /// A wrong option or setting.
    InvalidOption,
    /// A constant out of the range of its type.
    OutOfRange,
    /// A division by zero.
    DivisionByZero,
    /// A text that does not read as its type.
    InvalidText,
    /// A NULL where none may be.
    NotNull,
    /// A text longer than VARCHAR(n).
    TooLong,
    /// An object definition that cannot hold.
    InvalidDefinition,
    /// Length, nesting or number of nodes above the limit.
    TooComplex,
    /// The time limit of the query has passed.
    TimedOut,
    /// The query was cancelled.
    Cancelled,
    /// A parameter is missing or of the wrong type.
    Parameter,
    /// A defect of ours.
    Internal,
}

impl Kind {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Syntax => "LDB-2001",
            Self::Unsupported => "LDB-2002",
            Self::UndefinedObject => "LDB-2003",
            Self::UndefinedColumn => "LDB-2004",
            Self::UndefinedFunction => "LDB-2005",
            Self::Duplicate => "LDB-2006",
            Self::AmbiguousColumn => "LDB-2007",
            Self::WrongObjectKind => "LDB-2008",
            Self::Dependents => "LDB-2009",
            Self::Datatype => "LDB-2010",
            Self::Grouping => "LDB-2011",
            Self::InvalidOption => "LDB-2012",
            Self::OutOfRange => "LDB-2013",
            Self::DivisionByZero => "LDB-2014",
            Self::InvalidText => "LDB-2015",
            Self::NotNull => "LDB-2016",
            Self::TooLong => "LDB-2017",
            Self::InvalidDefinition => "LDB-2018",
            Self::TooComplex => "LDB-2019",
            Self::TimedOut => "LDB-2020",
            Self::Cancelled => "LDB-2021",
            Self::Parameter => "LDB-2022",
            Self::Internal => "LDB-2099",
        }
    }

    /// The SQLSTATE.
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::Syntax => "42601",
            Self::Unsupported => "0A000",
            Self::UndefinedObject => "42P01",
            Self::UndefinedColumn => "42703",
            Self::UndefinedFunction => "42883",
            Self::Duplicate => "42P07",
            Self::AmbiguousColumn => "42702",
            Self::WrongObjectKind => "42809",
            Self::Dependents => "2BP01",
            Self::Datatype => "42804",
            Self::Grouping => "42803",
            Self::InvalidOption => "22023",
            Self::OutOfRange => "22003",
            Self::DivisionByZero => "22012",
            Self::InvalidText => "22P02",
            Self::NotNull => "23502",
            Self::TooLong => "22001",
            Self::InvalidDefinition => "42P17",
            Self::TooComplex => "54001",
            Self::TimedOut | Self::Cancelled => "57014",
            Self::Parameter => "42P02",
            Self::Internal => "XX000",
        }
    }
}

/// An error of parsing, planning or executing a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The class.
    pub kind: Kind,
    /// Stable code, `LDB-nnnn`.
    pub code: &'static str,
    /// SQLSTATE, five characters.
    pub sqlstate: &'static str,
    /// What is wrong, in lowercase.
    pub message: String,
    /// Where: number of characters before the place, plus one, in the text given to `parse`.
    pub position: Option<usize>,
    /// What to do.
    pub hint: Option<String>,
    /// More about it.
    pub detail: Option<String>,
    /// Line and column of the place, until it is turned into a position.
    pub(crate) location: Option<Location>,
}

impl SqlError {
    /// An error of a class.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: kind.code(),
            sqlstate: kind.sqlstate(),
            message: message.into(),
            position: None,
            hint: None,
            detail: None,
            location: None,
        }
    }

    /// Something that the parser accepts and nothing executes. Without a hint of its own it points to the reference.
    pub fn unsupported(what: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, format!("{what} is not supported yet"))
            .hint("docs/sql.md lists what there is")
            .hint(hint)
    }

    /// A defect of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// With what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !hint.is_empty() {
            self.hint = Some(hint);
        }
        self
    }

    /// With more about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With its place; the first place given stays.
    #[must_use]
    pub fn at(mut self, location: Location) -> Self {
        if self.location.is_none() && location.line > 0 {
            self.location = Some(location);
        }
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}

impl From<laminar_core::connector::ConnectorError> for SqlError {
    fn from(error: laminar_core::connector::ConnectorError) -> Self {
        let made = Self::new(Kind::InvalidOption, error.message);
        Self { code: error.code, ..made }
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        from_datafusion(&error)
    }
}

impl From<arrow::error::ArrowError> for SqlError {
    fn from(error: arrow::error::ArrowError) -> Self {
        from_arrow(&error)
    }
}

fn from_datafusion(error: &DataFusionError) -> SqlError {
    match error {
        DataFusionError::Context(_, inner) => from_datafusion(inner),
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Collection(all) => {
            all.first().map_or_else(|| SqlError::internal("an empty error"), from_datafusion)
        }
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let mut made = from_datafusion(inner);
            if let Some(span) = diagnostic.span {
                made = made.at(Location { line: span.start.line, column: span.start.column });
            }
            made
        }
        DataFusionError::SchemaError(schema, _) => from_schema(schema),
        DataFusionError::ArrowError(arrow, _) => from_arrow(arrow),
        DataFusionError::SQL(parser, _) => crate::parse::from_parser(parser),
        DataFusionError::NotImplemented(message) => {
            let message = lower_first(message);
            let what = [
                "is not supported yet",
                "is not supported",
                "are not supported",
                "not supported",
                "not implemented",
                "is not",
            ]
            .iter()
            .find_map(|end| message.trim_end_matches('.').strip_suffix(end))
            .unwrap_or(&message);
            SqlError::unsupported(what.trim(), "")
        }
        DataFusionError::External(other) => match other.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => SqlError::internal(other.to_string()),
        },
        DataFusionError::ResourcesExhausted(message) => {
            SqlError::new(Kind::TooComplex, lower_first(message)).hint("raise the memory limit of queries")
        }
        other => from_message(&other.strip_backtrace()),
    }
}

fn from_schema(error: &SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let mut made = SqlError::new(Kind::UndefinedColumn, format!("column {} does not exist", field.flat_name()));
            let mut names: Vec<&str> = Vec::new();
            for field in valid_fields.iter().filter(|field| field.name != "*") {
                if !names.contains(&field.name.as_str()) {
                    names.push(&field.name);
                }
            }
            if let Some(near) = crate::catalog::nearest(&field.name, names.iter().copied()) {
                made = made.hint(format!("did you mean \"{near}\"?"));
            } else if !names.is_empty() {
                made = made.hint(format!("columns here: {}", names.join(", ")));
            }
            made
        }
        SchemaError::AmbiguousReference { field } => {
            SqlError::new(Kind::AmbiguousColumn, format!("column reference {} is ambiguous", field.flat_name()))
                .hint("write the relation's name before it")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::new(Kind::AmbiguousColumn, format!("column \"{name}\" occurs more than once"))
                .hint("give one of them another name with AS")
        }
    }
}

fn from_arrow(error: &arrow::error::ArrowError) -> SqlError {
    use arrow::error::ArrowError;
    match error {
        ArrowError::DivideByZero => SqlError::new(Kind::DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(message) => SqlError::new(Kind::OutOfRange, lower_first(message)),
        ArrowError::CastError(message) | ArrowError::ParseError(message) => {
            SqlError::new(Kind::InvalidText, lower_first(message))
        }
        ArrowError::ExternalError(other) => match other.downcast_ref::<DataFusionError>() {
            Some(inner) => from_datafusion(inner),
            None => SqlError::internal(other.to_string()),
        },
        other => SqlError::internal(other.to_string()),
    }
}

/// Classes an error that the engine gives only as text.
fn from_message(text: &str) -> SqlError {
    let text = text
        .trim_start_matches("Error during planning: ")
        .trim_start_matches("Execution error: ")
        .trim_start_matches("type_coercion\ncaused by\n")
        .trim_start_matches("Error during planning: ");
    let low = text.to_ascii_lowercase();
    let kind = if low.contains("overflow") {
        Kind::OutOfRange
    } else if low.contains("divide by zero") {
        return SqlError::new(Kind::DivisionByZero, "division by zero");
    } else if low.contains("invalid function") {
        Kind::UndefinedFunction
    } else if low.contains("group by") || low.contains("must appear in the") {
        Kind::Grouping
    } else if low.contains("coerc") || low.contains("cast") || low.contains("type") || low.contains("signature") {
        Kind::Datatype
    } else if low.contains("table") && low.contains("not found") {
        Kind::UndefinedObject
    } else {
        Kind::InvalidDefinition
    };
    if let Some((_, from)) = text.split_once("column \"")
        && let Some((column, _)) = from.split_once("\" must appear in the GROUP BY")
    {
        let message = format!("column {column} must be in GROUP BY or inside an aggregate function");
        return SqlError::new(Kind::Grouping, message).hint("add it to GROUP BY, or use first_value or last_value");
    }
    if let Some((_, from)) = text.split_once("require unique expression names but the expression \"")
        && let Some((name, _)) = from.split_once('"')
    {
        return SqlError::new(Kind::AmbiguousColumn, format!("column {name} occurs more than once in the result"))
            .hint("give one of them another name with AS");
    }
    if let Some((_, from)) = text.split_once("No function matches the given name and argument types '")
        && let Some((call, rest)) = from.split_once('\'')
    {
        let forms: Vec<&str> = rest.lines().map(str::trim).filter(|line| line.ends_with(')')).collect();
        let made = SqlError::new(Kind::UndefinedFunction, format!("function {call} does not exist"))
            .hint("no function of this name takes these types; write casts");
        return if forms.is_empty() { made } else { made.detail(format!("there is {}", forms.join(", "))) };
    }
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let made = SqlError::new(kind, lower_first(first));
    if rest.trim().is_empty() { made } else { made.detail(rest.trim().to_owned()) }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
