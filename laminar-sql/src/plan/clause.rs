//! Clauses and who executes them: the material of gate 3.
//!
//! Invariant: a clause met in a continuous query and claimed by no operator is an error, never silence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::SqlError;
use crate::parse::Location;

/// A clause that the parser accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ClauseId {
    /// FROM relation.
    From,
    /// The select list.
    Projection,
    /// WHERE.
    Where,
    /// GROUP BY.
    GroupBy,
    /// HAVING.
    Having,
    /// SELECT DISTINCT.
    Distinct,
    /// UNION ALL.
    UnionAll,
    /// UNION.
    Union,
    /// WITH … AS.
    Cte,
    /// A subquery in FROM.
    Subquery,
    /// TUMBLE or HOP.
    Window,
    /// An aggregate call.
    Aggregate,
    /// FILTER (WHERE …).
    AggregateFilter,
    /// ORDER BY inside an aggregate.
    AggregateOrder,
    /// EMIT.
    Emit,
    /// ALLOW LATENESS.
    Lateness,
    /// `retention` of a view.
    Retention,
    /// A column list after the name.
    ColumnNames,
    /// `memory_limit` and `memory_policy` of a query.
    Memory,
}

impl ClauseId {
    /// How the user writes it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::From => "FROM",
            Self::Projection => "SELECT",
            Self::Where => "WHERE",
            Self::GroupBy => "GROUP BY",
            Self::Having => "HAVING",
            Self::Distinct => "DISTINCT",
            Self::UnionAll => "UNION ALL",
            Self::Union => "UNION",
            Self::Cte => "WITH … AS",
            Self::Subquery => "subquery in FROM",
            Self::Window => "TUMBLE/HOP",
            Self::Aggregate => "aggregate",
            Self::AggregateFilter => "FILTER (WHERE …)",
            Self::AggregateOrder => "ORDER BY in an aggregate",
            Self::Emit => "EMIT",
            Self::Lateness => "ALLOW LATENESS",
            Self::Retention => "retention",
            Self::ColumnNames => "column names",
            Self::Memory => "memory_limit",
        }
    }
}

/// A clause and the operator that executes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The clause.
    pub clause: ClauseId,
    /// The operator, as EXPLAIN prints it.
    pub by: String,
}

/// The clauses that a query holds, with their first places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clauses {
    met: BTreeMap<ClauseId, Location>,
}

impl Clauses {
    pub fn meet(&mut self, clause: ClauseId, at: Location) {
        self.met.entry(clause).or_insert(at);
    }

    pub fn has(&self, clause: ClauseId) -> bool {
        self.met.contains_key(&clause)
    }

    /// Gate 3.
    pub fn covered_by(&self, claims: &[Claim]) -> Result<(), SqlError> {
        for (clause, at) in &self.met {
            if !claims.iter().any(|c| c.clause == *clause) {
                return Err(SqlError::unsupported(
                    format!("{} here", clause.words()),
                    "it was parsed, but nothing would execute it",
                )
                .at(*at));
            }
        }
        Ok(())
    }
}
