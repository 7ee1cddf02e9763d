use super::*;
use laminar_core::connector::Fault;
use laminar_core::ids::CheckpointNumber;

const AT: CheckpointNumber = CheckpointNumber(7);

fn record(text: &str) -> FrameRecord {
    FrameRecord { key: None, value: Some(text.as_bytes().to_vec()), timestamp_ms: None }
}

fn content(broker: &Broker) -> Vec<String> {
    let text = |record: FrameRecord| String::from_utf8(record.value.unwrap()).unwrap();
    broker.committed("out").into_iter().map(text).collect()
}

#[test]
fn a_fenced_epoch_writes_nothing() {
    let broker = Broker::new(1);
    let old = broker.init("w").unwrap();
    let new = broker.init("w").unwrap();
    let refused = broker.transact(("w", old), "out", &[record("a")], AT).unwrap_err();
    assert_eq!(refused.fault, Fault::Fenced);
    broker.transact(("w", new), "out", &[record("b")], AT).unwrap();
    assert_eq!(content(&broker), ["b"]);
    assert_eq!(broker.marker("w").unwrap(), Some(AT));
}

#[test]
fn a_late_end_commits_unless_a_newer_epoch_came_first() {
    for fenced in [false, true] {
        let broker = Broker::new(1);
        let epoch = broker.init("w").unwrap();
        broker.next_fate(Fate::Late(Some(1000)));
        broker.transact(("w", epoch), "out", &[record("a")], AT).unwrap_err();
        assert!(broker.marker("w").is_err(), "an open transaction is waited for");
        broker.tick(999);
        assert!(content(&broker).is_empty());
        if fenced {
            broker.init("w").unwrap();
        }
        broker.tick(1000);
        assert_eq!(content(&broker).len(), usize::from(!fenced));
        assert_eq!(broker.marker("w").unwrap(), (!fenced).then_some(AT));
    }
}

#[test]
fn an_open_transaction_hides_what_stands_behind_it_until_it_is_given_up() {
    let broker = Broker::new(1);
    let epoch = broker.init("w").unwrap();
    broker.next_fate(Fate::Late(None));
    broker.transact(("w", epoch), "out", &[record("a")], AT).unwrap_err();
    broker.append("out", &[record("b")]).unwrap();
    assert!(content(&broker).is_empty());
    broker.tick(60_000_000);
    assert_eq!(content(&broker), ["b"]);
}

#[test]
fn a_lost_answer_leaves_the_records_and_an_outage_refuses_all() {
    let broker = Broker::new(1);
    broker.next_fate(Fate::AnswerLost);
    broker.append("out", &[record("a")]).unwrap_err();
    assert_eq!(content(&broker), ["a"]);
    broker.away_for(10);
    assert!(broker.init("w").is_err() && broker.append("out", &[record("b")]).is_err());
    broker.tick(10);
    assert_eq!(broker.init("w").unwrap(), 1);
}
