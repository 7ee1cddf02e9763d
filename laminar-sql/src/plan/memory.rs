//! Memory limits of queries: the options of CREATE STREAM and CREATE MATERIALIZED VIEW, and ALTER … SET.

use laminar_core::connector::options::parse_bytes;
use laminar_core::graph::{MemoryPolicy, MemorySpec, ObjectSpec};

use super::query::QUERY_OPTIONS;
use super::source::unknown_name;
use super::{Context, Planned};
use crate::catalog::{kind_of, nearest};
use crate::error::{Kind, SqlError};
use crate::parse::{AlterQuery, Given};
use laminar_core::quote::quoted;

/// Least and greatest limit. Less would not hold the empty tables of a query, more no machine has.
const LIMITS: (u64, u64) = (1 << 20, 1 << 46);

/// Takes one of the options of a memory limit; `false` = it is another option.
pub(super) fn take(memory: &mut MemorySpec, given: &Given) -> Result<bool, SqlError> {
    match given.key.as_str() {
        "memory_limit" => memory.limit = Some(limit(&given.value).map_err(|e| e.at(given.at))?),
        "memory_policy" => memory.policy = policy(&given.value).map_err(|e| e.at(given.at))?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Refuses an option that a query does not have.
pub(super) fn no_option(given: &Given, known: &[&str]) -> SqlError {
    let error = SqlError::new(Kind::InvalidOption, format!("a query has no option \"{}\"", given.key)).at(given.at);
    match nearest(&given.key, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean \"{near}\"?")),
        None => error.hint(format!("its options are: {}", known.join(", "))),
    }
}

/// Refuses an option that is given twice.
pub(super) fn once(options: &[Given]) -> Result<(), SqlError> {
    let twice = options.iter().enumerate().find(|(i, given)| options[..*i].iter().any(|other| other.key == given.key));
    twice.map_or(Ok(()), |(_, given)| {
        Err(SqlError::new(Kind::InvalidOption, format!("option \"{}\" is given twice", given.key)).at(given.at))
    })
}

fn limit(text: &str) -> Result<u64, SqlError> {
    let wrong = |what: String| {
        SqlError::new(Kind::InvalidOption, what).hint("write memory_limit = '256 MiB': at least 1 MiB, at most 64 TiB")
    };
    let bytes = parse_bytes(text).ok_or_else(|| wrong(format!("'{text}' is not a size")))?;
    if !(LIMITS.0..=LIMITS.1).contains(&bytes) {
        return Err(wrong(format!("memory_limit = '{text}' is outside what can be kept")));
    }
    Ok(bytes)
}

fn policy(text: &str) -> Result<MemoryPolicy, SqlError> {
    let found = MemoryPolicy::ALL.into_iter().find(|policy| policy.words() == text);
    found.ok_or_else(|| unknown_name("memory policy", text, MemoryPolicy::ALL.into_iter().map(MemoryPolicy::words)))
}

/// A limit and its policy as options.
pub(crate) fn options_text(memory: MemorySpec) -> String {
    let limit = memory.limit.map_or_else(String::new, |bytes| format!("memory_limit = '{bytes} B', "));
    format!("{limit}memory_policy = '{}'", memory.policy.words())
}

impl Context<'_> {
    pub(super) fn alter_query(&self, alter: &AlterQuery) -> Result<Planned, SqlError> {
        let AlterQuery { kind, name, options, at } = alter;
        let entry = self.catalog.require(name).map_err(|e| e.at(*at))?;
        let ObjectSpec::Pipeline(pipeline) = &entry.spec else {
            let message =
                format!("\"{name}\" is a {}, it has no memory limit of its own", kind_of(&entry.spec).words());
            return Err(SqlError::new(Kind::WrongObjectKind, message)
                .hint("state.memory_limit in the configuration counts for tables")
                .at(*at));
        };
        if kind_of(&entry.spec) != *kind {
            let (is, said) = (kind_of(&entry.spec).words(), kind.words());
            return Err(SqlError::new(Kind::WrongObjectKind, format!("\"{name}\" is a {is}, not a {said}")).at(*at));
        }
        once(options)?;
        let mut memory = pipeline.memory;
        for given in options {
            if !take(&mut memory, given)? {
                if QUERY_OPTIONS.contains(&given.key.as_str()) {
                    return Err(SqlError::unsupported(format!("ALTER … SET ({})", given.key), "CREATE OR REPLACE it")
                        .at(given.at));
                }
                return Err(no_option(given, &["memory_limit", "memory_policy"]));
            }
        }
        let words = kind.words().to_uppercase();
        let sql = format!("ALTER {words} {} SET ({})", quoted(name), options_text(memory));
        Ok(Planned::AlterQuery { object: entry.id(), memory, sql })
    }
}
