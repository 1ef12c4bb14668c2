//! Which URLs become targets, by table.

use busbar_egress::{Policy, Refusal, Target};

fn code(text: &str, policy: &Policy) -> &'static str {
    Target::parse(text, policy).map_or_else(Refusal::code, |_| "")
}

fn local() -> Policy {
    Policy::parse(&["127.0.0.0/8".to_owned()], &[], false).unwrap()
}

#[test]
fn urls_that_lead_inside_are_refused() {
    let policy = Policy::default();
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://0x0/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://127.0.0.1:8080/",
        "http://127.0.0.1.:8080/",
        "http://0x7f.0.0.0x1/",
        "http://0177.1/",
        "http://0.1/",
        "http://00/",
        "http://127.0.0.01/",
        "http://0300.0250.1.1/",
        "http://3232235777/",
        "http://0xA9.0xFE.0xA9.0xFE/",
        "http://0251.0376.0251.0376/",
        "https://127.0.0.1/",
        "http://127%2e0.0.1/",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://127。0。0。1/",
        "http://１２７.０.０.１/",
        "http://0.0.0.0:80/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://172.16.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]:8080/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[64:ff9b:1:ffff::7f00:1]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
        "http://[febf::1]/",
        "http://[100::ffff:ffff:ffff:ffff]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001::1]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[fd00:ec2::254]/",
        "http://[100::1]/",
        "http://[5f00::1]/",
        "http://[3fff::1]/",
        "http://[2001:db8::1]/",
        "http://[ff02::1]/",
        "http://localhost/",
        "http://LOCALHOST/",
        "http://localhost./",
        "http://localhost:8090/",
        "http://app.localhost/",
        "http://a.b.localhost./",
        "http://ＬＯＣＡＬＨＯＳＴ/",
        "http://local%68ost/",
        "http://loc\u{ad}alhost/",
    ] {
        assert_eq!(code(url, &policy), "ADDRESS_FORBIDDEN", "{url}");
    }
}

#[test]
fn urls_of_another_shape_are_refused() {
    let policy = Policy::default();
    let table = [
        (
            "SCHEME_NOT_ALLOWED",
            &[
                "ftp://example.com/",
                "file:///etc/passwd",
                "gopher://example.com/",
                "javascript:1",
                "data:,x",
                "blob:https://example.com/1",
                "ws://example.com/",
                "unix:/tmp/socket",
                "localhost:8080",
                "view-source:http://example.com",
            ][..],
        ),
        (
            "USERINFO_NOT_ALLOWED",
            &[
                "http://user@example.com/",
                "http://user:pass@example.com/",
                "http://@example.com/",
                "http://:@example.com/",
                "https://example.com@127.0.0.1/",
                "http://a:b@c@example.com/",
            ],
        ),
        (
            "URL_INVALID",
            &[
                "",
                " ",
                "example.com",
                "/hook",
                "//example.com/",
                "?x",
                "http:",
                "http:example.com",
                "http:/example.com/",
                "http:\\\\example.com\\",
                "http://example.com\\@evil.com/",
                " http://example.com/",
                "http://example.com/ ",
                "http://exa\tmple.com/",
                "http://example.com/\n",
                "http://example.com/a b",
                "http://example.com/\u{0}",
                "http://example.com/\u{7f}",
                "http://exam\r\nple.com/",
                "http://example.com/\u{a0}",
                "http://example.com:65536/",
                "http://example.com:a/",
                "http://1.2.3.256/",
                "http://1.2.3.4.5/",
                "http://0x100000000/",
                "http://[::1/",
                "http://[::1%25lo]/",
                "http://[fe80::1%lo]/",
                "http://[fe80::1%25eth0]/",
                "http://127.0.0.1%00/",
                "http://127.0.0.1%0d%0ahost:evil.test/",
                "http://example.com\t/",
                "http://exa\\mple.com/",
                "http://127.0.0.1\n.example.com/",
                "http://\u{200b}example.com/ ",
                "http://[::g]/",
                "http://exa<mple.com/",
                "http://a..b/",
                "http://example.com../",
                "http://./",
                "http://%00/",
                "http://exa%2fmple.com/",
                "http://xn--a/",
            ],
        ),
        ("HOST_MISSING", &["http://", "http:///hook", "https://?x", "http://#x", "http://:80/"]),
        (
            "PORT_NOT_ALLOWED",
            &[
                "http://example.com:22/",
                "http://example.com:25/",
                "https://example.com:6667/",
                "http://example.com:0/",
                "http://example.com:10080/",
            ],
        ),
    ];
    for (expected, urls) in table {
        for url in urls {
            assert_eq!(code(url, &policy), expected, "{url:?}");
        }
    }
}

