//! Makes PostgreSQL sinks.
//!
//! Invariant: what this connector cannot keep is refused at CREATE, by name.

use laminar_connector_kit::{ConnectorOptions, OptionSpec};
use laminar_core::connector::{Applier, ConnectorError, SinkFactory, SinkIdentity};
use laminar_core::graph::{Envelope, SinkSpec};

use crate::applier::PostgresApplier;
use crate::error::Trouble;
use crate::options::PostgresSinkOptions;
use crate::target::Target;

/// The only format: PostgreSQL reads it itself.
const FORMAT: &str = "json";

/// Makes sinks into tables of PostgreSQL.
#[derive(Clone, Copy, Debug, Default)]
pub struct PostgresSinkFactory;

impl SinkFactory for PostgresSinkFactory {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn options(&self) -> &'static [OptionSpec] {
        PostgresSinkOptions::OPTIONS
    }

    fn format(&self) -> Option<&'static str> {
        Some(FORMAT)
    }

    fn check(&self, spec: &SinkSpec) -> Result<(), ConnectorError> {
        PostgresSinkOptions::read(&spec.options, spec.delivery)?;
        let refuse = |why: String| Err(Trouble::Option(format!("sink \"{}\": {why}", spec.name)).into());
        match (spec.format.as_deref(), spec.envelope) {
            (Some(FORMAT), Envelope::Plain | Envelope::Upsert) => Ok(()),
            (Some(FORMAT), Envelope::Changelog | Envelope::Debezium) => {
                refuse("a table holds rows, not their changes; use envelope = 'upsert'".into())
            }
            (format, _) => {
                let format = format.unwrap_or("none");
                refuse(format!("format '{format}' cannot be written to PostgreSQL; use '{FORMAT}', or leave it out"))
            }
        }
    }

    fn create(&self, spec: &SinkSpec, identity: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        self.check(spec)?;
        let options = PostgresSinkOptions::read(&spec.options, spec.delivery)?;
        let target = Target {
            table: options.table.clone(),
            columns: spec.schema.columns.clone(),
            key: spec.key.clone().unwrap_or_default(),
        };
        Ok(Box::new(PostgresApplier::new(options, target, spec.delivery, identity)))
    }
}
