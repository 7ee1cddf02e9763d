//! Which files may be touched, and which are meant.

use std::path::{Component, Path, PathBuf};

use laminar_connector_kit::ConnectorError;

/// Directories below which files may be opened.
#[derive(Clone, Debug)]
pub struct Roots(Vec<PathBuf>);

impl Roots {
    /// These directories; a relative one counts from the working directory.
    pub fn new(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(roots.into_iter().collect())
    }

    /// The real path of a file or directory that exists, links followed, below a root.
    ///
    /// # Errors
    /// `LDB-6401` it does not exist or cannot be looked at, `LDB-6402` it lies outside of the roots.
    pub fn existing(&self, path: &Path) -> Result<PathBuf, ConnectorError> {
        let real = path.canonicalize().map_err(|error| unreadable(path, &error))?;
        self.allow(&real, path)?;
        Ok(real)
    }

    /// The real path of a file that may not exist yet; its directory must.
    ///
    /// # Errors
    /// As [`Roots::existing`].
    pub fn writable(&self, path: &Path) -> Result<PathBuf, ConnectorError> {
        if path.symlink_metadata().is_ok() {
            return self.existing(path);
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path
            .file_name()
            .ok_or_else(|| ConnectorError::user("LDB-6401", format!("'{}' does not name a file", path.display())))?;
        Ok(self.existing(parent)?.join(name))
    }

    /// That a path lies below a root, as far as it exists today. One that does so by its name is not looked at: its
    /// volume may not be there yet, and links are followed when it is opened.
    ///
    /// # Errors
    /// `LDB-6402` it lies outside of the roots.
    pub fn permit(&self, path: &Path) -> Result<(), ConnectorError> {
        let path = &std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
        let below = |root: &PathBuf| std::path::absolute(root).is_ok_and(|root| path.starts_with(root));
        if !path.components().any(|part| part == Component::ParentDir) && self.0.iter().any(below) {
            return Ok(());
        }
        path.ancestors().find_map(|there| there.canonicalize().ok()).map_or(Ok(()), |real| self.allow(&real, path))
    }

    fn allow(&self, real: &Path, given: &Path) -> Result<(), ConnectorError> {
        let below = |root: &PathBuf| root.canonicalize().is_ok_and(|root| real.starts_with(root));
        if self.0.iter().any(below) {
            return Ok(());
        }
        let roots: Vec<String> = self.0.iter().map(|root| root.display().to_string()).collect();
        let message = format!(
            "'{}' lies outside of the directories that files may be in ({}); move it or add its directory to [files] roots",
            given.display(),
            roots.join(", ")
        );
        Err(ConnectorError::user("LDB-6402", message))
    }

    /// The files that an option `path` means: their paths as the user would write them, sorted.
    ///
    /// # Errors
    /// As [`Roots::existing`].
    pub fn files(&self, path: &str) -> Result<Vec<PathBuf>, ConnectorError> {
        let path = Path::new(path);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (directory, pattern) = if name.contains('*') {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (parent, name)
        } else if self.existing(path)?.is_dir() {
            (path, "*".to_string())
        } else {
            return Ok(vec![path.to_path_buf()]);
        };
        self.existing(directory)?;
        let entries = directory.read_dir().map_err(|error| unreadable(directory, &error))?;
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(directory, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Hidden files are other programs' unfinished work.
            if !name.starts_with('.') && matches(&pattern, &name) && entry.path().is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }
}

/// The error for a path that cannot be read.
pub fn unreadable(path: &Path, error: &std::io::Error) -> ConnectorError {
    let message = format!("'{}' cannot be opened: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
            ConnectorError::user("LDB-6401", message)
        }
        _ => ConnectorError::external("LDB-6401", message),
    }
}

/// Whether a name fits a pattern in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => {
            let Some(mut tail) = name.strip_prefix(head) else { return false };
            loop {
                if matches(rest, tail) {
                    return true;
                }
                let mut characters = tail.chars();
                if characters.next().is_none() {
                    return false;
                }
                tail = characters.as_str();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_would() {
        for (pattern, name, fits) in [
            ("*", "anything", true),
            ("*.json", "a.json", true),
            ("*.json", "a.json.gz", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn paths_outside_of_the_roots_are_refused_links_included() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), inside.path().join("link")).unwrap();
        let roots = Roots::new([inside.path().to_path_buf()]);
        for path in [inside.path().join("link"), outside.path().join("secret"), inside.path().join("../")] {
            assert_eq!(roots.existing(&path).unwrap_err().code, "LDB-6402", "{}", path.display());
        }
        assert_eq!(roots.writable(&inside.path().join("link")).unwrap_err().code, "LDB-6402");
        assert_eq!(roots.existing(&inside.path().join("absent")).unwrap_err().code, "LDB-6401");
        roots.writable(&inside.path().join("new")).unwrap();
    }
}
