//! PostgreSQL's types: their numbers, names and modifiers, and which Arrow type is which.

use arrow::datatypes::{DataType, TimeUnit};

/// A type as `pg_type` shows it.
#[derive(Clone, Copy, Debug)]
pub struct PgType {
    /// Number.
    pub oid: i32,
    /// Name in `pg_type`.
    pub name: &'static str,
    /// Name in SQL.
    pub sql: &'static str,
    /// Bytes; -1 = any number.
    pub size: i16,
    /// Category: S string, N number, D time, B boolean, T interval, U other, P pseudo.
    pub category: char,
    /// Number of its array type; 0 = none.
    pub array: i32,
}

const fn row(oid: i32, name: &'static str, sql: &'static str, size: i16, category: char, array: i32) -> PgType {
    PgType { oid, name, sql, size, category, array }
}

/// The scalar types that a column or a system relation can have.
pub const TYPES: [PgType; 32] = [
    row(16, "bool", "boolean", 1, 'B', 1000),
    row(17, "bytea", "bytea", -1, 'U', 1001),
    row(18, "char", "\"char\"", 1, 'Z', 1002),
    row(19, "name", "name", 64, 'S', 1003),
    row(20, "int8", "bigint", 8, 'N', 1016),
    row(21, "int2", "smallint", 2, 'N', 1005),
    row(22, "int2vector", "int2vector", -1, 'A', 1006),
    row(23, "int4", "integer", 4, 'N', 1007),
    row(24, "regproc", "regproc", 4, 'N', 1008),
    row(25, "text", "text", -1, 'S', 1009),
    row(26, "oid", "oid", 4, 'N', 1028),
    row(30, "oidvector", "oidvector", -1, 'A', 1013),
    row(114, "json", "json", -1, 'U', 199),
    row(700, "float4", "real", 4, 'N', 1021),
    row(701, "float8", "double precision", 8, 'N', 1022),
    row(705, "unknown", "unknown", -2, 'X', 0),
    row(1042, "bpchar", "character", -1, 'S', 1014),
    row(1043, "varchar", "character varying", -1, 'S', 1015),
    row(1082, "date", "date", 4, 'D', 1182),
    row(1083, "time", "time without time zone", 8, 'D', 1183),
    row(1114, "timestamp", "timestamp without time zone", 8, 'D', 1115),
    row(1184, "timestamptz", "timestamp with time zone", 8, 'D', 1185),
    row(1186, "interval", "interval", 16, 'T', 1187),
    row(1266, "timetz", "time with time zone", 12, 'D', 1270),
    row(1700, "numeric", "numeric", -1, 'N', 1231),
    row(2205, "regclass", "regclass", 4, 'N', 2210),
    row(2206, "regtype", "regtype", 4, 'N', 2211),
    row(2249, "record", "record", -1, 'P', 2287),
    row(2278, "void", "void", 4, 'P', 0),
    row(2950, "uuid", "uuid", 16, 'U', 2951),
    row(3802, "jsonb", "jsonb", -1, 'U', 3807),
    row(4089, "regnamespace", "regnamespace", 4, 'N', 4090),
];

/// The type of an Arrow column, as the PostgreSQL protocol announces it.
pub fn oid_of(data_type: &DataType) -> i32 {
    match data_type {
        DataType::Boolean => 16,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => 21,
        DataType::UInt16 | DataType::Int32 => 23,
        DataType::UInt32 | DataType::Int64 => 20,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => 1700,
        DataType::Float16 | DataType::Float32 => 700,
        DataType::Float64 => 701,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => 17,
        DataType::Date32 | DataType::Date64 => 1082,
        DataType::Time32(_) | DataType::Time64(_) => 1083,
        DataType::Timestamp(_, None) => 1114,
        DataType::Timestamp(_, Some(_)) => 1184,
        DataType::Interval(_) | DataType::Duration(_) => 1186,
        DataType::Struct(_) => 2249,
        DataType::Dictionary(_, value) => oid_of(value),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            by_oid(oid_of(item.data_type())).map_or(1009, |t| t.array)
        }
        _ => 25,
    }
}

/// `atttypmod` of an Arrow column; -1 = none.
pub fn modifier_of(data_type: &DataType) -> i32 {
    match data_type {
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (i32::from(*p) << 16 | i32::from(*s) & 0x7ff) + 4,
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond => -1,
            TimeUnit::Nanosecond => 9,
        },
        _ => -1,
    }
}

/// The type with a number.
pub fn by_oid(oid: i32) -> Option<&'static PgType> {
    TYPES.iter().find(|t| t.oid == oid)
}

/// The number of a type by either of its names, with `[]` for arrays.
pub fn by_name(name: &str) -> Option<i32> {
    let name = name.trim().trim_start_matches("pg_catalog.");
    if let Some(item) = name.strip_suffix("[]") {
        return by_oid(by_name(item)?).map(|t| t.array);
    }
    TYPES.iter().find(|t| t.name == name || t.sql == name).map(|t| t.oid)
}

/// `format_type`: a type as SQL writes it.
pub fn format(oid: i32, modifier: Option<i32>) -> String {
    if let Some(array) = TYPES.iter().find(|t| t.array == oid && oid != 0) {
        return format!("{}[]", format(array.oid, modifier));
    }
    let Some(found) = by_oid(oid) else { return "???".to_owned() };
    match (oid, modifier.filter(|m| *m >= 0)) {
        (1700, Some(m)) if m >= 4 => format!("numeric({},{})", (m - 4) >> 16, (m - 4) & 0x7ff),
        (1042 | 1043, Some(m)) if m >= 4 => format!("{}({})", found.sql, m - 4),
        (1114, Some(m)) => format!("timestamp({m}) without time zone"),
        (1184, Some(m)) => format!("timestamp({m}) with time zone"),
        _ => found.sql.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_postgresql_does() {
        let named = |t: &DataType| format(oid_of(t), Some(modifier_of(t)));
        assert_eq!(named(&DataType::Int64), "bigint");
        assert_eq!(named(&DataType::Decimal128(38, 2)), "numeric(38,2)");
        assert_eq!(named(&DataType::Timestamp(TimeUnit::Millisecond, None)), "timestamp(3) without time zone");
        assert_eq!(named(&DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))), "timestamp with time zone");
        assert_eq!(named(&DataType::new_list(DataType::Utf8View, true)), "text[]");
        assert_eq!(format(4_000_000, None), "???");
    }

    #[test]
    fn names_lead_back_to_numbers() {
        for kind in TYPES {
            assert_eq!(by_name(kind.name), Some(kind.oid));
        }
        assert_eq!(by_name("pg_catalog.int2[]"), Some(1005));
        assert_eq!(by_name("nope"), None);
    }
}
