//! Files as a source: one split a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::DataType;
use laminar_connector_kit::{ConnectorError, ConnectorOptions, OptionSpec, Options, parse_bool};
use laminar_core::connector::{Source, SourceFactory, SplitKey, SplitReader, StartFrom, Wake};
use laminar_core::graph::SourceSpec;
use laminar_formats::Lines;

use crate::options::FileSourceOptions;
use crate::place::{Roots, unreadable};
use crate::reader::{Beginning, FileReader, Place};
use crate::tail::Tail;

/// Makes file sources below some roots.
#[derive(Clone, Debug)]
pub struct FileSourceFactory {
    roots: Roots,
}

impl FileSourceFactory {
    /// Files below `roots` only.
    pub fn new(roots: Roots) -> Self {
        Self { roots }
    }
}

impl SourceFactory for FileSourceFactory {
    fn name(&self) -> &'static str {
        "file"
    }

    fn options(&self) -> &'static [OptionSpec] {
        FileSourceOptions::OPTIONS
    }

    fn bounded(&self, options: &Options) -> Result<bool, ConnectorError> {
        Ok(!FileSourceOptions::from_options(options)?.follow)
    }

    fn metadata(&self) -> &'static [(&'static str, DataType)] {
        const METADATA: &[(&str, DataType)] =
            &[("file", DataType::Utf8), ("line", DataType::Int64), ("offset", DataType::Int64)];
        METADATA
    }

    fn check(&self, spec: &SourceSpec) -> Result<(), ConnectorError> {
        let source = FileSource::new(self.roots.clone(), spec)?;
        self.roots.permit(Path::new(&source.options.path))
    }

    fn create(&self, spec: &SourceSpec) -> Result<Box<dyn Source>, ConnectorError> {
        let mut source = FileSource::new(self.roots.clone(), spec)?;
        // Says at CREATE that a file is missing or may not be read.
        source.splits()?;
        Ok(Box::new(source))
    }
}

/// The files of one path.
struct FileSource {
    roots: Roots,
    options: FileSourceOptions,
    lines: Lines,
    /// Whether the first line of each file names the columns.
    header: bool,
}

impl FileSource {
    fn new(roots: Roots, spec: &SourceSpec) -> Result<Self, ConnectorError> {
        let options = FileSourceOptions::from_options(&spec.options)?;
        let csv = spec.format.as_deref() == Some("csv");
        let option = |name: &str| spec.options.get(name).map(String::as_str);
        let quote = option("csv.quote").and_then(|quote| quote.bytes().next()).unwrap_or(b'"');
        let header = csv && option("csv.header").and_then(parse_bool).unwrap_or(false);
        let lines = if csv { Lines::Quoted(quote) } else { Lines::Plain };
        if options.follow && options.follow_interval.is_zero() {
            let message = "option 'follow.interval' must be above 0";
            return Err(ConnectorError::user("LDB-6406", message));
        }
        Ok(Self { roots, options, lines, header })
    }

    fn path_of(&self, split: &SplitKey) -> Result<PathBuf, ConnectorError> {
        let files = self.roots.files(&self.options.path)?;
        let wanted = Path::new(&split.0);
        if files.iter().any(|file| file == wanted) {
            return self.roots.existing(wanted);
        }
        let message = format!("file '{}' is not there any more (option path = '{}')", split.0, self.options.path);
        Err(ConnectorError::lost("LDB-6404", message))
    }

    /// The header line of a file that is read from its middle on.
    fn header_of(&self, path: &Path, place: Place) -> Result<Option<Vec<u8>>, ConnectorError> {
        if !self.header || place.line == 0 {
            return Ok(None);
        }
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let mut line = Vec::new();
        let limit = self.options.max_line.0;
        let read = BufReader::new(file).take(limit).read_until(b'\n', &mut line);
        read.map_err(|error| unreadable(path, &error))?;
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        if line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        Ok(Some(line))
    }
}

impl Source for FileSource {
    fn splits(&mut self) -> Result<Vec<SplitKey>, ConnectorError> {
        let files = self.roots.files(&self.options.path)?;
        Ok(files.into_iter().map(|file| SplitKey(file.to_string_lossy().into_owned())).collect())
    }

    fn open(
        &mut self,
        split: &SplitKey,
        from: StartFrom,
        wake: Arc<dyn Wake>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError> {
        let path = self.path_of(split)?;
        let place = match from {
            StartFrom::Option | StartFrom::Beginning => Place::default(),
            StartFrom::Position(position) => Place::of(&position).ok_or_else(|| {
                ConnectorError::lost("LDB-6404", format!("the position of file '{}' is not readable", split.0))
            })?,
        };
        let header = self.header_of(&path, place)?;
        let follow = self.options.follow.then_some(self.options.follow_interval);
        let (lines, max_line) = (self.lines, self.options.max_line.as_usize());
        let reader = FileReader::start(Beginning { place, header }, wake, |into, caught_up, stop, wake| Tail {
            path,
            from: place.byte,
            lines,
            max_line,
            follow,
            caught_up,
            into,
            stop,
            wake,
        })?;
        Ok(Box::new(reader))
    }
}

#[cfg(test)]
mod tests;
