//! Random numbers by counter: any row's numbers without those before it.

/// The random numbers of one row.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    base: u64,
}

impl Draw {
    /// The numbers of row `row` of a split.
    #[inline]
    pub fn new(seed: u64, split: u64, row: u64) -> Self {
        Self {
            base: mix(seed ^ mix(split.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ row.wrapping_mul(0xD6E8_FEB8_6659_FD93)),
        }
    }

    /// The number for one purpose, uniform over `u64`.
    #[inline]
    pub fn bits(self, purpose: u64) -> u64 {
        mix(self.base.wrapping_add(purpose.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// Uniform below `limit` (at least 1); the bias is below `limit / 2^64`.
    #[inline]
    pub fn below(self, purpose: u64, limit: u64) -> u64 {
        ((u128::from(self.bits(purpose)) * u128::from(limit.max(1))) >> 64) as u64
    }

    /// Uniform in [0, 1).
    #[inline]
    pub fn unit(self, purpose: u64) -> f64 {
        (self.bits(purpose) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Below `limit` with probability falling as 1/(k+1): Zipf's law with exponent 1, by its continuous inverse.
    #[inline]
    pub fn zipf(self, purpose: u64, limit: u64) -> u64 {
        let k = ((limit as f64 + 1.0).ln() * self.unit(purpose)).exp() as u64;
        (k.saturating_sub(1)).min(limit.saturating_sub(1))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
#[inline]
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_evenly() {
        let mut counts = [0u32; 10];
        for row in 0..100_000 {
            counts[Draw::new(42, 3, row).below(1, 10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn zipf_halves_from_the_first_to_the_second_key() {
        let mut counts = [0u32; 1000];
        for row in 0..200_000 {
            counts[Draw::new(1, 0, row).zipf(2, 1000) as usize] += 1;
        }
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.5..2.0).contains(&ratio), "ln 2 : ln 1.5 is 1.71, got {ratio}");
        assert!(counts[999] < counts[0] / 100);
    }
}
