//! Relations of an ad-hoc plan: names whose rows come later.

use std::sync::Arc;

use datafusion::logical_expr::TableSource;

use crate::plan::Relation;

/// The full name of a relation of a plan (`public.bars`), if it is one of ours.
pub(super) fn name_of(source: &Arc<dyn TableSource>) -> Option<String> {
    Relation::of(source).map(|relation| format!("public.{}", relation.entry.name()))
}
