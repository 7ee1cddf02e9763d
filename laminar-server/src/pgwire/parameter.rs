//! Values that clients bind: their types, and both formats to the text that sessions take.

use arrow::datatypes::DataType;
use arrow_pg::datatypes::into_pg_type;
use bytes::{Buf, Bytes};
use pgwire::api::Type;

use super::fault::Fault;
use super::numeric;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// 2000-01-01, PostgreSQL's zero, in days since 1970-01-01.
const ZERO_DAY: i64 = 10_957;

/// The type a parameter is described with; one that is not known is text.
pub fn type_oid(kind: &DataType) -> u32 {
    match kind {
        DataType::Null => Type::TEXT.oid(),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal256(..) => Type::NUMERIC.oid(),
        kind => into_pg_type(kind).map_or(Type::TEXT.oid(), |t| t.oid()),
    }
}

/// A value in text format.
///
/// # Errors
/// It is not UTF-8.
pub fn text(bytes: &Bytes, index: usize) -> Result<String, Fault> {
    let text = std::str::from_utf8(bytes).ok().filter(|t| !t.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| Fault::sql("22021", format!("the value of ${} is not UTF-8 text", index + 1)))
}

/// A value in binary format, as text.
///
/// # Errors
/// The bytes are no value of the type, or the type has no binary format here.
pub fn binary_to_text(oid: u32, bytes: &Bytes, index: usize) -> Result<String, Fault> {
    let kind = Type::from_oid(oid).unwrap_or(Type::UNKNOWN);
    let wrong = || Fault::sql("22P03", format!("the binary value of ${} is no {}", index + 1, kind.name()));
    let exact = |width: usize| if bytes.len() == width { Ok(bytes.clone()) } else { Err(wrong()) };
    Ok(match kind {
        Type::BOOL => (if exact(1)?.get_u8() == 0 { "false" } else { "true" }).to_owned(),
        Type::INT2 => exact(2)?.get_i16().to_string(),
        Type::INT4 => exact(4)?.get_i32().to_string(),
        Type::INT8 => exact(8)?.get_i64().to_string(),
        Type::OID | Type::REGCLASS | Type::REGTYPE => exact(4)?.get_u32().to_string(),
        Type::FLOAT4 => exact(4)?.get_f32().to_string(),
        Type::FLOAT8 => exact(8)?.get_f64().to_string(),
        Type::NUMERIC => numeric::decode(bytes).ok_or_else(wrong)?,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON | Type::CHAR => {
            text(bytes, index)?
        }
        Type::JSONB if bytes.first() == Some(&1) => text(&bytes.slice(1..), index)?,
        Type::BYTEA => bytes.iter().fold("\\x".to_owned(), |out, b| format!("{out}{b:02x}")),
        Type::UUID => uuid(&exact(16)?),
        Type::DATE => date(ZERO_DAY + i64::from(exact(4)?.get_i32())),
        Type::TIME => time(exact(8)?.get_i64()),
        Type::TIMESTAMP => timestamp(exact(8)?.get_i64()),
        Type::TIMESTAMPTZ => format!("{}+00", timestamp(exact(8)?.get_i64())),
        Type::INTERVAL => interval(exact(16)?),
        _ => {
            let message = format!("the type of ${} ({}) has no binary format here", index + 1, kind.name());
            return Err(Fault::sql("0A000", message).hint("bind it as text"));
        }
    })
}

fn uuid(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// The text of a day since 1970-01-01.
fn date(day: i64) -> String {
    let (year, month, day) = laminar_formats::date_of_days(day);
    format!("{year:04}-{month:02}-{day:02}")
}

fn time(us: i64) -> String {
    let us = us.rem_euclid(DAY_US);
    let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
    format!("{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn timestamp(us: i64) -> String {
    match us {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => format!("{} {}", date(ZERO_DAY + us.div_euclid(DAY_US)), time(us)),
    }
}

fn interval(mut bytes: Bytes) -> String {
    let (us, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
    let sign = if us < 0 { "-" } else { "" };
    let us = us.unsigned_abs();
    format!("{months} months {days} days {sign}{}.{:06} seconds", us / 1_000_000, us % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Type, bytes: &[u8]) -> String {
        binary_to_text(kind.oid(), &Bytes::copy_from_slice(bytes), 0).unwrap()
    }

    #[test]
    fn binary_values_become_the_text_of_the_same_value() {
        assert_eq!(read(Type::INT8, &(-5_i64).to_be_bytes()), "-5");
        assert_eq!(read(Type::BOOL, &[1]), "true");
        assert_eq!(read(Type::FLOAT8, &1.5_f64.to_be_bytes()), "1.5");
        assert_eq!(read(Type::DATE, &0_i32.to_be_bytes()), "2000-01-01");
        assert_eq!(read(Type::DATE, &(-10_958_i32).to_be_bytes()), "1969-12-31");
        assert_eq!(read(Type::TIMESTAMP, &(-1_i64).to_be_bytes()), "1999-12-31 23:59:59.999999");
        assert_eq!(read(Type::TIMESTAMPTZ, &DAY_US.to_be_bytes()), "2000-01-02 00:00:00.000000+00");
        assert_eq!(read(Type::BYTEA, &[0, 255]), "\\x00ff");
        assert_eq!(read(Type::UUID, &[0x11; 16]), "11111111-1111-1111-1111-111111111111");
        assert_eq!(read(Type::NUMERIC, &numeric::encode("-12.50")), "-12.50");
    }

    #[test]
    fn leap_days_are_dates() {
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(-25_509), "1900-02-28");
        assert_eq!(date(-25_508), "1900-03-01");
    }

    #[test]
    fn random_bytes_of_any_type_are_read_or_refused() {
        let mut rng = fastrand::Rng::with_seed(9);
        for _ in 0..100_000 {
            let bytes: Vec<u8> = (0..rng.usize(0..18)).map(|_| rng.u8(..)).collect();
            let _ = binary_to_text(rng.u32(0..4000), &Bytes::from(bytes), 0);
        }
    }
}
