//! Scalar expressions as plain data, and the port that turns them into something that runs.
//!
//! A [`ScalarExpr`] is typed, printable and serialisable; it is made once by the planner from
//! coerced SQL and stored in the catalog. Invariant: after it nothing needs SQL text; evaluation is
//! deterministic (stable and volatile functions never get here).

use std::fmt;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::data::schema_serde::data_type;

/// A constant. Floats are kept by their bits, so that expressions are `Eq` and `Hash`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Literal {
    /// NULL of the literal's type.
    Null,
    /// BOOLEAN.
    Bool(bool),
    /// Any integer, date, time, timestamp or duration type, in its unit; and decimals, unscaled.
    Int(i128),
    /// REAL and DOUBLE PRECISION: the bits of the f64.
    Float(u64),
    /// Text types.
    Text(String),
    /// BYTEA.
    Bytes(Vec<u8>),
    /// INTERVAL: months, days, nanoseconds.
    Interval(i32, i32, i64),
}

/// Operators with two operands; both sides have been coerced to fitting types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BinaryOp {
    /// `+`, overflow is an error.
    Add,
    /// `-`, overflow is an error.
    Subtract,
    /// `*`, overflow is an error.
    Multiply,
    /// `/`, division by zero is an error.
    Divide,
    /// `%`
    Modulo,
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
    /// `AND`, three-valued.
    And,
    /// `OR`, three-valued.
    Or,
    /// `IS DISTINCT FROM`
    IsDistinctFrom,
    /// `IS NOT DISTINCT FROM`
    IsNotDistinctFrom,
    /// `||` on text.
    Concat,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `#`
    BitXor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `~`
    RegexMatch,
    /// `~*`
    RegexIMatch,
    /// `!~`
    RegexNotMatch,
    /// `!~*`
    RegexNotIMatch,
}

/// A test of one operand that never returns NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Test {
    /// `IS NULL`
    Null,
    /// `IS NOT NULL`
    NotNull,
    /// `IS TRUE`
    True,
    /// `IS NOT TRUE`
    NotTrue,
    /// `IS FALSE`
    False,
    /// `IS NOT FALSE`
    NotFalse,
    /// `IS UNKNOWN`
    Unknown,
    /// `IS NOT UNKNOWN`
    NotUnknown,
}

/// What a failing cast does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CastFailure {
    /// `CAST`: the row is an error.
    Error,
    /// `TRY_CAST`: NULL.
    Null,
}

/// Case sensitivity of LIKE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LetterCase {
    /// `LIKE`
    Sensitive,
    /// `ILIKE`
    Insensitive,
}

/// A typed scalar expression over the columns of one input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScalarExpr {
    /// An input column by index.
    Column {
        /// Index in the input schema.
        index: usize,
        /// Its name, for display only.
        name: String,
        /// Its type.
        #[serde(with = "data_type")]
        data_type: DataType,
    },
    /// A constant of a type.
    Literal {
        /// The value.
        value: Literal,
        /// Its type.
        #[serde(with = "data_type")]
        data_type: DataType,
    },
    /// Two operands.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<ScalarExpr>,
        /// Right operand.
        right: Box<ScalarExpr>,
    },
    /// `NOT`, three-valued.
    Not(Box<ScalarExpr>),
    /// Unary minus.
    Negate(Box<ScalarExpr>),
    /// `IS [NOT] NULL | TRUE | FALSE | UNKNOWN`.
    Is {
        /// Which test.
        test: Test,
        /// The operand.
        operand: Box<ScalarExpr>,
    },
    /// `CAST` or `TRY_CAST`.
    Cast {
        /// What to cast.
        operand: Box<ScalarExpr>,
        /// To what.
        #[serde(with = "data_type")]
        to: DataType,
        /// On failure.
        failure: CastFailure,
    },
    /// `CASE [base] WHEN … THEN … ELSE … END`.
    Case {
        /// `CASE x`, if given.
        base: Option<Box<ScalarExpr>>,
        /// WHEN, THEN.
        branches: Vec<(ScalarExpr, ScalarExpr)>,
        /// ELSE.
        otherwise: Option<Box<ScalarExpr>>,
    },
    /// `x IN (…)`; wrap in `Not` for NOT IN.
    InList {
        /// The operand.
        operand: Box<ScalarExpr>,
        /// The members.
        list: Vec<ScalarExpr>,
    },
    /// `x LIKE pattern [ESCAPE c]`; wrap in `Not` for NOT LIKE.
    Like {
        /// The operand.
        operand: Box<ScalarExpr>,
        /// The pattern.
        pattern: Box<ScalarExpr>,
        /// The escape character.
        escape: Option<char>,
        /// LIKE or ILIKE.
        case: LetterCase,
    },
    /// An immutable function, named by (name, argument types, return type, version).
    Call {
        /// Name in the function registry.
        function: String,
        /// Version of its meaning; a restart refuses a version it does not know.
        version: u16,
        /// Arguments.
        args: Vec<ScalarExpr>,
        /// Return type.
        #[serde(with = "data_type")]
        returns: DataType,
    },
}

