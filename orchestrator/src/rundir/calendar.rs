//! UTC dates from Unix seconds, in the two forms that runs use.

/// A date and time of day in UTC.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

/// Proleptic Gregorian date of a day count, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(unix_s: u64) -> Civil {
    // Shifted so that years begin in March and an era of 400 years has 146,097 days.
    let days = unix_s / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    debug_assert!((1..=12).contains(&month) && month_from_march < 12, "{unix_s}");
    Civil {
        year: era * 400 + year_of_era + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        hour: unix_s / 3600 % 24,
        minute: unix_s / 60 % 60,
        second: unix_s % 60,
    }
}

/// `20250131T235959Z`: sorts by time and is safe in file names.
pub(crate) fn compact_utc(unix_s: u64) -> String {
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = civil(unix_s);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// `2025-01-31T23:59:59Z` (RFC 3339).
pub(crate) fn rfc3339(unix_s: u64) -> String {
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = civil(unix_s);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix_s), text);
            assert_eq!(compact_utc(unix_s), text.replace(['-', ':'], ""));
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = compact_utc(0);
        for day in 1..60_000 {
            let next = compact_utc(day * 86_400);
            assert!(next > last, "{last} {next}");
            last = next;
        }
    }
}
