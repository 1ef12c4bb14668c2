//! Each breach of a promise is told by its own figure.

use super::*;

/// Events 0 to 3 are sent, 0 to 2 are acknowledged.
fn book(webhooks: usize) -> Ledger {
    let ledger = Ledger::new(8, webhooks);
    for event in 0..4 {
        ledger.sent(event, Instant::now());
        if event < 3 {
            ledger.acked(event, Instant::now());
        }
    }
    ledger
}

fn copy(webhook: usize, event: u64) -> Delivery<'static> {
    Delivery { webhook: Some(webhook), event: Some(event), message: b"id", intact: true, at: Instant::now() }
}

#[test]
fn a_kept_promise_has_no_blemish() {
    let ledger = book(2);
    for event in 0..3 {
        ledger.delivered(&copy(0, event));
        ledger.delivered(&copy(1, event));
    }
    let verdict = ledger.check(0..8);
    assert_eq!(verdict, Verdict { attempted: 4, acked: 3, delivered: 6, ..Verdict::default() });
    assert!(verdict.is_kept());
    assert_eq!((ledger.ack_times(0..8).len(), ledger.delivery_times(0..8).len()), (3, 6));
    assert!(ledger.delivering_lasted(0..8) >= ledger.acking_lasted(0..8));
}

#[test]
fn what_was_acknowledged_and_did_not_come_is_lost() {
    let ledger = book(2);
    ledger.delivered(&copy(0, 0));
    let verdict = ledger.check(0..8);
    assert_eq!((verdict.delivered, verdict.lost), (1, 5));
    assert!(!verdict.is_kept());
    assert_eq!(ledger.check(1..2).lost, 2);
}

#[test]
fn a_repeat_is_a_duplicate_and_one_with_another_id_is_worse() {
    let ledger = book(1);
    for event in 0..3 {
        ledger.delivered(&copy(0, event));
    }
    ledger.delivered(&copy(0, 1));
    assert_eq!(ledger.check(0..8).duplicated, 1);
    assert!(ledger.check(0..8).is_kept());
    ledger.delivered(&Delivery { message: b"another", ..copy(0, 1) });
    assert_eq!((ledger.check(0..8).duplicated, ledger.check(0..8).relabelled), (2, 1));
    assert!(!ledger.check(0..8).is_kept());
}

#[test]
fn what_nobody_sent_or_nobody_owed_is_unexpected() {
    let ledger = book(1);
    ledger.waive(2);
    let nowhere = Delivery { webhook: None, ..copy(0, 0) };
    let numberless = Delivery { event: None, ..copy(0, 0) };
    for delivery in [copy(0, 5), copy(0, 900), copy(1, 0), copy(0, 2), nowhere, numberless] {
        ledger.delivered(&delivery);
    }
    let verdict = ledger.check(0..8);
    assert_eq!((verdict.unexpected, verdict.delivered), (6, 0));
    assert_eq!(verdict.lost, 2, "what is owed to nobody cannot be lost");
}

#[test]
fn a_changed_delivery_is_corrupt_and_does_not_count() {
    let ledger = book(1);
    ledger.delivered(&Delivery { intact: false, ..copy(0, 0) });
    let verdict = ledger.check(0..8);
    assert_eq!((verdict.corrupt, verdict.delivered, verdict.lost), (1, 0, 3));
}

#[test]
fn what_came_without_being_acknowledged_is_recovered() {
    let ledger = book(1);
    ledger.delivered(&copy(0, 3));
    let verdict = ledger.check(0..8);
    assert_eq!((verdict.recovered, verdict.unexpected, verdict.duplicated), (1, 0, 0));
}

#[tokio::test]
async fn settling_ends_with_the_last_delivery_or_with_patience() {
    let ledger = book(1);
    ledger.delivered(&copy(0, 0));
    assert!(!ledger.settle(0..8, Duration::from_millis(60)).await);
    ledger.delivered(&copy(0, 1));
    ledger.delivered(&copy(0, 2));
    assert!(ledger.settle(0..8, Duration::from_secs(5)).await);
}