impl ScalarExpr {
    /// A column reference.
    pub fn column(index: usize, name: impl Into<String>, data_type: DataType) -> Self {
        Self::Column { index, name: name.into(), data_type }
    }

    /// A BIGINT constant.
    pub fn int64(value: i64) -> Self {
        Self::Literal { value: Literal::Int(value.into()), data_type: DataType::Int64 }
    }
}

/// The canonical text: for EXPLAIN, logs and plan diffs; never parsed.
impl fmt::Display for ScalarExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column { name, .. } => f.write_str(name),
            Self::Literal { value, data_type } => write_literal(f, value, data_type),
            Self::Binary { op, left, right } => write!(f, "({left} {} {right})", op.symbol()),
            Self::Not(operand) => write!(f, "NOT ({operand})"),
            Self::Negate(operand) => write!(f, "-({operand})"),
            Self::Is { test, operand } => write!(f, "({operand}) IS {}", test.words()),
            Self::Cast { operand, to, failure } => {
                let word = if *failure == CastFailure::Error { "CAST" } else { "TRY_CAST" };
                write!(f, "{word}({operand} AS {to})")
            }
            Self::Case { base, branches, otherwise } => {
                f.write_str("CASE")?;
                if let Some(base) = base {
                    write!(f, " {base}")?;
                }
                for (when, then) in branches {
                    write!(f, " WHEN {when} THEN {then}")?;
                }
                if let Some(otherwise) = otherwise {
                    write!(f, " ELSE {otherwise}")?;
                }
                f.write_str(" END")
            }
            Self::InList { operand, list } => {
                write!(f, "{operand} IN (")?;
                write_list(f, list)?;
                f.write_str(")")
            }
            Self::Like { operand, pattern, escape, case } => {
                let word = if *case == LetterCase::Sensitive { "LIKE" } else { "ILIKE" };
                write!(f, "({operand} {word} {pattern}")?;
                if let Some(escape) = escape {
                    write!(f, " ESCAPE '{escape}'")?;
                }
                f.write_str(")")
            }
            Self::Call { function, args, .. } => {
                write!(f, "{function}(")?;
                write_list(f, args)?;
                f.write_str(")")
            }
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, list: &[ScalarExpr]) -> fmt::Result {
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

fn write_literal(f: &mut fmt::Formatter<'_>, value: &Literal, data_type: &DataType) -> fmt::Result {
    match value {
        Literal::Null => f.write_str("NULL"),
        Literal::Bool(b) => write!(f, "{b}"),
        Literal::Int(i) if data_type.is_integer() => write!(f, "{i}"),
        Literal::Int(i) => write!(f, "{data_type}({i})"),
        Literal::Float(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
        Literal::Text(s) => write!(f, "'{}'", s.replace('\'', "''")),
        Literal::Bytes(b) => write!(f, "'\\x{}'", b.iter().map(|x| format!("{x:02x}")).collect::<String>()),
        Literal::Interval(months, days, nanos) => write!(f, "INTERVAL({months} mon {days} d {nanos} ns)"),
    }
}

impl BinaryOp {
    /// The SQL spelling.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Eq => "=",
            Self::NotEq => "<>",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
            Self::And => "AND",
            Self::Or => "OR",
            Self::IsDistinctFrom => "IS DISTINCT FROM",
            Self::IsNotDistinctFrom => "IS NOT DISTINCT FROM",
            Self::Concat => "||",
            Self::BitAnd => "&",
            Self::BitOr => "|",
            Self::BitXor => "#",
            Self::ShiftLeft => "<<",
            Self::ShiftRight => ">>",
            Self::RegexMatch => "~",
            Self::RegexIMatch => "~*",
            Self::RegexNotMatch => "!~",
            Self::RegexNotIMatch => "!~*",
        }
    }
}

impl Test {
    /// The words after IS.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::NotNull => "NOT NULL",
            Self::True => "TRUE",
            Self::NotTrue => "NOT TRUE",
            Self::False => "FALSE",
            Self::NotFalse => "NOT FALSE",
            Self::Unknown => "UNKNOWN",
            Self::NotUnknown => "NOT UNKNOWN",
        }
    }
}

/// Why an expression could not be evaluated over a batch. The caller finds the row by halving.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// SQLSTATE, five characters (`22012` division by zero, `22003` out of range, …).
    pub sqlstate: &'static str,
    /// What is wrong, in lowercase, with the value where known.
    pub message: String,
}

/// A compiled expression. Lives on one reactor.
pub trait Evaluate: Send {
    /// Evaluates over all rows of a batch; the result has one entry a row.
    ///
    /// # Errors
    /// When any row fails; the batch as a whole then has no result.
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, EvalError>;
}

/// Why an expression could not be compiled: a function or version that this build does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// What is missing and what to do.
    pub message: String,
}

/// Turns expressions into something that runs; implemented by the planner's crate.
pub trait ExprCompiler: Send + Sync {
    /// Compiles one expression for inputs of a schema.
    ///
    /// # Errors
    /// A function, version or type that this build does not have.
    fn compile(&self, expr: &ScalarExpr, input: &SchemaRef) -> Result<Box<dyn Evaluate>, CompileError>;
}
