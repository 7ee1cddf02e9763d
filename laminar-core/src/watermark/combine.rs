//! The minimum of several watermarks, idle ones left out.

use crate::data::EventTime;

#[derive(Clone, Copy, Debug)]
struct Input {
    watermark: EventTime,
    idle: bool,
}

/// Combines the watermarks of inputs (splits of a source, lanes of an exchange, inputs of an operator).
///
/// Invariant: the combined watermark never goes back; while all inputs are idle it stands still.
#[derive(Clone, Debug, Default)]
pub struct Combine {
    inputs: Vec<Input>,
    combined: Option<EventTime>,
}

impl Combine {
    /// A combination of `inputs`, none of which has a watermark yet.
    pub fn new(inputs: usize) -> Self {
        Self { inputs: vec![Input { watermark: EventTime::MIN, idle: false }; inputs], combined: None }
    }

    /// Adds an input (a new partition) and returns its index. It holds time back until it has a watermark.
    pub fn add(&mut self) -> usize {
        self.inputs.push(Input { watermark: EventTime::MIN, idle: false });
        self.inputs.len() - 1
    }

    /// Number of inputs.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there is no input.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Takes an input's watermark (an older one is ignored); the input is active again. Returns the
    /// combined watermark if it moved.
    pub fn set(&mut self, input: usize, watermark: EventTime) -> Option<EventTime> {
        let input = &mut self.inputs[input];
        input.watermark = input.watermark.max(watermark);
        input.idle = false;
        self.advance()
    }

    /// Leaves an input out until its next watermark. Returns the combined watermark if it moved.
    pub fn set_idle(&mut self, input: usize) -> Option<EventTime> {
        self.inputs[input].idle = true;
        self.advance()
    }

    /// The combined watermark.
    pub fn value(&self) -> EventTime {
        self.combined.unwrap_or(EventTime::MIN)
    }

    /// The watermark of one input.
    pub fn input(&self, input: usize) -> EventTime {
        self.inputs[input].watermark
    }

    /// Whether an input is left out.
    pub fn is_idle(&self, input: usize) -> bool {
        self.inputs[input].idle
    }

    /// The minimum over all inputs but one: what rows of that one are judged by beside their own.
    /// [`EventTime::MAX`] when there is no other active input.
    pub fn others(&self, input: usize) -> EventTime {
        let others = self.inputs.iter().enumerate().filter(|(at, other)| *at != input && !other.idle);
        others.map(|(_, other)| other.watermark).min().unwrap_or(EventTime::MAX)
    }

    fn advance(&mut self) -> Option<EventTime> {
        let least = self.inputs.iter().filter(|input| !input.idle).map(|input| input.watermark).min()?;
        if least > self.value() {
            self.combined = Some(least);
            return Some(least);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_active_input_holds_time_and_an_idle_one_does_not() {
        let mut combine = Combine::new(3);
        assert_eq!(combine.set(0, EventTime(10)), None);
        assert_eq!(combine.set(1, EventTime(20)), None);
        assert_eq!(combine.set_idle(2), Some(EventTime(10)));
        assert_eq!(combine.others(0), EventTime(20));
        assert_eq!(combine.set(2, EventTime(5)), None, "a returning input cannot turn time back");
        assert_eq!(combine.value(), EventTime(10));
        assert_eq!(combine.set(2, EventTime(30)), None);
        assert_eq!(combine.set(0, EventTime(40)), Some(EventTime(20)));
    }

    #[test]
    fn time_stands_still_while_all_are_idle() {
        let mut combine = Combine::new(2);
        combine.set(0, EventTime(7));
        combine.set(1, EventTime(9));
        assert_eq!(combine.set_idle(0), Some(EventTime(9)));
        assert_eq!(combine.set_idle(1), None);
        assert_eq!(combine.value(), EventTime(9));
    }
}
