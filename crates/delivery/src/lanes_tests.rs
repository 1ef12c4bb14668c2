//! What lanes do together: late work keeps to its half, and nothing that waits is forgotten.

use busbar_domain::dialect::Dialect;
use busbar_domain::id::{DeliveryId, EventId, TenantId};
use busbar_domain::retry::RetryPolicy;
use busbar_domain::secret::Secret;
use busbar_domain::trace::TraceContext;
use busbar_domain::webhook::{Webhook, WebhookStatus};
use busbar_domain::{Clock, Timestamp};
use busbar_storage::claims::Claim;
use bytes::Bytes;

use super::*;
use crate::circuit::Limits;
use crate::lane::SHORTEST_WAIT;

const MOST_HELD: usize = 100;
const RULES: Rules = Rules {
    most_in_flight: 64,
    most_waiting: 512,
    rate: None,
    circuit: Limits { failures: 1, window: Duration::ZERO },
};

fn now() -> Timestamp {
    Clock::system().now()
}

fn lanes() -> Lanes {
    Lanes::new(RULES, MOST_HELD, Duration::from_secs(10))
}

fn endpoint(rate_limit: Option<u32>) -> Arc<Endpoint> {
    let webhook = Webhook {
        id: WebhookId::new(now()),
        tenant: TenantId::new(now()),
        url: "https://receiver.example/hook".to_owned(),
        dialect: Dialect::Standard,
        status: WebhookStatus::Active,
        secret: Secret::generate(),
        old_secret: None,
        timeout: Duration::from_secs(10),
        retry: RetryPolicy::default(),
        max_in_flight: None,
        rate_limit,
        headers: Vec::new(),
    };
    Arc::new(Endpoint::new(webhook, None))
}

fn claimed(endpoint: &Endpoint, late: bool, test: bool) -> Claimed {
    Claimed {
        claim: Claim { delivery: DeliveryId::new(now()), number: 1 },
        tenant: endpoint.webhook.tenant,
        event: EventId::new(now()),
        webhook: endpoint.webhook.id,
        message: uuid::Uuid::nil(),
        test,
        attempts: 0,
        crashes: 0,
        kind: "a".to_owned(),
        occurred_at: now(),
        payload: Bytes::new(),
        trace: TraceContext::root(),
        hops: 0,
        body: None,
        ordered: false,
        late,
    }
}

fn offer(lanes: &mut Lanes, endpoint: &Arc<Endpoint>, late: bool, at: Instant) -> Place {
    let policy = Policy::parse(&[], &[], false).unwrap();
    lanes.offer(claimed(endpoint, late, false), endpoint, &policy, at)
}

fn start(place: Place) -> Start {
    if let Place::Start(start) = place { start } else { panic!("{place:?}") }
}

/// Makes a lane's circuit open by one failure.
fn open(lanes: &mut Lanes, endpoint: &Arc<Endpoint>, at: Instant) {
    let failing = start(offer(lanes, endpoint, false, at));
    let (_, change) = lanes.end(&failing.job.claimed, failing.ticket, crate::lane::Ending::Failing.into(), at);
    assert!(change.is_some());
}

#[test]
fn late_work_holds_half_of_the_process_and_live_work_finds_room_beside_it() {
    let (mut lanes, at) = (lanes(), Instant::now());
    let mut taken = Vec::new();
    for number in 0..MOST_HELD {
        match offer(&mut lanes, &endpoint(None), true, at) {
            Place::Start(start) => taken.push(start),
            Place::Refused(..) => assert!(number >= MOST_HELD / 2, "{number}"),
            Place::Waits => panic!("a lane of its own has room"),
        }
    }
    assert_eq!(taken.len(), MOST_HELD / 2);
    assert!(matches!(offer(&mut lanes, &endpoint(None), false, at), Place::Start(_)));
    let ended = taken.remove(0);
    lanes.end(&ended.job.claimed, ended.ticket, crate::lane::Ending::Taken.into(), at);
    assert!(matches!(offer(&mut lanes, &endpoint(None), true, at), Place::Start(_)), "what ended makes room");
}

#[test]
fn what_waits_begins_without_another_end_when_its_lane_becomes_free() {
    let (mut lanes, at, limited) = (lanes(), Instant::now(), endpoint(Some(5)));
    assert!(matches!(offer(&mut lanes, &limited, false, at), Place::Waits));
    assert!(lanes.round(at).limited, "it waits for its pace");
    let webhook = Webhook { rate_limit: None, ..limited.webhook.clone() };
    let free = Arc::new(Endpoint::new(webhook, None));
    assert!(matches!(offer(&mut lanes, &free, false, at), Place::Waits), "it stands behind the first");
    let round = lanes.round(at);
    assert_eq!((round.starts.len(), round.limited), (2, false));
    assert_eq!(lanes.held(), 2);
}

#[test]
fn a_grant_lets_so_many_begin() {
    let (mut lanes, at, limited) = (lanes(), Instant::now(), endpoint(Some(5)));
    for _ in 0..4 {
        assert!(matches!(offer(&mut lanes, &limited, false, at), Place::Waits));
    }
    let wants = lanes.wants(at);
    assert_eq!((wants.len(), wants[0].rate, wants[0].count), (1, 5, 4));
    assert_eq!(lanes.grant(wants[0].webhook, 1, at).len(), 1);
    assert_eq!(lanes.grant(wants[0].webhook, 1000, at).len(), 3);
    assert!(matches!(offer(&mut lanes, &limited, false, at), Place::Waits), "what was not used is gone");
    let policy = Policy::parse(&[], &[], false).unwrap();
    let test = lanes.offer(claimed(&limited, false, true), &limited, &policy, at);
    assert!(matches!(test, Place::Start(_)), "a test waits for no pace");
}

