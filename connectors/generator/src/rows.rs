//! The rows themselves: a pure function of options, split and row number.

use std::fmt::Write as _;

use laminar_connector_kit::{ConnectorError, Options};

use crate::options::GeneratorOptions;
use crate::random::Draw;

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Trades of a market.
    Trades,
    /// Keys and values.
    Sequence,
}

/// Who took the initiative of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The buyer.
    Buy,
    /// The seller.
    Sell,
}

impl Side {
    /// As written in rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// One trade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trade {
    /// Number over all splits, from 0.
    pub id: u64,
    /// Index of the symbol, see [`Rows::symbol`].
    pub symbol: u64,
    /// Price in hundredths.
    pub price_cents: i64,
    /// Pieces.
    pub qty: i64,
    /// Who took the initiative.
    pub side: Side,
    /// Index of the venue, see [`Rows::venue`].
    pub venue: usize,
    /// Event time in microseconds since 1970 UTC.
    pub ts_us: i64,
}

/// One key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Event time in microseconds since 1970 UTC.
    pub ts_us: i64,
    /// Key, from 0.
    pub k: i64,
    /// Value, 0 to 999.
    pub v: i64,
}

const VENUES: [&str; 4] = ["XNAS", "XNYS", "BATS", "ARCX"];

const TICKERS: [&str; 20] = [
    "AAPL", "MSFT", "NVDA", "AMZN", "GOOG", "META", "TSLA", "AVGO", "LLY", "JPM", "V", "XOM", "UNH", "MA", "COST",
    "HD", "PG", "NFLX", "ORCL", "AMD",
];

/// Purposes of random numbers; each has its own stream.
mod purpose {
    pub const KEY: u64 = 1;
    pub const PRICE: u64 = 2;
    pub const SIZE: u64 = 3;
    pub const SIDE: u64 = 4;
    pub const VENUE: u64 = 5;
    pub const DISORDER: u64 = 6;
    pub const LATE: u64 = 7;
    pub const BASE: u64 = 8;
}

/// Makes rows.
#[derive(Clone, Debug)]
pub struct Rows {
    kind: Kind,
    seed: u64,
    splits: u64,
    total: Option<u64>,
    start_us: i64,
    /// Nanoseconds of event time per row over all splits.
    step_ns: u64,
    disorder_us: u64,
    late_ratio: f64,
    late_us: i64,
    keys: u64,
    zipf: bool,
    symbols: Vec<String>,
}

impl Rows {
    /// Rows as the options say.
    ///
    /// # Errors
    /// Those of [`GeneratorOptions::read`].
    pub fn from_options(given: &Options) -> Result<Self, ConnectorError> {
        GeneratorOptions::read(given).map(|options| Self::new(&options))
    }

