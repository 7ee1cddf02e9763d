//! System relations as DataFusion schemas.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::Result;

use super::snapshot::Snapshot;
use super::{information_schema, relation};

/// Which schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// `pg_catalog`
    PgCatalog,
    /// `information_schema`
    InformationSchema,
}

impl System {
    /// The schema's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::PgCatalog => "pg_catalog",
            Self::InformationSchema => "information_schema",
        }
    }
}

/// The relations of one schema over one snapshot, each built when it is first asked for.
pub struct Relations {
    system: System,
    snapshot: Arc<Snapshot>,
}

impl Relations {
    /// A schema to register under [`System::name`].
    pub fn new(system: System, snapshot: Arc<Snapshot>) -> Self {
        Self { system, snapshot }
    }
}

impl fmt::Debug for Relations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relations").field("system", &self.system).finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Relations {
    fn table_names(&self) -> Vec<String> {
        match self.system {
            System::PgCatalog => relation::names(),
            System::InformationSchema => information_schema::names(),
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let built = match self.system {
            System::PgCatalog => relation::build(name, &self.snapshot),
            System::InformationSchema => information_schema::build(name, &self.snapshot),
        };
        let Some(batch) = built.transpose()? else { return Ok(None) };
        Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        match self.system {
            System::PgCatalog => relation::exists(name),
            System::InformationSchema => information_schema::exists(name),
        }
    }
}
