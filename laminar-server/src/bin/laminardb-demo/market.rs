//! Made-up trades: seeded, event time at 60 times the clock, up to 3 s out of order.

use serde::Serialize;

/// The topic of the trades.
pub const TOPIC: &str = "trades";
/// Event time runs so many times faster than the clock: a minute's bar closes each second.
pub const SPEED: i64 = 60;
/// How far a trade may come out of order, in milliseconds of event time.
pub const DISORDER_MS: i64 = 3000;

const SYMBOLS: [(&str, i64); 8] = [
    ("AAPL", 19_000),
    ("AMZN", 18_500),
    ("GOOG", 17_000),
    ("IBM", 18_800),
    ("META", 50_000),
    ("MSFT", 42_000),
    ("NVDA", 12_000),
    ("TSLA", 24_000),
];

/// One trade, as it is written.
#[derive(Clone, Debug, Serialize)]
pub struct Trade {
    /// Counts from 0.
    pub trade_id: u64,
    /// What was traded.
    pub symbol: &'static str,
    /// Dollars, a multiple of a cent.
    pub price: f64,
    /// Shares.
    pub quantity: i64,
    /// Milliseconds since 1970 UTC.
    pub event_time: i64,
}

/// Makes trades; the same seed makes the same ones.
pub struct Market {
    rng: u64,
    cents: [i64; SYMBOLS.len()],
    made: u64,
}

impl Market {
    /// A market whose walk is chosen by the seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: seed | 1, cents: SYMBOLS.map(|(_, cents)| cents), made: 0 }
    }

    /// The next trade around the moment `now_ms` of event time.
    pub fn trade(&mut self, now_ms: i64) -> Trade {
        let which = self.below(SYMBOLS.len() as u64) as usize;
        let step = self.below(21) as i64 - 10;
        let cents = (self.cents[which] + step).max(100);
        self.cents[which] = cents;
        let trade = Trade {
            trade_id: self.made,
            symbol: SYMBOLS[which].0,
            price: cents as f64 / 100.0,
            quantity: 1 + self.below(500) as i64,
            event_time: now_ms - self.below(DISORDER_MS as u64) as i64,
        };
        self.made += 1;
        trade
    }

    /// SplitMix64, cut to a range; its bias is far below what a demo shows.
    fn below(&mut self, limit: u64) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.rng;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
