use super::*;
use crate::data::EventTime;

#[test]
fn ring_returns_values_in_order_and_refuses_when_full() {
    let (mut put, mut take) = ring::<u32>(4);
    for value in 0..4 {
        assert_eq!(put.push(value), Ok(()));
    }
    assert_eq!(put.push(4), Err(4));
    assert_eq!(take.pop(), Some(0));
    assert_eq!(put.push(4), Ok(()));
    assert_eq!(std::iter::from_fn(|| take.pop()).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn ring_drops_what_nobody_took() {
    let value = std::sync::Arc::new(());
    let (mut put, take) = ring(4);
    put.push(value.clone()).unwrap();
    drop(take);
    put.push(value.clone()).unwrap();
    drop(put);
    assert_eq!(std::sync::Arc::strong_count(&value), 1);
}

#[test]
fn ring_carries_a_million_values_between_threads() {
    let (mut put, mut take) = ring::<u64>(64);
    let producer = std::thread::spawn(move || {
        for value in 0..1_000_000 {
            let mut waiting = value;
            while let Err(back) = put.push(waiting) {
                waiting = back;
                std::thread::yield_now();
            }
        }
    });
    let mut expected = 0;
    while expected < 1_000_000 {
        match take.pop() {
            Some(value) => {
                assert_eq!(value, expected);
                expected += 1;
            }
            None => std::thread::yield_now(),
        }
    }
    producer.join().unwrap();
}

#[test]
fn an_idle_input_does_not_hold_time_back_and_all_idle_is_idle() {
    let at = |t| Mark::At(EventTime(t));
    assert_eq!(Mark::over([at(5), Mark::Idle, at(7)]), at(5));
    assert_eq!(Mark::over([Mark::Idle, Mark::Idle]), Mark::Idle);
}
