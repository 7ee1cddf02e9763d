//! Names of files and directories: as seen, as durable, and the unsynced changes between.
//!
//! Invariant: `durable` plus all of `pending`, in order, is `seen`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::crash::Kept;
use super::random::Random;

/// Number of a file's content in the world; names point to it.
pub(super) type Inode = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(Inode),
    Directory,
}

#[derive(Clone, Debug)]
enum Change {
    Add { path: PathBuf, node: Node },
    Rename { from: PathBuf, to: PathBuf, inode: Inode },
    Remove { path: PathBuf },
}

impl Change {
    fn directory(&self) -> &Path {
        let path = match self {
            Self::Add { path, .. } | Self::Remove { path } => path,
            Self::Rename { to, .. } => to,
        };
        path.parent().unwrap_or(Path::new(""))
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Add { path, node } => {
                names.insert(path.clone(), *node);
            }
            Self::Rename { from, to, inode } => {
                if names.get(from) == Some(&Node::File(*inode)) {
                    names.remove(from);
                }
                names.insert(to.clone(), Node::File(*inode));
            }
            Self::Remove { path } => {
                names.remove(path);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Namespace {
    seen: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Change>,
}

impl Namespace {
    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        if path == Path::new("") || path == Path::new(".") {
            return Some(Node::Directory);
        }
        self.seen.get(path).copied()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&PathBuf, Inode)> {
        self.seen.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path, *inode)),
            Node::Directory => None,
        })
    }

    pub(super) fn add(&mut self, path: &Path, node: Node) {
        self.change(Change::Add { path: path.to_owned(), node });
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, inode: Inode) {
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), inode });
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.change(Change::Remove { path: path.to_owned() });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    pub(super) fn sync_directory(&mut self, dir: &Path) {
        let dir = if dir == Path::new(".") { Path::new("") } else { dir };
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            if change.directory() != dir {
                return true;
            }
            change.apply(durable);
            false
        });
    }

    /// The names after the power came back: any subset of the unsynced changes, in order.
    pub(super) fn after_power_cut(&self, which: Kept, random: &mut Random) -> Self {
        let mut names = self.durable.clone();
        let habit = random.below(4);
        for change in &self.pending {
            let kept = match (which, habit) {
                (Kept::Nothing, _) | (Kept::Some, 0) => false,
                (Kept::All | Kept::Torn, _) | (Kept::Some, 1) => true,
                (Kept::Some, _) => random.coin(),
            };
            if kept {
                change.apply(&mut names);
            }
        }
        Self::settled(names)
    }

    fn settled(names: BTreeMap<PathBuf, Node>) -> Self {
        let reachable = |path: &Path| {
            path.ancestors().skip(1).all(|dir| dir == Path::new("") || names.get(dir) == Some(&Node::Directory))
        };
        let kept: BTreeMap<_, _> =
            names.iter().filter(|(path, _)| reachable(path)).map(|(path, node)| (path.clone(), *node)).collect();
        Self { seen: kept.clone(), durable: kept, pending: Vec::new() }
    }
}
