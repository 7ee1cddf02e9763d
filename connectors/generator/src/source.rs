//! The generator as a source.

use std::sync::Arc;

use arrow::datatypes::DataType;
use laminar_connector_kit::{ConnectorError, ConnectorOptions, OptionSpec, Options};
use laminar_core::connector::{Source, SourceFactory, SplitKey, SplitReader, StartFrom, Wake};
use laminar_core::graph::SourceSpec;

use crate::columns::Columns;
use crate::options::GeneratorOptions;
use crate::reader::GeneratorReader;
use crate::rows::Rows;

/// Makes generator sources.
#[derive(Clone, Copy, Debug, Default)]
pub struct GeneratorFactory;

impl SourceFactory for GeneratorFactory {
    fn name(&self) -> &'static str {
        "generator"
    }

    fn options(&self) -> &'static [OptionSpec] {
        GeneratorOptions::OPTIONS
    }

    fn typed(&self) -> bool {
        true
    }

    fn bounded(&self, options: &Options) -> Result<bool, ConnectorError> {
        Ok(GeneratorOptions::read(options)?.rows.is_some())
    }

    fn metadata(&self) -> &'static [(&'static str, DataType)] {
        const METADATA: &[(&str, DataType)] = &[("offset", DataType::Int64)];
        METADATA
    }

    fn check(&self, spec: &SourceSpec) -> Result<(), ConnectorError> {
        GeneratorSource::new(spec).map(drop)
    }

    fn create(&self, spec: &SourceSpec) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(GeneratorSource::new(spec)?))
    }
}

/// A generator with its splits `0`, `1`, ….
struct GeneratorSource {
    rows: Arc<Rows>,
    columns: Arc<Columns>,
    rate: f64,
}

impl GeneratorSource {
    fn new(spec: &SourceSpec) -> Result<Self, ConnectorError> {
        let options = GeneratorOptions::read(&spec.options)?;
        let rows = Rows::new(&options);
        let columns = Columns::new(rows.kind(), spec)?;
        Ok(Self { rows: Arc::new(rows), columns: Arc::new(columns), rate: options.rate })
    }
}

impl Source for GeneratorSource {
    fn splits(&mut self) -> Result<Vec<SplitKey>, ConnectorError> {
        Ok((0..self.rows.splits()).map(|split| SplitKey(split.to_string())).collect())
    }

    fn open(
        &mut self,
        split: &SplitKey,
        from: StartFrom,
        _wake: Arc<dyn Wake>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError> {
        let number = split.0.parse::<u64>().ok().filter(|number| *number < self.rows.splits()).ok_or_else(|| {
            let splits = self.rows.splits();
            ConnectorError::user("LDB-6305", format!("the generator has splits 0 to {}, not '{}'", splits - 1, split.0))
        })?;
        let next = match from {
            StartFrom::Option | StartFrom::Beginning => 0,
            StartFrom::Position(position) => position.offset().ok_or_else(|| {
                let message = format!("the position of generator split {number} is not a row number");
                ConnectorError::lost("LDB-6306", message)
            })?,
        };
        let rate = (self.rate > 0.0).then(|| self.rate / self.rows.splits() as f64);
        let (rows, columns) = (Arc::clone(&self.rows), Arc::clone(&self.columns));
        Ok(Box::new(GeneratorReader::new(rows, columns, number, next, rate)))
    }
}

#[cfg(test)]
mod tests;
