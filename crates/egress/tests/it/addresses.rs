//! Which addresses the policy opens, by table.

use std::net::IpAddr;

use busbar_egress::{AddressClass as Class, Policy, Refusal};

fn policy(allow: &[&str], deny: &[&str]) -> Policy {
    let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>();
    Policy::parse(&owned(allow), &owned(deny), false).unwrap()
}

fn judge(policy: &Policy, ip: &str) -> Option<Class> {
    match policy.permits(ip.parse::<IpAddr>().unwrap()) {
        Ok(()) => None,
        Err(Refusal::AddressForbidden(class)) => Some(class),
        Err(other) => panic!("{ip}: {other:?}"),
    }
}

#[test]
fn closed_ranges_are_closed_to_their_edges() {
    let table = [
        (Class::Unspecified, &["0.0.0.0", "0.255.255.255", "::"][..]),
        (Class::Private, &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255"]),
        (Class::Private, &["192.168.0.0", "192.168.255.255", "fc00::", "fd00:ec2::254"]),
        (Class::Private, &["fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::", "feff::1"]),
        (Class::CarrierGradeNat, &["100.64.0.0", "100.100.100.200", "100.127.255.255"]),
        (Class::Loopback, &["127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"]),
        (Class::CloudInternal, &["168.63.129.16"]),
        (Class::LinkLocal, &["169.254.0.0", "169.254.169.254", "169.254.255.255"]),
        (Class::LinkLocal, &["fe80::", "fe80::1", "febf:ffff::1"]),
        (Class::Reserved, &["192.0.0.0", "192.0.0.192", "192.0.0.255", "192.88.99.1"]),
        (Class::Documentation, &["192.0.2.0", "192.0.2.255", "198.51.100.1", "203.0.113.255"]),
        (Class::Documentation, &["2001:db8::", "2001:db8:ffff::1", "3fff::", "3fff:fff::1"]),
        (Class::Benchmarking, &["198.18.0.0", "198.19.255.255"]),
        (Class::Multicast, &["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1"]),
        (Class::Reserved, &["240.0.0.0", "255.255.255.254"]),
        (Class::Broadcast, &["255.255.255.255"]),
        (Class::Reserved, &["100::", "100::ffff", "5f00::", "5f00:ffff::1", "4000::1", "1::"]),
        (Class::Reserved, &["2001:10::", "2001:1f:ffff::", "2001:20::", "2001:2f::1", "2001:2::1"]),
        (Class::Translated, &["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:a9fe:a9fe"]),
        (Class::Translated, &["::127.0.0.1", "::8.8.8.8", "::2", "::ffff:0:10.0.0.1"]),
        (Class::Translated, &["64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::7f00:1"]),
        (Class::Translated, &["2002:7f00:1::", "2002:808:808::1", "2002:a9fe:a9fe::"]),
        (Class::Translated, &["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"]),
    ];
    let policy = Policy::default();
    for (class, addresses) in table {
        for ip in addresses {
            assert_eq!(judge(&policy, ip), Some(class), "{ip}");
        }
    }
}

#[test]
fn neighbours_of_closed_ranges_are_open() {
    let policy = Policy::default();
    for ip in [
        "1.0.0.0",
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2001:db7::1",
        "2001:db9::1",
        "2003::1",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
        "3ffe::1",
        "3fff:1000::",
    ] {
        assert_eq!(judge(&policy, ip), None, "{ip}");
    }
}

#[test]
fn an_allowed_range_opens_itself_and_its_mapped_form() {
    let policy = policy(&["127.0.0.0/8", "10.1.2.3", " ", "::1/128", "fd00:1::/32"], &[]);
    for ip in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "10.1.2.3", "::1", "fd00:1::5"] {
        assert_eq!(judge(&policy, ip), None, "{ip}");
    }
    assert_eq!(judge(&policy, "10.1.2.4"), Some(Class::Private));
    assert_eq!(judge(&policy, "::ffff:10.1.2.4"), Some(Class::Translated));
    // Only the mapped form is the same address; the others leave through a gateway.
    for ip in ["::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "64:ff9b:1::7f00:1"] {
        assert_eq!(judge(&policy, ip), Some(Class::Translated), "{ip}");
    }
}

