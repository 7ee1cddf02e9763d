//! From a path to a checked configuration.

use std::path::Path;

use toml::de::DeTable;

use super::deployment::Deployment;
use super::model::Config;
use super::problem::{Problem, Problems};
use super::read::read;

/// A file's text, what it says, and the SQL it declares.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The objects as one SQL script.
    pub deployment: Deployment,
    /// The text, for places of later errors.
    pub text: String,
}

/// Reads and checks a file; `lookup` gives environment variables.
///
/// # Errors
/// Every problem of the file.
pub fn load(path: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "the configuration file does not exist; name another one with `--config FILE`".to_owned()
            }
            std::io::ErrorKind::InvalidData => "the configuration file is not UTF-8 text".to_owned(),
            _ => format!("the configuration file cannot be read: {error}"),
        };
        Problems::new(path, "", vec![Problem { offset: None, message }])
    })?;
    match parse(&text, lookup) {
        Ok(config) => {
            let deployment = Deployment::of(&config, &text);
            Ok(Loaded { config, deployment, text })
        }
        Err(problems) => Err(Problems::new(path, &text, problems)),
    }
}

/// Parses and checks a text.
///
/// # Errors
/// Every problem of the text.
pub fn parse(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let syntax: Vec<Problem> = errors
        .iter()
        .map(|e| Problem { offset: e.span().map(|s| s.start), message: e.message().trim().replace('\n', "; ") })
        .collect();
    let (config, mut problems) = read(table.get_ref(), lookup);
    if !syntax.is_empty() {
        // Values beside a syntax error may be cut or missing: what they lack is no news.
        return Err(syntax);
    }
    if problems.is_empty() { Ok(config) } else { Err(std::mem::take(&mut problems)) }
}