    /// Rows as the (checked) options say.
    pub fn new(options: &GeneratorOptions) -> Self {
        let kind = if options.kind == "sequence" { Kind::Sequence } else { Kind::Trades };
        let by_clock = if options.rate > 0.0 { options.rate / options.speed } else { 50_000.0 };
        let keys = options.keys.unwrap_or(if kind == Kind::Trades { TICKERS.len() as u64 } else { 10_000 });
        let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4);
        Self {
            kind,
            seed: options.seed,
            splits: u64::from(options.splits),
            total: options.rows,
            start_us: options.start_us().unwrap_or(0),
            step_ns: ((1e9 / options.event_rate.unwrap_or(by_clock)).round() as u64).max(1),
            disorder_us: micros(options.disorder).unsigned_abs(),
            late_ratio: options.late_ratio,
            late_us: micros(options.late_by),
            keys,
            zipf: options.distribution == "zipf",
            // Beyond this many, names are made when they are written.
            symbols: if kind == Kind::Trades { (0..keys.min(10_000)).map(ticker).collect() } else { Vec::new() },
        }
    }

    /// What is made.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of splits.
    pub fn splits(&self) -> u64 {
        self.splits
    }

    /// Rows of a split; none = endless. Rows go to the splits in turn.
    pub fn rows_of(&self, split: u64) -> Option<u64> {
        self.total.map(|total| total.saturating_sub(split).div_ceil(self.splits))
    }

    /// One trade.
    #[inline]
    pub fn trade(&self, split: u64, row: u64) -> Trade {
        let draw = Draw::new(self.seed, split, row);
        let id = row.wrapping_mul(self.splits).wrapping_add(split);
        let symbol = self.key(draw);
        Trade {
            id,
            symbol,
            price_cents: self.price_cents(symbol, id, draw),
            // Small sizes are frequent: 1 to 1000 by Zipf's law.
            qty: draw.zipf(purpose::SIZE, 1000) as i64 + 1,
            side: if draw.bits(purpose::SIDE) & 1 == 0 { Side::Buy } else { Side::Sell },
            venue: draw.below(purpose::VENUE, VENUES.len() as u64) as usize,
            ts_us: self.time_us(id, draw),
        }
    }

    /// One key and value.
    #[inline]
    pub fn sample(&self, split: u64, row: u64) -> Sample {
        let draw = Draw::new(self.seed, split, row);
        let number = row.wrapping_mul(self.splits).wrapping_add(split);
        Sample {
            ts_us: self.time_us(number, draw),
            k: self.key(draw) as i64,
            v: draw.below(purpose::PRICE, 1000) as i64,
        }
    }

    /// A symbol's name.
    pub fn symbol(&self, index: u64) -> std::borrow::Cow<'_, str> {
        match self.symbols.get(index as usize) {
            Some(name) => std::borrow::Cow::Borrowed(name),
            None => std::borrow::Cow::Owned(ticker(index)),
        }
    }

    /// A venue's name.
    pub fn venue(index: usize) -> &'static str {
        VENUES[index % VENUES.len()]
    }

    #[inline]
    fn key(&self, draw: Draw) -> u64 {
        if self.zipf { draw.zipf(purpose::KEY, self.keys) } else { draw.below(purpose::KEY, self.keys) }
    }

    /// Microseconds of event time between row 0 and a row.
    #[inline]
    fn micros_of(&self, number: u64) -> u64 {
        (u128::from(number) * u128::from(self.step_ns) / 1000) as u64
    }

    /// Event time: the row's place on the even grid, moved backwards by disorder or lateness.
    #[inline]
    fn time_us(&self, number: u64, draw: Draw) -> i64 {
        let on_grid = self.start_us.saturating_add(self.micros_of(number) as i64);
        if self.late_ratio > 0.0 && draw.unit(purpose::LATE) < self.late_ratio {
            return on_grid.saturating_sub(self.late_us);
        }
        if self.disorder_us == 0 {
            return on_grid;
        }
        on_grid.saturating_sub(draw.below(purpose::DISORDER, self.disorder_us + 1) as i64)
    }

    /// A price that swings around the symbol's own level by ±3 % with a little noise: two triangle
    /// waves, so that any row can be made without the rows before it.
    fn price_cents(&self, symbol: u64, number: u64, draw: Draw) -> i64 {
        let of_symbol = Draw::new(self.seed, u64::MAX, symbol);
        let level = 2_000 + of_symbol.below(purpose::BASE, 60_000) as i64;
        let shift = of_symbol.below(purpose::PRICE, 1 << 20);
        let seconds = self.micros_of(number) / 1_000_000;
        let slow = triangle(seconds.wrapping_add(shift), 7_200);
        let fast = triangle(seconds.wrapping_mul(7).wrapping_add(shift), 1_800);
        let noise = draw.below(purpose::PRICE, 201) as i64 - 100;
        let swing = slow * 2 + fast + noise;
        (level + level * swing / 100_000).max(1)
    }
}

/// A triangle wave from −1000 to 1000.
fn triangle(at: u64, period: u64) -> i64 {
    let phase = (at % period) as i64;
    let half = (period / 2) as i64;
    let rising = if phase < half { phase } else { 2 * half - phase };
    rising * 2000 / half - 1000
}

fn ticker(index: u64) -> String {
    match TICKERS.get(index as usize) {
        Some(name) => (*name).to_string(),
        None => {
            let mut name = String::new();
            // Writing to a String cannot fail.
            let _ = write!(name, "SYM{index}");
            name
        }
    }
}