#[test]
fn an_allowed_wrapping_form_is_judged_by_what_it_wraps() {
    let policy = policy(&["64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0/96", "2002::/16"], &[]);
    for ip in ["64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"] {
        assert_eq!(judge(&policy, ip), None, "{ip}");
    }
    for ip in ["64:ff9b::7f00:1", "::ffff:127.0.0.1", "2002:7f00:1::1"] {
        assert_eq!(judge(&policy, ip), Some(Class::Loopback), "{ip}");
    }
    // Both readings of the /48 must be open: the last four bytes and RFC 6052's split ones.
    assert_eq!(judge(&policy, "64:ff9b:1:808:8:800:808:808"), None);
    assert_eq!(judge(&policy, "64:ff9b:1:808:8:800:7f00:1"), Some(Class::Loopback));
    assert_eq!(judge(&policy, "64:ff9b:1:7f00:0:100:808:808"), Some(Class::Loopback));
}

#[test]
fn an_entry_longer_than_the_form_speaks_of_the_inner_address() {
    let policy = policy(&["64:ff9b::a00:0/104"], &[]);
    assert_eq!(judge(&policy, "64:ff9b::a01:203"), None);
    assert_eq!(judge(&policy, "64:ff9b::c0a8:1"), Some(Class::Translated));
}

#[test]
fn denying_wins_over_allowing_in_every_form() {
    let policy = policy(&["0.0.0.0/0", "::/0"], &["169.254.169.254", "8.8.8.0/24", "2a00::/16"]);
    for ip in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "::169.254.169.254",
        "8.8.8.8",
        "2a00::1",
        "2001:0:0:0:0:0:5601:5601",
    ] {
        assert_eq!(judge(&policy, ip), Some(Class::Denied), "{ip}");
    }
    for ip in ["10.0.0.1", "8.8.4.4", "::1", "2a01::1", "64:ff9b::a00:1"] {
        assert_eq!(judge(&policy, ip), None, "{ip}");
    }
}

#[test]
fn a_mapped_range_on_the_deny_list_denies_the_plain_one() {
    let policy = policy(&[], &["::ffff:8.8.0.0/112"]);
    for ip in ["8.8.4.4", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
        assert_eq!(judge(&policy, ip), Some(Class::Denied), "{ip}");
    }
}

#[test]
fn a_bad_entry_is_named() {
    for bad in ["10.0.0.0/33", "localhost", "10.0.0", "::1/129", "10.0.0.0/8,127.0.0.0/8"] {
        let entries = vec!["10.0.0.0/8".to_owned(), bad.to_owned()];
        let error = Policy::parse(&[], &entries, false).unwrap_err();
        assert_eq!((error.list, error.entry.as_str()), ("deny", bad));
        assert!(error.to_string().contains(bad));
        assert_eq!(Policy::parse(&entries, &[], false).unwrap_err().list, "allow");
    }
}

proptest::proptest! {
    #[test]
    fn no_wrapping_opens_what_is_closed(bits: u32) {
        let policy = Policy::parse(
            &["64:ff9b::/96", "2002::/16", "::ffff:0:0/96"].map(str::to_owned), &[], false,
        ).unwrap();
        let plain = policy.permits(IpAddr::V4(bits.into()));
        let bits = u128::from(bits);
        for wrapped in [0x0064_ff9b_u128 << 96 | bits, 0x2002 << 112 | bits << 80, 0xffff << 32 | bits] {
            proptest::prop_assert_eq!(policy.permits(IpAddr::V6(wrapped.into())), plain);
        }
    }
}
