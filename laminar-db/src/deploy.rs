//! Deployment: objects come and go all together, or not at all.
//!
//! Invariant: what stands in a configuration is what runs: an object that is there with another definition ends the
//! start, but that another memory limit of a query is given to it as ALTER would, after the deployment.

use std::sync::Arc;

use laminar_core::engine::{Deployment, NewObject, state_difference};
use laminar_core::graph::{NodeSpec, ObjectSpec, PipelineSpec};
use laminar_core::ids::ObjectId;
use laminar_sql::catalog::{Catalog, CatalogEntry, CatalogRecord};
use laminar_sql::parse::{self, Statement, StatementKind};
use laminar_sql::plan::{Planned, Planner, SessionSettings};

use crate::database::{Deploying, Inner};
use crate::error::{DbError, Notice};

/// What a deployment changes, collected against a catalog that already shows it.
#[derive(Clone, Default)]
pub(crate) struct Change {
    pub add: Vec<CatalogEntry>,
    pub drop: Vec<ObjectId>,
    pub notices: Vec<String>,
}

impl Change {
    /// Takes up a planned CREATE or DROP; returns the catalog with it.
    ///
    /// # Errors
    /// The name is taken, or others need what goes away.
    pub fn take(&mut self, planned: Planned, mut catalog: Catalog) -> Result<Catalog, DbError> {
        match planned {
            Planned::Create { objects, replaces, notices } => {
                for id in replaces {
                    catalog = self.remove(id, &catalog)?;
                }
                for entry in objects {
                    catalog = catalog.add(entry.clone())?;
                    self.add.push(entry);
                }
                self.notices.extend(notices);
            }
            Planned::Drop { objects, notices, .. } => {
                for id in objects {
                    catalog = self.remove(id, &catalog)?;
                }
                self.notices.extend(notices);
            }
            Planned::Nothing { notices, .. } => self.notices.extend(notices),
            other => return Err(DbError::new("LDB-4030", "XX000", format!("internal: not a deployment: {other:?}"))),
        }
        Ok(catalog)
    }

    fn remove(&mut self, id: ObjectId, catalog: &Catalog) -> Result<Catalog, DbError> {
        let without = catalog.remove(id)?;
        let before = self.add.len();
        self.add.retain(|entry| entry.id() != id);
        if self.add.len() == before {
            self.drop.push(id);
        }
        Ok(without)
    }

    /// Makes it so: durable, attached at one barrier, then visible in the catalog; `catalog` is the present one with
    /// the change.
    ///
    /// # Errors
    /// The engine refuses; nothing has changed then.
    pub async fn apply(
        self,
        inner: &Arc<Inner>,
        deploying: Deploying,
        catalog: Catalog,
    ) -> Result<Vec<Notice>, DbError> {
        let mut notices: Vec<Notice> = self.notices.iter().map(Notice::new).collect();
        if self.add.is_empty() && self.drop.is_empty() {
            return Ok(notices);
        }
        let add = self.add.iter().map(new_object).collect::<Result<Vec<_>, DbError>>()?;
        let deployment = Deployment { add, drop: self.drop };
        let deployed = inner.change(deploying, catalog, |engine, reply| engine.deploy(deployment, reply)).await?;
        notices.extend(deployed.notices.iter().map(Notice::new));
        Ok(notices)
    }
}

fn new_object(entry: &CatalogEntry) -> Result<NewObject, DbError> {
    let record = CatalogRecord::from_entry(entry).to_json()?.into_bytes();
    Ok(NewObject { spec: entry.spec.clone(), record })
}

/// Deploys a script of CREATE statements; see [`crate::Database::deploy`].
pub(crate) async fn script(inner: &Arc<Inner>, script: &str) -> Result<Vec<Notice>, DbError> {
    let deploying = inner.deploying().await;
    let (catalog, script) = (inner.catalog(), script.to_owned());
    let PlannedScript { change, catalog, limits } =
        inner.plan(move |planner| plan_script(planner, &catalog, &script)).await?;
    let mut notices = change.apply(inner, deploying, catalog).await?;
    for entry in limits {
        notices.push(Notice::new(format!("\"{}\" has the memory limit of the configuration now", entry.name())));
        limit(inner, inner.deploying().await, entry).await?;
    }
    Ok(notices)
}

/// Gives a query that is there the memory limit of this entry, durably and while it runs.
///
/// # Errors
/// The engine refuses; nothing has changed then.
pub(crate) async fn limit(inner: &Arc<Inner>, deploying: Deploying, entry: CatalogEntry) -> Result<(), DbError> {
    let ObjectSpec::Pipeline(PipelineSpec { id, memory, .. }) = entry.spec else {
        return Err(DbError::new("LDB-4034", "XX000", "internal: only a query has a memory limit"));
    };
    let record = CatalogRecord::from_entry(&entry).to_json()?.into_bytes();
    let catalog = inner.catalog().add(entry)?;
    inner.change(deploying, catalog, move |engine, reply| engine.limit(id, memory, record, reply)).await
}

/// What a script asks for.
pub(crate) struct PlannedScript {
    change: Change,
    /// The catalog with the change.
    catalog: Catalog,
    /// Queries that are there, with their new memory limits.
    limits: Vec<CatalogEntry>,
}

