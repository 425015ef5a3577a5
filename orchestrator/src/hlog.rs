//! The latency histograms as an interval log, for the tools that read HdrHistogram's `.hlog` files.

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag},
    },
};
use regatta_report::{
    Counts,
    model::{HistogramSet, Latency},
};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::{Duration, SystemTime},
};

/// Writes one line for each second and histogram, tagged `response`, `service` and `lag`, to `path`.
///
/// Values are microseconds, times are seconds since the run's origin, which was at `origin` on the wall clock.
///
/// # Errors
/// What the operating system says.
pub fn write(path: &Path, latency: &Latency, origin: SystemTime) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    log_to(&mut file, latency, origin).map_err(io::Error::other)?;
    file.flush()
}

fn log_to(writer: &mut impl Write, latency: &Latency, origin: SystemTime) -> Result<(), String> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("Latencies of a Regatta run in microseconds, one line for each second and kind.")
        .with_start_time(origin)
        .with_base_time(origin)
        .begin_log_with(writer, &mut serializer)
        .map_err(|error| error.to_string())?;
    series(&mut log, "response", &latency.response)?;
    series(&mut log, "service", &latency.service)?;
    series(&mut log, "lag", &latency.lag)
}

fn series<W: Write>(
    log: &mut IntervalLogWriter<'_, '_, W, V2DeflateSerializer>,
    tag: &str,
    set: &HistogramSet,
) -> Result<(), String> {
    for interval in &set.intervals {
        let histogram = rebuild(&interval.counts)?;
        let start = Duration::from_secs(u64::from(interval.second));
        log.write_histogram(&histogram, start, Duration::from_secs(1), Tag::new(tag))
            .map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

/// A histogram with these counts: each value falls back into the bucket that it came from.
fn rebuild(counts: &Counts) -> Result<Histogram<u64>, String> {
    let mut histogram = Histogram::new(3).map_err(|error| error.to_string())?;
    for &(value, count) in &counts.0 {
        histogram.record_n(value, count).map_err(|error| error.to_string())?;
    }
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use proptest::prelude::*;
    use regatta_report::model::Interval;

    fn latency() -> Latency {
        let interval = |second, values: &[u64]| Interval {
            second,
            counts: Counts::of_values(values.iter().copied(), 3),
        };
        Latency {
            response: HistogramSet {
                overall: Counts::default(),
                intervals: vec![interval(4, &[900, 900, 12_000]), interval(5, &[800])],
            },
            lag: HistogramSet {
                overall: Counts::default(),
                intervals: vec![interval(4, &[3])],
            },
            ..Latency::default()
        }
    }

    #[test]
    fn a_reader_finds_every_second_of_every_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latency.hlog");
        write(&path, &latency(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut rows = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let tag = interval.tag().unwrap().as_str().to_owned();
                rows.push((tag, interval.start_timestamp().as_secs(), interval.max() as u64 / 10));
            }
        }
        let row = |tag: &str, second, max| (tag.to_owned(), second, max);
        assert_eq!(
            rows,
            [row("response", 4, 1200), row("response", 5, 80), row("lag", 4, 0)]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn rebuilding_gives_the_same_counts_back(values in proptest::collection::vec(0u64..3_600_000_000, 0..200)) {
            let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
            for value in &values {
                histogram.record(*value).unwrap();
            }
            let counts = Counts::from_histogram(&histogram);
            prop_assert_eq!(Counts::from_histogram(&rebuild(&counts).unwrap()), counts);
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error() {
        let error = write(Path::new("/nowhere/x.hlog"), &latency(), SystemTime::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
