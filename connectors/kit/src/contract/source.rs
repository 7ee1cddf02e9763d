//! What every source promises: replay, pause, restart in the middle, end.

use laminar_core::connector::{Source, SplitKey, StartFrom};

use super::collect::{Collected, Item, drain, drain_from};

/// Proves a source over data that does not change meanwhile. `make` gives a fresh source each time;
/// `expected` is the number of items of each split; `bounded` says whether splits end.
///
/// # Panics
/// On the first broken promise, saying which.
pub fn source(make: &mut dyn FnMut() -> Box<dyn Source>, expected: &[usize], bounded: bool) {
    let splits = splits_of(make);
    assert_eq!(splits.len(), expected.len(), "the splits are the expected ones: {splits:?}");
    assert_eq!(splits, splits_of(make), "splits come in a stable order");
    for (split, &wanted) in splits.iter().zip(expected) {
        let whole = drain(make().as_mut(), split, StartFrom::Beginning, target(wanted, bounded), 1000);
        assert_eq!(whole.items.len(), wanted, "split {split:?} delivers all that it has");
        assert_eq!(whole.ended, bounded, "a split ends if and only if it is bounded");
        let offsets = whole.items.windows(2).all(|pair| pair[0].offset < pair[1].offset);
        assert!(offsets, "offsets of a split grow");
        replay(make, split, &whole, bounded);
        restart(make, split, &whole.items, bounded);
    }
    unknown_split(make);
}

/// A bounded split is read until it says that it is over, an unbounded one until all that exists came.
fn target(wanted: usize, bounded: bool) -> usize {
    if bounded { usize::MAX } else { wanted }
}

fn splits_of(make: &mut dyn FnMut() -> Box<dyn Source>) -> Vec<SplitKey> {
    match make().splits() {
        Ok(splits) => splits,
        Err(error) => panic!("splits can be listed: {error}"),
    }
}

/// However small the polls, the same items come.
fn replay(make: &mut dyn FnMut() -> Box<dyn Source>, split: &SplitKey, whole: &Collected, bounded: bool) {
    let wanted = target(whole.items.len(), bounded);
    for records in [1, 7] {
        let again = drain(make().as_mut(), split, StartFrom::Beginning, wanted, records);
        assert!(again.items == whole.items, "reading again in polls of {records} delivers the same");
    }
}

/// A reader opened at any position goes on with exactly what follows.
fn restart(make: &mut dyn FnMut() -> Box<dyn Source>, split: &SplitKey, whole: &[Item], bounded: bool) {
    let single = drain(make().as_mut(), split, StartFrom::Beginning, target(whole.len(), bounded), 1);
    let step = (single.positions.len() / 12).max(1);
    let sampled = single.positions.iter().step_by(step).chain(single.positions.last());
    for (done, position) in sampled {
        let rest = drain_from(make().as_mut(), split, position, target(whole.len() - done, bounded), 5);
        assert!(rest.items == whole[*done..], "opened behind item {done}, the following items come, each once");
        assert_eq!(rest.ended, bounded, "a reopened split ends as a fresh one does");
        assert_eq!(&rest.positions[0].1, position, "a reader opened at a position says that position");
    }
}

fn unknown_split(make: &mut dyn FnMut() -> Box<dyn Source>) {
    struct Deaf;
    impl laminar_core::connector::Wake for Deaf {
        fn wake(&self) {}
    }
    let name = SplitKey("no such split".to_string());
    let opened = make().open(&name, StartFrom::Beginning, std::sync::Arc::new(Deaf));
    assert!(opened.is_err(), "a split that does not exist is refused");
}
