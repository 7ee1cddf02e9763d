//! Moments as text, there and back: `2026-11-21 05:10:00[.123][Z]`.

/// Milliseconds since 1970 UTC; none when the text is not a moment.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim_end_matches('Z').trim_end_matches("+00:00");
    let (date, time) = text.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + millis)
}

/// `05:10:00`, the time of day in UTC.
pub fn time_of_day(millis: i64) -> String {
    let seconds = millis.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Days since 1970 of a date of the Gregorian calendar, counted in eras of 400 years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_in_all_spellings() {
        for text in ["2026-11-21T05:10:00.120Z", "2026-11-21 05:10:00.12", "2026-11-21T05:10:00.120000+00:00"] {
            assert_eq!(parse(text), Some(1_795_237_800_120), "{text}");
        }
        assert_eq!(parse("2024-02-29 00:00:00"), Some(1_709_164_800_000));
        assert_eq!(parse("soon"), None);
        assert_eq!(time_of_day(1_795_237_800_120), "05:10:00");
    }
}
