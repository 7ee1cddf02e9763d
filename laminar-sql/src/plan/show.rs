//! SHOW and EXPLAIN: answers from the catalog alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use laminar_core::graph::ObjectSpec;
use laminar_core::ids::ObjectId;

use super::describe::columns_of;
use super::{Context, Planned};
use crate::catalog::{CatalogEntry, kind_of};
use crate::error::{Kind, SqlError};
use crate::explain;
use crate::parse::{Explain, ExplainFormat, RelationKind, Show, Statement, StatementKind};
use crate::without_secrets;

impl Context<'_> {
    pub(super) fn show(&self, show: &Show) -> Result<Planned, SqlError> {
        let rows = match show {
            Show::Objects(kind) => return Ok(Planned::Objects(self.objects(*kind)?)),
            Show::Pipelines => return Ok(Planned::Pipelines(self.pipelines()?)),
            Show::Checkpoints => return Ok(Planned::Checkpoints),
            Show::Create(name, at) => {
                let entry = self.catalog.require(name).map_err(|e| e.at(*at))?;
                let sql = without_secrets(&entry.definition(), self.registry);
                table(&["name", "sql"], vec![vec![entry.name().to_owned(), sql]])?
            }
            Show::PlanCoverage(of) => {
                let entries: Vec<_> = match of {
                    Some((name, at)) => vec![self.catalog.require(name).map_err(|e| e.at(*at))?.clone()],
                    None => self.catalog.iter().cloned().collect(),
                };
                let line = |e: &Arc<CatalogEntry>| {
                    let name = e.name().to_owned();
                    let row = move |c: &super::Claim| vec![name.clone(), c.clause.words().to_owned(), c.by.clone()];
                    e.coverage.iter().map(row).collect::<Vec<_>>()
                };
                table(&["object", "clause", "executed_by"], entries.iter().flat_map(line).collect())?
            }
            Show::Columns(name, at) => columns_of(self.catalog.require(name).map_err(|e| e.at(*at))?)?,
            Show::Functions => {
                let names = crate::expression::immutable_functions().map(|(name, _)| vec![name.to_owned()]);
                table(&["function"], names.collect())?
            }
            Show::Connectors => self.connectors()?,
            Show::AllSettings => {
                let rows = self.settings.all().into_iter().map(|(n, v, d)| vec![n, v, d]);
                table(&["name", "setting", "description"], rows.collect())?
            }
            Show::Setting(name, at) => match self.settings.get(name) {
                Some(value) => table(&[name], vec![vec![value]])?,
                None => {
                    let message = format!("unrecognized configuration parameter \"{name}\"");
                    return Err(SqlError::new(Kind::InvalidOption, message)
                        .hint("SHOW ALL lists the settings")
                        .at(*at));
                }
            },
        };
        Ok(Planned::Rows(rows))
    }

    fn objects(&self, kind: RelationKind) -> Result<RecordBatch, SqlError> {
        let mine = self.catalog.iter().filter(|e| kind_of(&e.spec) == kind && e.belongs_to.is_none());
        let rows = mine.map(|e| vec![e.name().to_owned(), connector(e)]).collect();
        table(&["name", "connector"], rows)
    }

    fn pipelines(&self) -> Result<RecordBatch, SqlError> {
        let rows = self.catalog.iter().filter(|e| matches!(e.spec, ObjectSpec::Pipeline(_) | ObjectSpec::Sink(_)));
        let rows = rows.map(|e| {
            let reads: Vec<&str> =
                e.depends_on.iter().filter_map(|id| self.catalog.by_id(*id)).map(|e| e.name()).collect();
            vec![e.name().to_owned(), kind_of(&e.spec).words().to_owned(), reads.join(", ")]
        });
        table(&["name", "kind", "reads"], rows.collect())
    }

    fn connectors(&self) -> Result<RecordBatch, SqlError> {
        let mut rows = Vec::new();
        for (name, factory) in &self.registry.sources {
            rows.extend(factory.options().iter().map(|o| option_row(name, "source", o)));
        }
        for (name, factory) in &self.registry.sinks {
            rows.extend(factory.options().iter().map(|o| option_row(name, "sink", o)));
        }
        table(&["connector", "kind", "option", "default", "description"], rows)
    }

    pub(super) fn explain(&self, explain: &Explain) -> Result<Planned, SqlError> {
        match explain {
            Explain::Watermark(name, at) => {
                let entry = self.catalog.require(name).map_err(|e| e.at(*at))?;
                let (sources, pipelines) = self.upstream(entry);
                Ok(Planned::ExplainWatermark { sources, pipelines })
            }
            Explain::Object(name, format, at) => {
                let entry = self.catalog.require(name).map_err(|e| e.at(*at))?;
                explained(&explain::object(entry, self.catalog, self.registry, *format)?)
            }
            Explain::Statement(statement, format) => explained(&self.explain_statement(statement, *format)?),
        }
    }

    fn explain_statement(&self, statement: &Statement, format: ExplainFormat) -> Result<String, SqlError> {
        match &statement.kind {
            StatementKind::Query { query, .. } => Ok(self.bound(query)?.explain()),
            kind => match self.plan(kind)? {
                Planned::Create { objects, .. } => {
                    let mut catalog = self.catalog.clone();
                    let mut text = String::new();
                    for entry in objects {
                        catalog = catalog.add(entry.clone())?;
                        text.push_str(&explain::object(&entry, &catalog, self.registry, format)?);
                    }
                    Ok(text)
                }
                Planned::Nothing { notices, .. } => Ok(notices.join("\n")),
                _ => Err(SqlError::unsupported("EXPLAIN of this statement", "EXPLAIN explains SELECT and CREATE")),
            },
        }
    }

    /// The sources and the pipelines an object reads, directly or not; itself first.
    fn upstream(&self, entry: &Arc<CatalogEntry>) -> (Vec<ObjectId>, Vec<ObjectId>) {
        let (mut sources, mut pipelines, mut next) = (Vec::new(), Vec::new(), vec![entry.clone()]);
        while let Some(entry) = next.pop() {
            let into = match entry.spec {
                ObjectSpec::Source(_) | ObjectSpec::Table(_) => &mut sources,
                ObjectSpec::Pipeline(_) => &mut pipelines,
                ObjectSpec::Sink(_) => {
                    next.extend(entry.depends_on.iter().filter_map(|id| self.catalog.by_id(*id)).cloned());
                    continue;
                }
            };
            if !into.contains(&entry.id()) {
                into.push(entry.id());
                next.extend(entry.depends_on.iter().filter_map(|id| self.catalog.by_id(*id)).cloned());
            }
        }
        (sources, pipelines)
    }
}

