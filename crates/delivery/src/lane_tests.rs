//! What a lane lets begin, what it lets wait, and what it sends away.

use super::*;

const RULES: Rules = Rules {
    most_in_flight: 64,
    most_waiting: 512,
    rate: None,
    circuit: Limits { failures: 3, window: Duration::from_secs(10) },
};

fn run(lane: &mut Lane<u32>, count: usize, took: Duration, ending: Ending, now: &mut Instant) {
    for _ in 0..count {
        let ticket = lane.begin(*now, RULES).unwrap();
        *now += took;
        lane.end(ticket, ending.into(), *now, RULES);
    }
}

fn busy(pause: Duration) -> End {
    End { pause: Some(pause), ..Ending::Busy.into() }
}

fn concurrency(lane: &mut Lane<u32>, now: Instant) -> usize {
    std::iter::from_fn(|| lane.begin(now, RULES)).count()
}

#[test]
fn a_receiver_that_answers_soon_gets_all_it_may_have() {
    let (mut lane, mut now) = (Lane::new(), Instant::now());
    run(&mut lane, 100, Duration::from_millis(1), Ending::Taken, &mut now);
    assert!(lane.is_trusted());
    assert_eq!(concurrency(&mut lane, now), 64);
    assert_eq!(lane.capacity(now, RULES), 512);
}

#[test]
fn a_receiver_that_hangs_is_left_with_one_slot_and_next_to_no_queue() {
    let (mut lane, mut now) = (Lane::new(), Instant::now());
    let rules = Rules { circuit: Limits { failures: 1000, ..RULES.circuit }, ..RULES };
    for _ in 0..8 {
        let ticket = lane.begin(now, rules).unwrap();
        now += Duration::from_secs(10);
        lane.end(ticket, Ending::Overwhelmed.into(), now, rules);
    }
    assert!(!lane.is_trusted());
    assert_eq!(concurrency(&mut lane, now), 1);
    assert_eq!(lane.capacity(now, RULES), 1);
}

#[test]
fn a_lane_that_has_begun_to_hang_is_trimmed_before_its_first_time_out() {
    let (mut lane, now) = (Lane::new(), Instant::now());
    assert_eq!(concurrency(&mut lane, now), 8);
    for job in 0..500 {
        lane.wait(job, job >= 250);
    }
    assert!(lane.trim(now + Duration::from_millis(1), RULES).is_empty());
    let later = now + Duration::from_secs(4);
    let out = lane.trim(later, RULES);
    assert_eq!(out.len(), 496);
    assert_eq!(out[0], 250, "late ones go first");
    assert_eq!(lane.next(), Some(0));
}

#[test]
fn refused_deliveries_stand_in_line() {
    let (mut lane, mut now) = (Lane::<u32>::new(), Instant::now());
    run(&mut lane, 2, Duration::from_secs(10), Ending::Overwhelmed, &mut now);
    let waits: Vec<_> = (0..200).map(|_| lane.line_up(now, RULES)).collect();
    assert_eq!(waits[0], SHORTEST_WAIT);
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
    assert!(waits[199] <= LONGEST_WAIT + SHORTEST_WAIT);
}

#[test]
fn what_an_open_circuit_refuses_stands_close_behind_the_next_probe() {
    let (mut lane, mut now) = (Lane::<u32>::new(), Instant::now());
    run(&mut lane, 2, Duration::from_secs(10), Ending::Overwhelmed, &mut now);
    let ticket = lane.begin(now, RULES).unwrap();
    now += Duration::from_secs(10);
    lane.line_up(now, RULES);
    assert!(lane.end(ticket, Ending::Overwhelmed.into(), now, RULES).is_some());
    let waits: Vec<_> = (0..100).map(|_| lane.line_up(now, RULES)).collect();
    assert_eq!(waits[0], crate::circuit::FIRST_PAUSE, "the line begins anew");
    assert_eq!(waits[99], waits[0] + SHUT_STEP * 99);
}

#[test]
fn a_test_that_fails_says_nothing_about_the_receiver_and_one_that_succeeds_closes_the_circuit() {
    let (mut lane, mut now) = (Lane::<u32>::new(), Instant::now());
    let test = |ending: Ending| End { test: true, ..ending.into() };
    let failures = [Ending::Answered, Ending::Failing, Ending::Busy, Ending::Overwhelmed, Ending::Unsent];
    for ending in failures.into_iter().cycle().take(50) {
        let ticket = lane.begin_at_once(now);
        now += Duration::from_secs(5);
        assert_eq!(lane.end(ticket, test(ending), now, RULES), None);
    }
    assert_eq!(lane.gate(now), Gate::Free);
    run(&mut lane, 2, Duration::from_secs(5), Ending::Failing, &mut now);
    let ticket = lane.begin(now, RULES).unwrap();
    now += Duration::from_secs(5);
    assert!(lane.end(ticket, Ending::Failing.into(), now, RULES).is_some());
    for ending in failures {
        let ticket = lane.begin_at_once(now);
        assert_eq!(lane.end(ticket, test(ending), now, RULES), None);
        assert!(lane.is_open());
    }
    let ticket = lane.begin_at_once(now);
    assert_eq!(lane.end(ticket, test(Ending::Taken), now, RULES), Some(Change::Recovered));
}

#[test]
fn an_attempt_that_never_left_says_nothing_about_the_receiver() {
    let (mut lane, mut now) = (Lane::<u32>::new(), Instant::now());
    run(&mut lane, 2, Duration::from_secs(5), Ending::Failing, &mut now);
    run(&mut lane, 20, Duration::from_secs(5), Ending::Unsent, &mut now);
    assert_eq!(lane.gate(now), Gate::Free);
    let ticket = lane.begin(now, RULES).unwrap();
    assert!(lane.end(ticket, Ending::Failing.into(), now, RULES).is_some(), "the failures before it still count");
}

