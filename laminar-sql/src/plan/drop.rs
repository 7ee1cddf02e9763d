//! DROP, PAUSE, RESUME, ADVANCE WATERMARK.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use laminar_core::data::EventTime;
use laminar_core::graph::ObjectSpec;
use laminar_core::ids::ObjectId;

use super::{Context, Planned, constant};
use crate::catalog::{dependents, kind_of};
use crate::error::{Kind, SqlError};
use crate::parse::{AdvanceWatermark, Drop, RelationKind};

const fn tag(kind: RelationKind) -> &'static str {
    match kind {
        RelationKind::Source => "DROP SOURCE",
        RelationKind::Table => "DROP TABLE",
        RelationKind::Stream => "DROP STREAM",
        RelationKind::View => "DROP MATERIALIZED VIEW",
        RelationKind::Sink => "DROP SINK",
    }
}

impl Context<'_> {
    pub(super) fn drop_objects(&self, drop: &Drop) -> Result<Planned, SqlError> {
        let Drop { kind, names, if_exists, cascade } = drop;
        let mut objects: Vec<ObjectId> = Vec::new();
        let mut notices = Vec::new();
        for (name, at) in names {
            match self.drop_one(drop, name) {
                Ok(ids) => objects.extend(ids),
                Err(error) if *if_exists && error.kind == Kind::UndefinedObject => {
                    notices.push(format!("{} \"{name}\" does not exist, skipping", kind.words()));
                }
                Err(error) => return Err(error.at(*at)),
            }
        }
        let owned: Vec<ObjectId> = self
            .catalog
            .iter()
            .filter(|e| e.belongs_to.is_some_and(|s| objects.contains(&s)))
            .map(|e| e.id())
            .collect();
        objects.extend(owned);
        objects.sort_unstable();
        objects.dedup();
        let objects = self.users_first(objects);
        if *cascade {
            let named = |entry: &str| names.iter().any(|(n, _)| n == entry);
            for entry in objects.iter().filter_map(|id| self.catalog.by_id(*id)).filter(|e| !named(e.name())) {
                notices.push(format!("drop cascades to {} {}", kind_of(&entry.spec).words(), entry.name()));
            }
        }
        if objects.is_empty() {
            return Ok(Planned::Nothing { tag: tag(*kind), notices });
        }
        Ok(Planned::Drop { tag: tag(*kind), objects, notices })
    }

    fn drop_one(&self, drop: &Drop, name: &str) -> Result<Vec<ObjectId>, SqlError> {
        let entry = self.catalog.require(name)?;
        let found = kind_of(&entry.spec);
        // A peer's CREATE TABLE … WITH (connector = …) is a source here.
        let alias = drop.kind == RelationKind::Table && found == RelationKind::Source;
        if found != drop.kind && !alias {
            let message = format!("\"{name}\" is a {}, not a {}", found.words(), drop.kind.words());
            return Err(SqlError::new(Kind::WrongObjectKind, message).hint(format!("use {} {name}", tag(found))));
        }
        if let Some(owner) = entry.belongs_to.and_then(|id| self.catalog.by_id(id)) {
            return Err(SqlError::new(Kind::Dependents, format!("\"{name}\" belongs to sink \"{}\"", owner.name()))
                .hint(format!("DROP SINK {} drops both", owner.name())));
        }
        if !drop.cascade {
            let named = |user: &str| drop.names.iter().any(|(n, _)| n == user);
            let users: Vec<_> = self.catalog.users(entry.id()).into_iter().filter(|u| !named(u.name())).collect();
            if !users.is_empty() {
                return Err(dependents(name, &users));
            }
        }
        Ok(self.catalog.closure(entry.id()))
    }

    /// Orders objects so that each comes before what it depends on.
    fn users_first(&self, mut left: Vec<ObjectId>) -> Vec<ObjectId> {
        let mut ordered = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let needed = |id: &ObjectId| {
                left.iter().any(|other| self.catalog.by_id(*other).is_some_and(|e| e.depends_on.contains(id)))
            };
            let free = left.iter().position(|id| !needed(id)).unwrap_or(0);
            ordered.push(left.remove(free));
        }
        ordered
    }

    /// A stream, view or sink by name.
    pub(super) fn pipeline(&self, name: &str) -> Result<ObjectId, SqlError> {
        let entry = self.catalog.require(name)?;
        match entry.spec {
            ObjectSpec::Pipeline(_) => Ok(entry.id()),
            ObjectSpec::Sink(_) | ObjectSpec::Source(_) | ObjectSpec::Table(_) => {
                let message =
                    format!("\"{name}\" is a {}, which reads nothing by itself", kind_of(&entry.spec).words());
                Err(SqlError::new(Kind::WrongObjectKind, message)
                    .hint("name the stream or materialized view that it belongs to"))
            }
        }
    }

    pub(super) fn advance_watermark(&self, advance: &AdvanceWatermark) -> Result<Planned, SqlError> {
        let AdvanceWatermark { source, to, at } = advance;
        let entry = self.catalog.require(source).map_err(|e| e.at(*at))?;
        let ObjectSpec::Source(spec) = &entry.spec else {
            return Err(SqlError::new(Kind::WrongObjectKind, format!("\"{source}\" is not a source")).at(*at));
        };
        if spec.watermark.is_none() {
            return Err(SqlError::new(Kind::InvalidDefinition, format!("source \"{source}\" has no watermark"))
                .hint("declare WATERMARK FOR its timestamp column")
                .at(*at));
        }
        let value = constant::value(self, to, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let value = value.as_primitive::<TimestampMicrosecondType>();
        if value.is_null(0) {
            return Err(SqlError::new(Kind::NotNull, "a watermark cannot be NULL").at(*at));
        }
        Ok(Planned::AdvanceWatermark { source: entry.id(), to: EventTime(value.value(0)) })
    }
}