fn explained(text: &str) -> Result<Planned, SqlError> {
    let lines = text.lines().map(|l| vec![l.to_owned()]).collect();
    Ok(Planned::Rows(table(&["plan"], lines)?))
}

fn connector(entry: &CatalogEntry) -> String {
    match &entry.spec {
        ObjectSpec::Source(source) => source.connector.clone().unwrap_or_else(|| "push".to_owned()),
        ObjectSpec::Sink(sink) => sink.connector.clone(),
        ObjectSpec::Table(_) | ObjectSpec::Pipeline(_) => String::new(),
    }
}

fn option_row(connector: &str, kind: &str, option: &laminar_core::connector::options::OptionSpec) -> Vec<String> {
    let default = if option.secret { "" } else { option.default.unwrap_or("") };
    vec![connector.to_owned(), kind.to_owned(), option.name.to_owned(), default.to_owned(), option.doc.to_owned()]
}

fn table(names: &[&str], rows: Vec<Vec<String>>) -> Result<RecordBatch, SqlError> {
    let fields: Vec<Field> = names.iter().map(|n| Field::new(*n, DataType::Utf8, false)).collect();
    let column = |i: usize| -> ArrayRef { Arc::new(rows.iter().map(|r| Some(r[i].as_str())).collect::<StringArray>()) };
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), (0..names.len()).map(column).collect())?)
}