#[test]
fn public_urls_are_written_in_one_way() {
    let policy = Policy::default();
    for (given, dialled) in [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM/Hook", "https://example.com/Hook"),
        ("https://example.com:443/a?b=c#d", "https://example.com/a?b=c"),
        ("http://example.com.:8080/", "http://example.com:8080/"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://example.com/a/../b/./c", "https://example.com/b/c"),
        ("https://example.com/@user?x=@y", "https://example.com/@user?x=@y"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://134744072/", "http://8.8.8.8/"),
        ("http://[2606:4700:4700::1111]:8080/", "http://[2606:4700:4700::1111]:8080/"),
        ("http://notlocalhost/", "http://notlocalhost/"),
        ("http://localhost.example.com/", "http://localhost.example.com/"),
    ] {
        assert_eq!(Target::parse(given, &policy).unwrap().as_str(), dialled);
    }
}

#[test]
fn an_allowed_loopback_range_opens_its_urls() {
    let policy = local();
    for url in [
        "http://127.0.0.1:8090/hook",
        "http://127.1/",
        "http://localhost:8090/",
        "http://app.localhost/",
        "http://[::ffff:127.0.0.1]/",
    ] {
        assert_eq!(code(url, &policy), "", "{url}");
    }
    for url in ["http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/"] {
        assert_eq!(code(url, &policy), "ADDRESS_FORBIDDEN", "{url}");
    }
}

#[test]
fn where_https_is_required_http_is_refused() {
    let policy = Policy::parse(&[], &[], true).unwrap();
    assert_eq!(code("http://example.com/", &policy), "HTTPS_REQUIRED");
    assert_eq!(code("https://example.com/", &policy), "");
    assert_eq!(code("https://127.0.0.1/", &policy), "ADDRESS_FORBIDDEN");
}

#[test]
fn a_url_has_a_longest_length() {
    let policy = Policy::default();
    let of_length = |length: usize| format!("https://example.com/{}", "a".repeat(length - 20));
    assert_eq!(code(&of_length(2_048), &policy), "");
    assert_eq!(code(&of_length(2_049), &policy), "URL_TOO_LONG");
    assert_eq!(code(&format!("https://example.com/{}", "ü".repeat(900)), &policy), "URL_TOO_LONG");
}

#[test]
fn a_target_tells_its_origin_and_hides_its_path() {
    let target = Target::parse("https://example.com/secret?token=t", &Policy::default()).unwrap();
    assert_eq!(target.origin(), "https://example.com");
    assert_eq!((target.host(), target.port()), ("example.com", 443));
    assert_eq!(format!("{target:?}"), r#"Target("https://example.com")"#);
    let local = Target::parse("http://127.0.0.1:8090/x", &local()).unwrap();
    assert_eq!(local.origin(), "http://127.0.0.1:8090");
}

#[test]
fn every_refusal_says_what_to_change_and_names_no_address() {
    let policy = Policy::default();
    for url in ["http://127.0.0.1/", "http://10.9.8.7/", "http://a@b/", "ftp://x/", "", "http://"] {
        let sentence = Target::parse(url, &policy).unwrap_err().to_string();
        assert!(sentence.ends_with('.') && !sentence.contains("127.") && !sentence.contains("10."));
    }
    let loopback = Target::parse("http://127.0.0.1/", &policy).unwrap_err();
    assert!(loopback.to_string().contains("a loopback address"));
}
