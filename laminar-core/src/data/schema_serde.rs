//! Serialises an Arrow schema as (name, type text, nullable) triples.
//!
//! Invariant: the type text is Arrow's own `Display`, which `DataType::from_str` reads back.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
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
            let data_type = parse(&text).map_err(D::Error::custom)?;
            Ok(Field::new(name, data_type, nullable))
        })
        .collect::<Result<Vec<_>, D::Error>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The types that nearly every column has; those of a start are read by the thousand, and Arrow's parser is slow.
const USUAL: [DataType; 6] = [
    DataType::Int64,
    DataType::Utf8,
    DataType::Float64,
    DataType::Boolean,
    DataType::Int32,
    DataType::Timestamp(TimeUnit::Microsecond, None),
];

fn parse(text: &str) -> Result<DataType, ArrowError> {
    static TEXTS: LazyLock<[String; USUAL.len()]> = LazyLock::new(|| USUAL.map(|usual| usual.to_string()));
    match TEXTS.iter().position(|usual| usual == text) {
        Some(at) => Ok(USUAL[at].clone()),
        None => text.parse(),
    }
}

/// The same for one [`DataType`].
pub mod data_type {
    use super::{DataType, Deserialize, Deserializer, Serializer, parse};
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
        parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_types_read_as_arrow_reads_them() {
        for usual in USUAL {
            let text = usual.to_string();
            assert_eq!((parse(&text).unwrap(), text.parse::<DataType>().unwrap()), (usual.clone(), usual));
        }
        assert_eq!(parse("Decimal128(10, 2)").unwrap(), DataType::Decimal128(10, 2));
        assert!(parse("Int65").is_err());
    }
}
