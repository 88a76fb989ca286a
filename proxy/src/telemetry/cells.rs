//! Counters that one worker writes and the admin thread reads.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A counter with one writer: it loads and stores, which needs no locked instruction.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    /// Adds, on the thread that owns the cell.
    pub(super) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Reads, on any thread.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets, in milliseconds or bytes, each belonging to its bucket. Source: Envoy's default histogram
/// settings, which Istio keeps.
pub(super) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The bounds and one for what is above them all.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// [`BOUNDS`] in microseconds, so that 0.5 ms is a whole number.
const MICROSECOND_BOUNDS: [u64; BOUNDS.len()] = scaled(1000);
/// [`BOUNDS`] in bytes.
const BYTE_BOUNDS: [u64; BOUNDS.len()] = scaled(1);

const fn scaled(factor: u64) -> [u64; BOUNDS.len()] {
    let mut bounds = [0; BOUNDS.len()];
    let mut index = 0;
    while index < BOUNDS.len() {
        bounds[index] = (BOUNDS[index] * factor as f64) as u64;
        index += 1;
    }
    bounds
}

/// The sum and the counts of a histogram.
#[derive(Debug)]
pub(super) struct HistogramCells {
    buckets: [Cell; BUCKETS],
    sum: Cell,
}

impl HistogramCells {
    fn new() -> Self {
        Self { buckets: array::from_fn(|_| Cell::default()), sum: Cell::default() }
    }

    fn observe(&self, value: u64, bounds: &[u64; BOUNDS.len()]) {
        // Many requests have no body, and many answers take no time: those need no search.
        let is_first = bounds.first().is_some_and(|&bound| value <= bound);
        let bucket = if is_first { 0 } else { bounds.partition_point(|&bound| bound < value) };
        if let Some(cell) = self.buckets.get(bucket) {
            cell.add(1);
        }
        self.sum.add(value);
    }
}

/// What is counted for one series, answer code, flags and protocol. The number of requests is that of durations.
#[derive(Debug)]
pub(super) struct RequestCells {
    /// In microseconds.
    duration: HistogramCells,
    request_bytes: HistogramCells,
    response_bytes: HistogramCells,
}

impl RequestCells {
    pub(super) fn new() -> Self {
        Self {
            duration: HistogramCells::new(),
            request_bytes: HistogramCells::new(),
            response_bytes: HistogramCells::new(),
        }
    }

    /// Counts one request.
    pub(super) fn observe(&self, duration: Duration, request_bytes: u64, response_bytes: u64) {
        let micros = duration.as_secs().wrapping_mul(1_000_000).wrapping_add(u64::from(duration.subsec_micros()));
        self.duration.observe(micros, &MICROSECOND_BOUNDS);
        self.request_bytes.observe(request_bytes, &BYTE_BOUNDS);
        self.response_bytes.observe(response_bytes, &BYTE_BOUNDS);
    }
}

/// Sums of histograms over shards.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HistogramSum {
    /// Not cumulative.
    pub(super) buckets: [u64; BUCKETS],
    /// In the unit of the cells.
    pub(super) sum: u64,
}

impl HistogramSum {
    fn add(&mut self, cells: &HistogramCells) {
        for (sum, cell) in self.buckets.iter_mut().zip(&cells.buckets) {
            *sum = sum.wrapping_add(cell.get());
        }
        self.sum = self.sum.wrapping_add(cells.sum.get());
    }

    /// How many values.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Sums of requests over shards.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RequestSum {
    /// In microseconds.
    pub(super) duration: HistogramSum,
    pub(super) request_bytes: HistogramSum,
    pub(super) response_bytes: HistogramSum,
}

impl RequestSum {
    /// Adds those of a shard.
    pub(super) fn add(&mut self, cells: &RequestCells) {
        self.duration.add(&cells.duration);
        self.request_bytes.add(&cells.request_bytes);
        self.response_bytes.add(&cells.response_bytes);
    }
}

/// What a worker counts for a cluster.
#[derive(Debug, Default)]
pub(super) struct ClusterCells {
    pub(super) requests: Cell,
    pub(super) connections_opened: Cell,
    pub(super) connections_closed: Cell,
    pub(super) retries: Cell,
    pub(super) pending_overflow: Cell,
    pub(super) retry_overflow: Cell,
    /// By [`EjectionCause`].
    pub(super) ejections_5xx: Cell,
    pub(super) ejections_gateway: Cell,
    pub(super) ejections_local: Cell,
    /// Ejections that were one too many.
    pub(super) ejections_overflow: Cell,
}

/// What a worker counts of gRPC calls to a destination.
#[derive(Debug, Default)]
pub(super) struct MessageCells {
    /// From clients.
    pub(super) request: Cell,
    /// To clients.
    pub(super) response: Cell,
}

/// What a worker counts for connections to a destination that are not read as HTTP.
#[derive(Debug, Default)]
pub(super) struct TcpCells {
    pub(super) opened: Cell,
    pub(super) closed: Cell,
    /// To clients.
    pub(super) sent: Cell,
    /// From clients.
    pub(super) received: Cell,
}

/// What a worker counts for a listener.
#[derive(Debug, Default)]
pub(super) struct ListenerCells {
    pub(super) connections_opened: Cell,
    pub(super) connections_closed: Cell,
    pub(super) handshakes: Cell,
    pub(super) handshakes_failed: Cell,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_of(value: u64, bounds: &[u64; BOUNDS.len()]) -> usize {
        let cells = HistogramCells::new();
        cells.observe(value, bounds);
        cells.buckets.iter().position(|cell| cell.get() == 1).unwrap()
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        for (index, bound) in MICROSECOND_BOUNDS.iter().enumerate() {
            assert_eq!(bucket_of(*bound, &MICROSECOND_BOUNDS), index);
            assert_eq!(bucket_of(bound + 1, &MICROSECOND_BOUNDS), index + 1);
        }
    }

    #[test]
    fn half_a_byte_is_the_bucket_of_empty_bodies_only() {
        for (bytes, bucket) in
            [(0, 0), (1, 1), (2, 2), (5, 2), (6, 3), (3_600_000, 18), (3_600_001, 19), (u64::MAX, 19)]
        {
            assert_eq!(bucket_of(bytes, &BYTE_BOUNDS), bucket, "{bytes}");
        }
    }
}
