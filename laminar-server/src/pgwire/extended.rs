//! The extended protocol: prepared statements, portals, parameters, row limits.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use laminar_db::Response;
use laminar_sql::parse::Statement;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::EmptyQueryResponse;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::fault::Fault;
use super::frontend::{Bind, Target, binary_at};
use super::parameter;
use super::row::{Rows, Sent, description, type_of};
use super::simple::row_tag;

/// Most prepared statements and most portals of one connection.
const MAX_NAMES: usize = 10_000;

/// A parsed and described statement.
pub struct Prepared {
    /// None = the text held no statement.
    statement: Option<Statement>,
    /// PostgreSQL type of each parameter.
    parameters: Vec<u32>,
    /// Result columns; none = no rows.
    columns: Option<SchemaRef>,
}

/// A statement with its values, and how far its rows were read.
pub struct Portal {
    prepared: Arc<Prepared>,
    values: Vec<Option<String>>,
    result_formats: Vec<i16>,
    state: PortalState,
}

enum PortalState {
    /// Not run yet.
    Bound,
    /// Rows are left.
    Suspended { rows: Box<Rows>, tag: &'static str },
    /// All was said.
    Done,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Makes a prepared statement.
    pub async fn parse(&mut self, name: String, sql: String, types: Vec<u32>) -> Result<(), Fault> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Fault::sql("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        if self.statements.len() >= MAX_NAMES {
            return Err(Fault::sql("54000", format!("more than {MAX_NAMES} prepared statements"))
                .hint("DEALLOCATE ALL, or close them"));
        }
        let mut statements = self.session.parse(&sql)?;
        if statements.len() > 1 {
            return Err(Fault::sql("42601", "cannot insert multiple commands into a prepared statement"));
        }
        let statement = statements.pop();
        let (mut parameters, mut columns) = (Vec::new(), None);
        if let Some(statement) = &statement {
            let described = Self::attended(&mut self.wire, self.session.describe(statement)).await??;
            for kind in &described.parameters {
                parameters.push(parameter::type_oid(kind));
            }
            columns = described.columns;
        }
        for (parameter, given) in parameters.iter_mut().zip(types) {
            if given != 0 {
                *parameter = given;
            }
        }
        self.statements.insert(name, Arc::new(Prepared { statement, parameters, columns }));
        self.wire.put(&ParseComplete::new());
        Ok(())
    }

    /// Makes a portal.
    pub fn bind(&mut self, bind: Bind) -> Result<(), Fault> {
        let prepared = self.prepared(&bind.statement)?;
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            return Err(Fault::sql("42P03", format!("cursor \"{}\" already exists", bind.portal)));
        }
        if self.portals.len() >= MAX_NAMES {
            return Err(Fault::sql("54000", format!("more than {MAX_NAMES} portals")));
        }
        if bind.values.len() != prepared.parameters.len() {
            let (given, wanted) = (bind.values.len(), prepared.parameters.len());
            let message =
                format!("bind message supplies {given} parameters, but the prepared statement requires {wanted}");
            return Err(Fault::sql("08P01", message));
        }
        let mut values = Vec::with_capacity(bind.values.len());
        for (index, (value, oid)) in bind.values.iter().zip(&prepared.parameters).enumerate() {
            let text = match value {
                None => None,
                Some(bytes) if binary_at(&bind.formats, index)? => Some(parameter::binary_to_text(*oid, bytes, index)?),
                Some(bytes) => Some(parameter::text(bytes, index)?),
            };
            values.push(text);
        }
        let portal = Portal { prepared, values, result_formats: bind.result_formats, state: PortalState::Bound };
        self.portals.insert(bind.portal, portal);
        self.wire.put(&BindComplete::new());
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<Arc<Prepared>, Fault> {
        let found = self.statements.get(name).cloned();
        found.ok_or_else(|| Fault::sql("26000", format!("prepared statement \"{name}\" does not exist")))
    }

