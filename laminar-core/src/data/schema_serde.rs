//! Serialises an Arrow schema as (name, type text, nullable) triples.
//!
//! Invariant: the type text is Arrow's own `Display`, which `DataType::from_str` reads back.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes the schema.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(schema: &SchemaRef, to: S) -> Result<S::Ok, S::Error> {
    let fields: Vec<(&str, String, bool)> =
        schema.fields().iter().map(|f| (f.name().as_str(), f.data_type().to_string(), f.is_nullable())).collect();
    fields.serialize(to)
}

/// Reads the schema.
///
/// # Errors
/// An unknown type text, and the deserializer's.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SchemaRef, D::Error> {
    let fields = Vec::<(String, String, bool)>::deserialize(from)?;
    let fields = fields
        .into_iter()
        .map(|(name, text, nullable)| {
            let data_type: DataType = text.parse().map_err(D::Error::custom)?;
            Ok(Field::new(name, data_type, nullable))
        })
        .collect::<Result<Vec<_>, D::Error>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The same for one [`DataType`].
pub mod data_type {
    use super::{DataType, Deserialize, Deserializer, Serializer};
    use serde::de::Error as _;

    /// Writes the type.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(data_type: &DataType, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(data_type)
    }

    /// Reads the type.
    ///
    /// # Errors
    /// An unknown type text, and the deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DataType, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
