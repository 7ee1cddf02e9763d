//! Deployment: objects come and go all together, or not at all.

use laminar_core::engine::{Deployment, NewObject};
use laminar_core::ids::ObjectId;
use laminar_sql::catalog::{Catalog, CatalogEntry, CatalogRecord};
use laminar_sql::parse::{self, Statement, StatementKind};
use laminar_sql::plan::{Planned, Planner, SessionSettings};

use crate::ask::ask;
use crate::database::Inner;
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

    /// Makes it so: durable, attached at one barrier, then visible in the catalog. The caller holds the
    /// deployment lock and `catalog` is the present one with the change.
    ///
    /// # Errors
    /// The engine refuses; nothing has changed then.
    pub async fn apply(self, inner: &Inner, catalog: Catalog) -> Result<Vec<Notice>, DbError> {
        let mut notices: Vec<Notice> = self.notices.iter().map(Notice::new).collect();
        if self.add.is_empty() && self.drop.is_empty() {
            return Ok(notices);
        }
        let add = self.add.iter().map(new_object).collect::<Result<Vec<_>, DbError>>()?;
        let deployment = Deployment { add, drop: self.drop };
        let deployed = ask(|reply| inner.engine.deploy(deployment, reply)).await?;
        inner.set_catalog(catalog);
        notices.extend(deployed.notices.iter().map(Notice::new));
        Ok(notices)
    }
}

fn new_object(entry: &CatalogEntry) -> Result<NewObject, DbError> {
    let record = CatalogRecord::from_entry(entry).to_json()?.into_bytes();
    Ok(NewObject { spec: entry.spec.clone(), record })
}

/// Deploys a script of CREATE statements; see [`crate::Database::deploy`].
pub(crate) async fn script(inner: &Inner, script: &str) -> Result<Vec<Notice>, DbError> {
    let _deploying = inner.deploying.lock().await;
    let (catalog, script) = (inner.catalog(), script.to_owned());
    let (change, catalog) = inner.plan(move |planner| plan_script(planner, &catalog, &script)).await?;
    change.apply(inner, catalog).await
}

/// Plans a script against a catalog.
///
/// # Errors
/// As [`crate::Database::deploy`].
pub(crate) fn plan_script(planner: &Planner, catalog: &Catalog, script: &str) -> Result<(Change, Catalog), DbError> {
    let mut change = Change::default();
    let mut catalog = catalog.clone();
    for statement in parse::parse(script)? {
        let Some(name) = created_name(&statement) else {
            let message =
                format!("only CREATE statements can stand in a configuration, not: {}", first_line(&statement.text));
            return Err(DbError::new("LDB-4031", "42601", message));
        };
        match catalog.get(&name) {
            Some(there) if same_definition(&there.sql, &statement.text) => {}
            Some(there) => {
                let shown = |sql: &str| laminar_sql::without_secrets(sql, planner.registry());
                let state = state_difference(planner, &catalog, there, &statement);
                return Err(differs(&name, (&shown(&there.sql), &shown(&statement.text)), state));
            }
            None => {
                let planned = planner.plan(&statement, &catalog, &SessionSettings::default(), &[])?;
                catalog = change.take(planned, catalog)?;
            }
        }
    }
    Ok((change, catalog))
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

/// What of the state that is kept the new definition could not go on from; none = it has none, or does not plan.
fn state_difference(planner: &Planner, catalog: &Catalog, there: &CatalogEntry, wanted: &Statement) -> Option<String> {
    let mut beside = wanted.clone();
    match &mut beside.kind {
        // Beside the old one, since others may read it.
        StatementKind::CreateQuery(create) => create.name.push_str(" (as configured)"),
        StatementKind::CreateTable(create) => create.name.push_str(" (as configured)"),
        _ => return None,
    }
    let Ok(Planned::Create { objects, .. }) = planner.plan(&beside, catalog, &SessionSettings::default(), &[]) else {
        return None;
    };
    laminar_core::engine::state_difference(&there.spec, &objects.last()?.spec).ok()?
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
