//! How long to wait before the next attempt.
//!
//! Exponential with jitter over the upper half of each step: callers that failed together do not
//! come back together, and none comes back at once.

use std::time::Duration;

/// A policy and its state. Pure: the caller waits.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempts: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// Waits `first` (jittered) after the first failure, doubling up to `most`; `seed` decides the jitter.
    pub fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Self { first, most, attempts: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// The wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.first.saturating_mul(1u32.checked_shl(self.attempts).unwrap_or(u32::MAX)).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        step / 2 + (step / 2).mul_f64(self.random.f64())
    }

    /// An attempt succeeded.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Failures since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_again_after_success() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, most, 7);
        let mut step = first;
        for _ in 0..80 {
            let wait = backoff.next_wait();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} outside of half to all of {step:?}");
            step = (step * 2).min(most);
        }
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}