    /// Says what a statement takes and gives, or what a portal gives.
    pub fn describe(&mut self, target: &Target) -> Result<(), Fault> {
        let (columns, formats) = match target {
            Target::Statement(name) => {
                let prepared = self.prepared(name)?;
                self.wire.put(&ParameterDescription::new(prepared.parameters.clone()));
                (prepared.columns.clone(), Vec::new())
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.prepared.columns.clone(), portal.result_formats.clone())
            }
        };
        match columns {
            Some(schema) => self.wire.put(&description(&schema, &formats)?),
            None => self.wire.put(&NoData::new()),
        }
        Ok(())
    }

    /// Runs a portal, or goes on with it, up to `max_rows` rows (0 = all).
    pub async fn execute(&mut self, name: &str, max_rows: usize) -> Result<(), Fault> {
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        let prepared = portal.prepared.clone();
        let limit = if max_rows == 0 { usize::MAX } else { max_rows };
        match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Suspended { rows, tag } => self.rows(name, rows, tag, limit).await,
            PortalState::Done => {
                self.complete(&row_tag("SELECT", 0));
                Ok(())
            }
            PortalState::Bound => {
                let (values, formats) = (std::mem::take(&mut portal.values), portal.result_formats.clone());
                let Some(statement) = &prepared.statement else {
                    self.wire.put(&EmptyQueryResponse::new());
                    return Ok(());
                };
                let response = Self::attended(&mut self.wire, self.session.execute(statement, &values)).await??;
                self.first(name, &prepared, response, &formats, limit).await?;
                self.forget(&statement.text);
                Ok(())
            }
        }
    }

    async fn first(
        &mut self,
        name: &str,
        prepared: &Prepared,
        response: Response,
        formats: &[i16],
        limit: usize,
    ) -> Result<(), Fault> {
        match response {
            Response::Rows { schema, batches, tag, notices } => {
                self.notices(&notices);
                if prepared.columns.as_ref().is_none_or(|told| !same_columns(told, &schema)) {
                    return Err(Fault::sql("0A000", "cached plan must not change result type")
                        .hint("prepare the statement again: an object it reads has changed"));
                }
                let rows = Box::new(Rows::new(&schema, batches, formats)?);
                self.rows(name, rows, tag, limit).await
            }
            Response::Done { tag, notices } => {
                self.notices(&notices);
                self.complete(&tag);
                Ok(())
            }
            Response::CopyIn(copy) => self.copy_in(*copy).await,
            Response::CopyOut { schema, batches, .. } => self.copy_out(&schema, batches).await,
        }
    }

    async fn rows(&mut self, name: &str, mut rows: Box<Rows>, tag: &'static str, limit: usize) -> Result<(), Fault> {
        match self.send_rows(&mut rows, limit).await? {
            Sent::All(count) => self.complete(&row_tag(tag, count)),
            Sent::Limit(_) => {
                if let Some(portal) = self.portals.get_mut(name) {
                    portal.state = PortalState::Suspended { rows, tag };
                }
                self.wire.put(&PortalSuspended::new());
            }
        }
        Ok(())
    }

    /// Drops a statement or a portal; one that does not exist is no error.
    pub fn close(&mut self, target: &Target) -> Result<(), Fault> {
        match target {
            Target::Statement(name) => {
                self.statements.remove(name);
            }
            Target::Portal(name) => {
                self.portals.remove(name);
            }
        }
        self.wire.put(&CloseComplete::new());
        Ok(())
    }
}

fn no_portal(name: &str) -> Fault {
    Fault::sql("34000", format!("portal \"{name}\" does not exist"))
}

/// Whether the client would decode rows of `now` as it was told.
fn same_columns(told: &SchemaRef, now: &SchemaRef) -> bool {
    told.fields().len() == now.fields().len()
        && told.fields().iter().zip(now.fields()).all(|(a, b)| match (type_of(a), type_of(b)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        })
}
