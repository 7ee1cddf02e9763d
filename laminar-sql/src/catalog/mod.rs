//! The catalog as an immutable snapshot.
//!
//! Invariants: a snapshot never changes, adding and removing give a new one; names are unique over
//! all kinds; every id that an entry depends on is in the same snapshot.

mod entry;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use entry::{CatalogEntry, CatalogRecord, FORMAT_VERSION};
pub(crate) use laminar_core::connector::options::nearest;
use laminar_core::graph::ObjectSpec;
use laminar_core::ids::ObjectId;

use crate::error::{Kind, SqlError};

/// All objects at one moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    objects: BTreeMap<ObjectId, Arc<CatalogEntry>>,
    names: BTreeMap<String, ObjectId>,
    version: u64,
    next_id: u64,
}

impl Catalog {
    /// Without objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts changes; a plan made against another version must be validated again.
    pub fn version(&self) -> u64 {
        self.inner.version
    }

    /// The id that the next object gets; ids are never reused.
    pub fn next_id(&self) -> ObjectId {
        ObjectId(self.inner.next_id.max(1))
    }

    /// The same catalog, which gives ids from `id` on: after a restart, so that ids are never reused.
    #[must_use]
    pub fn with_next_id(&self, id: ObjectId) -> Self {
        let mut inner = (*self.inner).clone();
        inner.next_id = inner.next_id.max(id.0);
        Self { inner: Arc::new(inner) }
    }

    /// An object by name.
    pub fn get(&self, name: &str) -> Option<&Arc<CatalogEntry>> {
        self.inner.names.get(name).and_then(|id| self.inner.objects.get(id))
    }

    /// An object by id.
    pub fn by_id(&self, id: ObjectId) -> Option<&Arc<CatalogEntry>> {
        self.inner.objects.get(&id)
    }

    /// All objects, by id: an object comes after those it depends on.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.inner.objects.values()
    }

    /// All names of objects.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.inner.names.keys().map(String::as_str)
    }

    /// The object, or an error that names the nearest.
    ///
    /// # Errors
    /// [`Kind::UndefinedObject`].
    pub fn require(&self, name: &str) -> Result<&Arc<CatalogEntry>, SqlError> {
        self.get(name).ok_or_else(|| self.missing(name))
    }

    pub(crate) fn missing(&self, name: &str) -> SqlError {
        let error = SqlError::new(Kind::UndefinedObject, format!("\"{name}\" does not exist"));
        match nearest(name, self.names()) {
            Some(near) => error.hint(format!("did you mean \"{near}\"?")),
            None => error.hint("SHOW SOURCES, SHOW TABLES, SHOW STREAMS, SHOW MATERIALIZED VIEWS list what there is"),
        }
    }

    /// Adds an object, or replaces the one of the same id.
    ///
    /// # Errors
    /// [`Kind::Duplicate`] when another object has the name; [`Kind::UndefinedObject`] when it depends on an id that is not here.
    pub fn add(&self, entry: CatalogEntry) -> Result<Self, SqlError> {
        let mut inner = (*self.inner).clone();
        let (id, name) = (entry.id(), entry.name().to_owned());
        if inner.names.get(&name).is_some_and(|other| *other != id) {
            return Err(SqlError::new(Kind::Duplicate, format!("\"{name}\" already exists"))
                .hint("choose another name, or write IF NOT EXISTS or OR REPLACE"));
        }
        for needed in &entry.depends_on {
            if !inner.objects.contains_key(needed) {
                return Err(SqlError::new(
                    Kind::UndefinedObject,
                    format!("\"{name}\" depends on the object with id {needed}, which no longer exists"),
                )
                .hint("plan the statement again"));
            }
        }
        if let Some(old) = inner.objects.insert(id, Arc::new(entry))
            && old.name() != name
        {
            inner.names.remove(old.name());
        }
        inner.names.insert(name, id);
        inner.next_id = inner.next_id.max(id.0 + 1);
        inner.version += 1;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Removes an object.
    ///
    /// # Errors
    /// [`Kind::Dependents`] while others need it; [`Kind::UndefinedObject`].
    pub fn remove(&self, id: ObjectId) -> Result<Self, SqlError> {
        let Some(entry) = self.by_id(id) else {
            return Err(SqlError::new(Kind::UndefinedObject, format!("the object with id {id} does not exist")));
        };
        let users = self.users(id);
        if !users.is_empty() {
            return Err(dependents(entry.name(), &users));
        }
        let mut inner = (*self.inner).clone();
        inner.names.remove(entry.name());
        inner.objects.remove(&id);
        inner.version += 1;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Objects that directly depend on an object.
    pub fn users(&self, id: ObjectId) -> Vec<Arc<CatalogEntry>> {
        self.iter().filter(|e| e.depends_on.contains(&id)).cloned().collect()
    }

    /// The object and all that depend on it, users first: the order in which they can be removed.
    pub fn closure(&self, id: ObjectId) -> Vec<ObjectId> {
        let mut found = vec![id];
        let mut next = 0;
        while next < found.len() {
            for user in self.users(found[next]) {
                if !found.contains(&user.id()) {
                    found.push(user.id());
                }
            }
            next += 1;
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    /// The catalog of stored records.
    ///
    /// # Errors
    /// A format or function version that this build does not know.
    pub fn from_records(records: Vec<CatalogRecord>) -> Result<Self, SqlError> {
        let mut entries = records.into_iter().map(CatalogRecord::into_entry).collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(CatalogEntry::id);
        let mut catalog = Self::new();
        // A replaced query keeps its id and may read objects made later, so names and ids go in first.
        let mut inner = Inner::default();
        for entry in entries {
            inner.next_id = inner.next_id.max(entry.id().0 + 1);
            inner.names.insert(entry.name().to_owned(), entry.id());
            inner.objects.insert(entry.id(), Arc::new(entry));
        }
        catalog.inner = Arc::new(inner);
        Ok(catalog)
    }
}

pub(crate) fn dependents(name: &str, users: &[Arc<CatalogEntry>]) -> SqlError {
    let names: Vec<&str> = users.iter().map(|u| u.name()).collect();
    SqlError::new(Kind::Dependents, format!("cannot drop \"{name}\": others depend on it"))
        .detail(format!("dependent objects: {}", names.join(", ")))
        .hint("drop them first, or use DROP … CASCADE")
}

/// What users call an object's kind.
pub fn kind_of(spec: &ObjectSpec) -> crate::parse::RelationKind {
    use crate::parse::RelationKind;
    match spec {
        ObjectSpec::Source(_) => RelationKind::Source,
        ObjectSpec::Table(_) => RelationKind::Table,
        ObjectSpec::Pipeline(p) => match p.kind {
            laminar_core::graph::PipelineKind::Stream => RelationKind::Stream,
            laminar_core::graph::PipelineKind::View => RelationKind::View,
        },
        ObjectSpec::Sink(_) => RelationKind::Sink,
    }
}
