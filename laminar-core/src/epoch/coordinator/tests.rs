use super::*;

const PACE: Pace = Pace { epoch_interval: 20_000, checkpoint_interval: Some(1_000_000), epoch_timeout: 10_000_000 };

fn coordinator(reactors: u16) -> Coordinator {
    Coordinator::new(Incarnation(3), CheckpointNumber(7), (0..reactors).map(ReactorId).collect(), PACE)
}

fn injected(action: Action) -> Barrier {
    match action {
        Action::Inject(barrier) => barrier,
        other => panic!("expected a barrier, got {other:?}"),
    }
}

#[test]
fn an_idle_engine_gets_no_barrier() {
    assert_eq!(coordinator(2).poll(60_000_000), Action::Wait(None));
}

#[test]
fn an_epoch_is_complete_only_when_every_reactor_reported() {
    let mut c = coordinator(2);
    c.data_flows();
    let barrier = injected(c.poll(30_000));
    assert_eq!(barrier.epoch, Epoch { incarnation: Incarnation(3), number: 1 });
    assert_eq!(c.passed(ReactorId(0), barrier.epoch, 30_100), None);
    assert_eq!(c.passed(ReactorId(0), barrier.epoch, 30_100), None, "the same reactor twice");
    assert_eq!(c.passed(ReactorId(1), barrier.epoch, 30_400), Some(barrier));
    assert_eq!(c.completed(), barrier.epoch);
}

#[test]
fn the_interval_grows_with_the_cost_of_barriers() {
    let mut c = coordinator(1);
    c.data_flows();
    let first = injected(c.poll(20_000));
    c.passed(ReactorId(0), first.epoch, 21_000);
    c.data_flows();
    assert_eq!(c.poll(40_001), Action::Wait(Some(20_000 + 50_000)));
    injected(c.poll(70_000));
}

#[test]
fn a_barrier_that_took_seconds_does_not_hide_results_for_minutes() {
    let mut c = coordinator(1);
    c.data_flows();
    let barrier = injected(c.poll(20_000));
    c.passed(ReactorId(0), barrier.epoch, 5_020_000);
    c.data_flows();
    injected(c.poll(5_020_000));
}

#[test]
fn no_second_checkpoint_begins_while_one_is_written_but_epochs_go_on() {
    let mut c = coordinator(1);
    c.want(Wanted::Checkpoint);
    let first = injected(c.poll(0));
    assert_eq!(first.checkpoint, Some(CheckpointNumber(8)));
    c.passed(ReactorId(0), first.epoch, 1);
    c.data_flows();
    c.want(Wanted::Checkpoint);
    let second = injected(c.poll(2_000_000));
    assert_eq!(second.checkpoint, None);
    c.passed(ReactorId(0), second.epoch, 2_000_001);
    assert_eq!(c.stored(ReactorId(0), first.epoch), Some(first));
    c.published();
    assert_eq!(injected(c.poll(2_000_002)).checkpoint, Some(CheckpointNumber(9)));
}

#[test]
fn a_stuck_epoch_is_reported_once() {
    let mut c = coordinator(1);
    c.want(Wanted::Epoch);
    let barrier = injected(c.poll(0));
    assert_eq!(c.poll(10_000_000), Action::Stuck(barrier));
    assert_eq!(c.poll(20_000_000), Action::Wait(None));
}

#[test]
fn an_epoch_that_somebody_waits_for_does_not_wait_for_a_checkpoint_that_is_written() {
    let mut c = coordinator(1);
    c.want(Wanted::Checkpoint);
    let first = injected(c.poll(0));
    c.passed(ReactorId(0), first.epoch, 1);
    c.want(Wanted::Checkpoint);
    assert_eq!(c.poll(2), Action::Wait(None), "a second checkpoint has to wait");
    let wanted = c.want(Wanted::Epoch);
    let epoch = injected(c.poll(3));
    assert_eq!((epoch.epoch, epoch.checkpoint), (wanted, None));
    c.passed(ReactorId(0), epoch.epoch, 4);
    c.stored(ReactorId(0), first.epoch);
    c.published();
    assert_eq!(injected(c.poll(5)).checkpoint, Some(CheckpointNumber(9)), "and it is not forgotten");
}
