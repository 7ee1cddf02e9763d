//! Ad-hoc queries.

pub mod pg_catalog;