/// Plans a script against a catalog.
///
/// # Errors
/// As [`crate::Database::deploy`].
pub(crate) fn plan_script(planner: &Planner, catalog: &Catalog, script: &str) -> Result<PlannedScript, DbError> {
    let (mut change, mut catalog, mut limits) = (Change::default(), catalog.clone(), Vec::new());
    for statement in parse::parse(script)? {
        let Some(name) = created_name(&statement) else {
            let message =
                format!("only CREATE statements can stand in a configuration, not: {}", first_line(&statement.text));
            return Err(DbError::new("LDB-4031", "42601", message));
        };
        match catalog.get(&name) {
            Some(there) if same_definition(&there.sql, &statement.text) => {}
            Some(there) => {
                let wanted = beside(planner, &catalog, &statement);
                match wanted.as_ref().and_then(|wanted| other_limit(there, wanted, &statement)) {
                    Some(entry) => limits.push(entry),
                    None => {
                        let shown = |sql: &str| laminar_sql::without_secrets(sql, planner.registry());
                        let state = wanted.and_then(|wanted| state_difference(&there.spec, &wanted.spec).ok()?);
                        return Err(differs(&name, (&shown(&there.sql), &shown(&statement.text)), state));
                    }
                }
            }
            None => {
                let planned = planner.plan(&statement, &catalog, &SessionSettings::default(), &[])?;
                catalog = change.take(planned, catalog)?;
            }
        }
    }
    Ok(PlannedScript { change, catalog, limits })
}

fn created_name(statement: &Statement) -> Option<String> {
    match &statement.kind {
        StatementKind::CreateSource(create) => Some(create.name.clone()),
        StatementKind::CreateTable(create) => Some(create.name.clone()),
        StatementKind::CreateQuery(create) => Some(create.name.clone()),
        StatementKind::CreateSink(create) => Some(create.name.clone()),
        _ => None,
    }
}

/// Whether two definitions are the same but for white space and letter case outside quotes.
fn same_definition(a: &str, b: &str) -> bool {
    normalised(a) == normalised(b)
}

fn normalised(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quote = None;
    for c in sql.trim().trim_end_matches(';').trim_end().chars() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                out.push(c);
            }
            (Some(open), c) => {
                if c == open {
                    quote = None;
                }
                out.push(c);
            }
            (None, c) if c.is_whitespace() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            (None, c) => out.extend(c.to_lowercase()),
        }
    }
    out
}

/// What a query or table that is there would be by its new definition; none = it keeps no state, or does not plan.
fn beside(planner: &Planner, catalog: &Catalog, wanted: &Statement) -> Option<CatalogEntry> {
    let mut beside = wanted.clone();
    match &mut beside.kind {
        // Beside the old one, since others may read it.
        StatementKind::CreateQuery(create) => create.name.push_str(" (as configured)"),
        StatementKind::CreateTable(create) => create.name.push_str(" (as configured)"),
        _ => return None,
    }
    match planner.plan(&beside, catalog, &SessionSettings::default(), &[]) {
        Ok(Planned::Create { mut objects, .. }) => objects.pop(),
        _ => None,
    }
}

/// The query that is there with the new memory limit, if nothing else differs.
fn other_limit(there: &CatalogEntry, wanted: &CatalogEntry, statement: &Statement) -> Option<CatalogEntry> {
    let (ObjectSpec::Pipeline(old), ObjectSpec::Pipeline(new)) = (&there.spec, &wanted.spec) else { return None };
    // The numbers of operators come of the object's.
    let alike = |(old, new): (&NodeSpec, &NodeSpec)| NodeSpec { id: old.id, ..new.clone() } == *old;
    let same = old.nodes.len() == new.nodes.len() && old.nodes.iter().zip(&new.nodes).all(alike);
    // Of two that differ in nothing that can be seen here it is not known what was meant.
    if !same || old.kind != new.kind || there.altered.is_none() && new.memory == old.memory {
        return None;
    }
    Some(CatalogEntry {
        spec: ObjectSpec::Pipeline(PipelineSpec { memory: new.memory, ..old.clone() }),
        sql: statement.text.clone(),
        coverage: wanted.coverage.clone(),
        altered: None,
        ..there.clone()
    })
}

fn differs(name: &str, (there, wanted): (&str, &str), state: Option<String>) -> DbError {
    let (there, wanted) = (normalised(there), normalised(wanted));
    let at = there.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
    let excerpt = |text: &str| text.chars().skip(at.saturating_sub(10)).take(60).collect::<String>();
    let message = format!("\"{name}\" exists in the data directory with another definition");
    let mut error = DbError::new("LDB-4032", "42P07", message).with_hint(
        "nothing was changed; give the new definition another name, or start with the old one and DROP it: the new one begins with empty state",
    );
    let state = state.map_or_else(String::new, |state| format!("; its state does not fit: {state}"));
    error.detail = Some(format!("stored: … {} …; configured: … {} …{state}", excerpt(&there), excerpt(&wanted)));
    error
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_case_do_not_make_a_definition_another() {
        assert!(same_definition("CREATE  SOURCE s (a INT) ;", "create source s\n(a int)"));
        assert!(!same_definition("CREATE SOURCE s WITH (a = 'X')", "CREATE SOURCE s WITH (a = 'x')"));
    }

    #[test]
    fn a_changed_definition_names_the_difference() {
        let error = differs("s", ("CREATE SOURCE s (a INT)", "CREATE SOURCE s (a BIGINT)"), Some("other keys".into()));
        let detail = error.detail.as_deref().unwrap_or_default();
        assert!(["int)", "bigint)", "other keys"].iter().all(|words| detail.contains(words)), "{error:?}");
    }
}