#[test]
fn an_open_circuit_takes_one_probe_and_tests_and_gives_the_rest_back() {
    let (mut lanes, at, failing) = (lanes(), Instant::now(), endpoint(None));
    open(&mut lanes, &failing, at);
    assert_eq!(lanes.round(at).open, 1);
    let Place::Refused(_, wait) = offer(&mut lanes, &failing, false, at) else { panic!("it is open") };
    let due = at + wait;
    assert_eq!(wait, crate::circuit::FIRST_PAUSE);
    let policy = Policy::parse(&[], &[], false).unwrap();
    let test = lanes.offer(claimed(&failing, false, true), &failing, &policy, at);
    assert!(matches!(test, Place::Start(Start { probe: false, .. })));
    let probe = start(offer(&mut lanes, &failing, false, due));
    assert!(probe.probe);
    assert!(matches!(offer(&mut lanes, &failing, false, due), Place::Refused(..)), "one at a time");
    let held = lanes.held();
    let later = due + Duration::from_mins(1);
    assert_eq!(lanes.give_probe_back(&probe.job.claimed, probe.ticket, later, due), Duration::from_mins(1));
    assert_eq!(lanes.held(), held - 1);
}

#[test]
fn what_another_process_has_closed_is_called_again_one_at_a_time() {
    let (mut lanes, at, failing) = (lanes(), Instant::now(), endpoint(None));
    open(&mut lanes, &failing, at);
    assert_eq!(lanes.look_at_circuits(), (vec![failing.webhook.id], Vec::new()));
    lanes.close_circuits(&[failing.webhook.id]);
    let first = start(offer(&mut lanes, &failing, false, at));
    assert!(!first.probe);
    assert!(matches!(offer(&mut lanes, &failing, false, at), Place::Waits));
    let (starts, _) = lanes.end(&first.job.claimed, first.ticket, crate::lane::Ending::Taken.into(), at);
    assert_eq!(starts.len(), 1);
    assert_eq!(lanes.look_at_circuits(), (Vec::new(), vec![failing.webhook.id]));
    assert_eq!(lanes.look_at_circuits(), (Vec::new(), Vec::new()), "each success is told once");
}

#[test]
fn what_may_have_crashed_a_worker_is_looked_at_one_at_a_time() {
    let (mut lanes, at) = (lanes(), Instant::now());
    let policy = Policy::parse(&[], &[], false).unwrap();
    let suspect = |lanes: &mut Lanes| {
        let endpoint = endpoint(None);
        let claimed = Claimed { crashes: CRASHES_BEFORE_ALONE, ..claimed(&endpoint, false, false) };
        lanes.offer(claimed, &endpoint, &policy, at)
    };
    let first = start(suspect(&mut lanes));
    assert!(first.job.alone.is_some());
    assert!(matches!(suspect(&mut lanes), Place::Refused(_, SHORTEST_WAIT)));
    let Place::Refused(_, wait) = suspect(&mut lanes) else { panic!("one is in hand") };
    assert_eq!(wait, SHORTEST_WAIT + SUSPECT_STEP, "it stands behind the second");
    assert!(matches!(offer(&mut lanes, &endpoint(None), false, at), Place::Start(_)), "others go on");
    drop(first);
    assert!(matches!(suspect(&mut lanes), Place::Start(_)));
}

#[test]
fn what_finds_no_room_in_slow_lanes_comes_as_fast_as_they_give_it_back() {
    let (mut lanes, at) = (lanes(), Instant::now());
    let slow: Vec<_> = (0..MOST_HELD / 4 * 3).map(|_| endpoint(None)).collect();
    let held: Vec<Start> = slow.iter().map(|slow| start(offer(&mut lanes, slow, false, at))).collect();
    let later = at + Duration::from_secs(2);
    let wait = |lanes: &mut Lanes, endpoint: &Arc<Endpoint>, at| match offer(lanes, endpoint, false, at) {
        Place::Refused(_, wait) => wait,
        place @ (Place::Start(_) | Place::Waits) => panic!("{place:?}"),
    };
    let first = wait(&mut lanes, &slow[0], later);
    assert_eq!(first, SHORTEST_WAIT);
    // Ten seconds is the longest that an attempt takes, so one of fifty ends within this time.
    let step = Duration::from_secs(10) / 50;
    assert_eq!(wait(&mut lanes, &slow[1], later), first + step);
    assert_eq!(wait(&mut lanes, &endpoint(None), later), SHORTEST_WAIT, "a stranger does not stand behind them");
    for ended in held.into_iter().take(20) {
        lanes.end(&ended.job.claimed, ended.ticket, crate::lane::Ending::Overwhelmed.into(), later);
    }
    let third = wait(&mut lanes, &slow[70], later);
    assert_eq!(third, first + step * 2);
    for _ in 0..200 {
        lanes.freed.add(later);
    }
    let fourth = wait(&mut lanes, &slow[71], later);
    let fifth = wait(&mut lanes, &slow[72], later);
    assert_eq!(fourth, third + step);
    assert!(fifth < fourth + step / 2, "room comes back faster: {fourth:?} {fifth:?}");
}
