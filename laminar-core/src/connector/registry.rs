//! The registry: which connectors and formats this binary has.
//!
//! Filled once at start by the server's wiring; a name that is not here is refused with the list of
//! those that are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::options::{OptionSpec, Options, nearest, resolve};
use super::{Applier, ConnectorError, DecoderFactory, EncoderFactory, SinkIdentity, Source};
use crate::graph::{SinkSpec, SourceSpec};

/// Makes sources of one connector.
pub trait SourceFactory: Send + Sync {
    /// The connector's name in SQL and TOML.
    fn name(&self) -> &'static str;

    /// The options it takes.
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// Whether it brings typed rows and so takes no format.
    fn typed(&self) -> bool {
        false
    }

    /// Whether its splits end (bounded) with these options.
    ///
    /// # Errors
    /// A wrong option.
    fn bounded(&self, options: &Options) -> Result<bool, ConnectorError> {
        let _ = options;
        Ok(false)
    }

    /// Metadata columns it can fill, with their Arrow types.
    fn metadata(&self) -> &'static [(&'static str, arrow::datatypes::DataType)] {
        &[]
    }

    /// Checks the options and the schema without touching the other system; called at CREATE.
    ///
    /// # Errors
    /// A wrong option or a column the connector cannot fill.
    fn check(&self, spec: &SourceSpec) -> Result<(), ConnectorError> {
        let _ = spec;
        Ok(())
    }

    /// Makes the source. May block; called on an unpinned thread.
    ///
    /// # Errors
    /// A wrong option, or the other system refuses.
    fn create(&self, spec: &SourceSpec) -> Result<Box<dyn Source>, ConnectorError>;
}

/// Makes sinks of one connector.
pub trait SinkFactory: Send + Sync {
    /// The connector's name in SQL and TOML.
    fn name(&self) -> &'static str;

    /// The options it takes.
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// Whether it writes encoded records and so needs a format.
    fn encoded(&self) -> bool {
        true
    }

    /// The format of a sink that names none; none = it must name one.
    fn format(&self) -> Option<&'static str> {
        None
    }

    /// Checks the options and the schema without touching the other system; called at CREATE.
    ///
    /// # Errors
    /// A wrong option, delivery or envelope.
    fn check(&self, spec: &SinkSpec) -> Result<(), ConnectorError> {
        let _ = spec;
        Ok(())
    }

    /// Makes the applier; `identity` names its writer at the target. May block; called on an unpinned thread.
    ///
    /// # Errors
    /// A wrong option.
    fn create(&self, spec: &SinkSpec, identity: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError>;
}

/// Connectors and formats by name.
#[derive(Clone, Default)]
pub struct Registry {
    /// Sources.
    pub sources: BTreeMap<&'static str, Arc<dyn SourceFactory>>,
    /// Sinks.
    pub sinks: BTreeMap<&'static str, Arc<dyn SinkFactory>>,
    /// Formats that can be read.
    pub decoders: BTreeMap<&'static str, Arc<dyn DecoderFactory>>,
    /// Formats that can be written.
    pub encoders: BTreeMap<&'static str, Arc<dyn EncoderFactory>>,
}

impl Registry {
    /// Adds a source connector.
    #[must_use]
    pub fn source(mut self, factory: impl SourceFactory + 'static) -> Self {
        self.sources.insert(factory.name(), Arc::new(factory));
        self
    }

    /// Adds a sink connector.
    #[must_use]
    pub fn sink(mut self, factory: impl SinkFactory + 'static) -> Self {
        self.sinks.insert(factory.name(), Arc::new(factory));
        self
    }

    /// Adds a decoder.
    #[must_use]
    pub fn decoder(mut self, factory: impl DecoderFactory + 'static) -> Self {
        self.decoders.insert(factory.name(), Arc::new(factory));
        self
    }

    /// Adds an encoder.
    #[must_use]
    pub fn encoder(mut self, factory: impl EncoderFactory + 'static) -> Self {
        self.encoders.insert(factory.name(), Arc::new(factory));
        self
    }

    /// Options of a source as written → by canonical name, checked against connector and format together.
    ///
    /// # Errors
    /// `LDB-6005` an unknown connector or format, and those of [`resolve`].
    pub fn source_options(
        &self,
        connector: &str,
        format: Option<&str>,
        given: &Options,
    ) -> Result<Options, ConnectorError> {
        let source = find("source connector", &self.sources, connector)?;
        let decoder = format.map(|name| find("format", &self.decoders, name)).transpose()?;
        let formatting = decoder.map_or(&[] as &[OptionSpec], |decoder| decoder.options());
        resolve(&owner(connector, format), &[source.options(), formatting], given)
    }

    /// Options of a sink as written → by canonical name, checked against connector and format together.
    ///
    /// # Errors
    /// `LDB-6005` an unknown connector or format, and those of [`resolve`].
    pub fn sink_options(
        &self,
        connector: &str,
        format: Option<&str>,
        given: &Options,
    ) -> Result<Options, ConnectorError> {
        let sink = find("sink connector", &self.sinks, connector)?;
        let encoder = format.map(|name| find("format", &self.encoders, name)).transpose()?;
        let formatting = encoder.map_or(&[] as &[OptionSpec], |encoder| encoder.options());
        resolve(&owner(connector, format), &[sink.options(), formatting], given)
    }
}

fn owner(connector: &str, format: Option<&str>) -> String {
    match format {
        Some(format) => format!("connector '{connector}' with format '{format}'"),
        None => format!("connector '{connector}'"),
    }
}

fn find<'a, T: ?Sized>(
    what: &str,
    known: &'a BTreeMap<&'static str, Arc<T>>,
    name: &str,
) -> Result<&'a Arc<T>, ConnectorError> {
    known.get(name).ok_or_else(|| {
        let hint =
            nearest(name, known.keys().copied()).map_or(String::new(), |near| format!("; did you mean '{near}'?"));
        let list: Vec<&str> = known.keys().copied().collect();
        ConnectorError::user(
            "LDB-6005",
            format!("{what} '{name}' does not exist{hint} (there are: {})", list.join(", ")),
        )
    })
}