#[test]
fn what_is_late_leaves_the_room_to_what_is_live() {
    let (mut lane, mut now) = (Lane::new(), Instant::now());
    run(&mut lane, 8, Duration::from_millis(200), Ending::Taken, &mut now);
    let fill = |lane: &mut Lane<u32>, late| {
        let before = lane.held();
        while lane.has_room(late, now, RULES) {
            lane.wait(0, late);
        }
        lane.held() - before
    };
    assert_eq!(fill(&mut lane, true), lane.capacity(now, RULES));
    assert_eq!(fill(&mut lane, true), 0);
    assert_eq!(fill(&mut lane, false), lane.capacity(now, RULES));
    assert_eq!(lane.trim(now, RULES).len(), lane.capacity(now, RULES));
    assert_eq!(lane.late.len(), 0, "late ones go back for them");
}

#[test]
fn a_receiver_that_asks_for_a_pause_is_left_alone() {
    let (mut lane, now) = (Lane::<u32>::new(), Instant::now());
    let ticket = lane.begin(now, RULES).unwrap();
    lane.wait(1, false);
    assert_eq!(lane.end(ticket, busy(Duration::from_secs(90)), now, RULES), None);
    assert_eq!(lane.begin(now, RULES), None);
    assert!(!lane.has_room(false, now, RULES));
    assert_eq!(lane.trim(now, RULES), [1], "what waits goes back");
    assert_eq!(lane.line_up(now, RULES), Duration::from_secs(90));
    assert!(lane.begin(now + Duration::from_secs(90), RULES).is_some());

    let mut hostile = Lane::<u32>::new();
    let ticket = hostile.begin(now, RULES).unwrap();
    hostile.end(ticket, busy(Duration::from_secs(u64::MAX / 4)), now, RULES);
    assert_eq!(hostile.gate(now), Gate::Shut(now + LONGEST_PAUSE), "the lane waits a quarter of an hour at most");
}

#[test]
fn an_open_circuit_lets_one_probe_through_and_a_success_begins_gently() {
    let (mut lane, mut now) = (Lane::<u32>::new(), Instant::now());
    run(&mut lane, 2, Duration::from_secs(5), Ending::Failing, &mut now);
    let ticket = lane.begin(now, RULES).unwrap();
    now += Duration::from_secs(5);
    assert!(matches!(lane.end(ticket, Ending::Overwhelmed.into(), now, RULES), Some(Change::Opened(_))));
    assert_eq!((lane.begin(now, RULES), lane.has_room(false, now, RULES)), (None, false));
    now += Duration::from_secs(5);
    assert_eq!(lane.gate(now), Gate::Probe);
    let probe = lane.begin_probe(now);
    assert!(matches!(lane.gate(now), Gate::Shut(_)), "one at a time");
    assert_eq!(lane.end(probe, Ending::Taken.into(), now, RULES), Some(Change::Recovered));
    assert_eq!(concurrency(&mut lane, now), 1, "it begins with one");
}

#[test]
fn a_probe_that_another_process_has_is_given_back() {
    let (mut lane, mut now) = (Lane::<u32>::new(), Instant::now());
    run(&mut lane, 2, Duration::from_secs(5), Ending::Failing, &mut now);
    let ticket = lane.begin(now, RULES).unwrap();
    now += Duration::from_secs(5);
    lane.end(ticket, Ending::Failing.into(), now, RULES);
    now += Duration::from_secs(5);
    let probe = lane.begin_probe(now);
    let later = now + Duration::from_mins(1);
    lane.end_probe(probe, Some(later));
    assert_eq!((lane.held(), lane.gate(now)), (0, Gate::Shut(later)));
    let probe = lane.begin_probe(later);
    lane.end_probe(probe, None);
    assert_eq!((lane.held(), lane.gate(later)), (1, Gate::Free), "it goes on as an attempt like any other");
}

#[test]
fn what_is_live_goes_first_and_late_ones_do_not_starve() {
    let mut lane = Lane::new();
    for job in 0..40 {
        lane.wait(job, job >= 20);
    }
    let order: Vec<u32> = std::iter::from_fn(|| lane.next()).collect();
    assert_eq!(order.len(), 40);
    assert_eq!(order[..7], [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(order[7], 20, "every eighth is a late one");
    assert_eq!(order[..22].iter().filter(|job| **job >= 20).count(), 2, "not more than that");
}

#[test]
fn a_webhook_with_a_pace_of_its_own_begins_what_it_was_granted() {
    let (mut lane, now) = (Lane::<u32>::new(), Instant::now());
    let rules = Rules { rate: Some(5), ..RULES };
    assert_eq!(lane.begin(now, rules), None);
    lane.wait(1, false);
    lane.wait(2, false);
    assert_eq!(lane.wants(now, rules), 2);
    assert_eq!(lane.wants(now, Rules { most_in_flight: 1, ..rules }), 1, "no more than can begin");
    lane.grant(1);
    assert!(lane.begin(now, rules).is_some());
    assert_eq!(lane.begin(now, rules), None);
    assert_eq!(lane.capacity(now, rules), 10, "two seconds' worth");
    let waits: Vec<_> = (0..5).map(|_| lane.line_up(now, rules)).collect();
    assert!(waits.windows(2).all(|pair| pair[1] >= pair[0] + Duration::from_millis(200)));
    let ticket = lane.begin_at_once(now);
    lane.end(ticket, Ending::Taken.into(), now, rules);
    assert!(lane.line_up(now, rules) > waits[4], "a success does not shorten its line");
}
