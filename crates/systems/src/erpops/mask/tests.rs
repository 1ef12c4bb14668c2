//! Tables of what is masked and what stays.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

#[test]
fn what_tells_of_people_and_networks_goes() {
    for (text, masked) in [
        // The documentation's example.
        (
            "Field validation failed on record 1234567 in step 3",
            "Field validation failed on record [ID_REDACTED] in step 3",
        ),
        // E-mail addresses.
        ("mail to jane.doe+hr@example.co.uk.", "mail to [EMAIL_REDACTED]."),
        ("<j_o'neil%x@a-b.example>, x", "<[EMAIL_REDACTED]>, x"),
        ("'jörg@müller.example'", "'[EMAIL_REDACTED]'"),
        ("svc_batch@psdb01 refused", "[EMAIL_REDACTED] refused"),
        ("a@b.example;c@d.example", "[EMAIL_REDACTED];[EMAIL_REDACTED]"),
        // Social security, telephone and card numbers.
        ("SSN 123-45-6789 invalid", "SSN [ID_REDACTED] invalid"),
        ("value 123-45-6789.", "value [ID_REDACTED]."),
        ("value 123 45 6789", "value [ID_REDACTED]"),
        ("ssn=123456789", "ssn=[ID_REDACTED]"),
        ("SSN ending: 6789, ssn: 6789", "SSN ending: 6789, ssn: [ID_REDACTED]"),
        ("call 555-123-4567 or +1-555-123-4567", "call [ID_REDACTED] or +[ID_REDACTED]"),
        ("card 4111 1111 1111 1111 declined", "card [ID_REDACTED] declined"),
        // Addresses.
        ("connect to 10.0.0.12:8080 failed", "connect to [IP_REDACTED]:8080 failed"),
        ("10.1.0.0/16, (192.168.1.1).", "[IP_REDACTED]/16, ([IP_REDACTED])."),
        ("feed:10.0.0.1 down", "feed:[IP_REDACTED] down"),
        ("from fe80::1ff:fe23:4567:890a%eth0", "from [IP_REDACTED]%eth0"),
        ("[2001:db8::1]:443 and ::1", "[[IP_REDACTED]]:443 and [IP_REDACTED]"),
        ("2001:0db8:85a3:0000:0000:8a2e:0370:7334: refused", "[IP_REDACTED]: refused"),
        ("mapped ::ffff:10.0.0.1.", "mapped [IP_REDACTED]."),
        // Internal hosts.
        ("ORA-12154 on db01.corp.local", "ORA-12154 on [HOST_REDACTED]"),
        ("https://host.internal:8443/x", "https://[HOST_REDACTED]:8443/x"),
        ("printer.lan. is down", "[HOST_REDACTED]. is down"),
        ("DB01.CORP.EXAMPLE.COM", "[HOST_REDACTED]"),
        ("host=psapp02 port=9000", "host=[HOST_REDACTED] port=9000"),
        ("ip-10-0-0-1.eu.compute.internal", "[HOST_REDACTED]"),
        // Labelled identifiers, however short.
        ("EMPLID 12345 failed", "EMPLID [ID_REDACTED] failed"),
        ("emplid=7", "emplid=[ID_REDACTED]"),
        ("EMPLID12345", "[ID_REDACTED]"),
        ("Employee ID: A-1234", "Employee ID: [ID_REDACTED]"),
        ("employee_id=42, exit code 1", "employee_id=[ID_REDACTED], exit code 1"),
        ("{\"employeeId\":\"42\"}", "{\"employeeId\":\"[ID_REDACTED]\"}"),
        ("{\\\"workerId\\\":\\\"W42\\\"}", "{\\\"workerId\\\":\\\"[ID_REDACTED]\\\"}"),
        ("person number is 4711", "person number is [ID_REDACTED]"),
        ("Personnel No. 815", "Personnel No. [ID_REDACTED]"),
        ("employee 12345 not found", "employee [ID_REDACTED] not found"),
        ("employee #99", "employee #[ID_REDACTED]"),
        ("EMPLIDs 12345, 12346 and 12347 at 03:00", "EMPLIDs [ID_REDACTED], [ID_REDACTED] and [ID_REDACTED] at 03:00"),
        ("social security number 1234", "social security number [ID_REDACTED]"),
        // Long numbers.
        ("duplicate key 00123456", "duplicate key [ID_REDACTED]"),
        ("worker E1234567X rejected", "worker [ID_REDACTED] rejected"),
        ("IBAN DE89370400440532013000", "IBAN [ID_REDACTED]"),
        ("/employees/12/123456 not found", "/employees/12/[ID_REDACTED] not found"),
        ("net 1234567.89 paid", "net [ID_REDACTED] paid"),
        ("export_123456.csv", "export_[ID_REDACTED].csv"),
        ("–123456–", "–[ID_REDACTED]–"),
        ("born 19800512", "born [ID_REDACTED]"),
    ] {
        assert_eq!(mask(text), masked, "{text}");
    }
}

#[test]
fn what_operators_need_stays() {
    for text in [
        "",
        "Exit code 1 at record 18441",
        "failed at record 18,441 of 40,000",
        "record 184410 of 400000",
        "184410/400000 done",
        "employee 18441 of 40000, worker 3 idle",
        "1,234,567 records in 12:30:45",
        "processed 1234567 rows, took 123456 ms",
        "count=1234567; queue depth 123456",
        "records: 1234567",
        "exit code 3221225477",
        "return code: 1234567",
        "HTTP 504 from carrier, retry queue depth 12",
        "exit code 1 EMPLID_FK",
        "Invalid EMPLID: 3 rows rejected",
        "employee ID missing",
        "at 2026-04-20T03:00:00.123456Z and 03:00:00.123456",
        "since 2026-04-20 03:00:00",
        "run 20260420T030000Z",
        "WD_EXPORT_20260420_030000 done",
        "PSFT_PAYROLL_BATCH exit code 1",
        "ratio 0.123456",
        "123456ms, 123456 KB, 123456%",
        "PTW-2024-001, ORA-12154, sha256",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "event 0190c6de-1234-7abc-8def-001234567890 stored",
        "PeopleTools 8.60.10, version 8.60.0.1",
        "at jdk.internal.reflect.NativeMethodAccessorImpl.invoke0(Native)",
        "at com.corp.ws.Client.call(Client.java:120)",
        "std::vector and Foo::Bar",
        "api.erpops.ai answered 503",
        "10 items @ 5 each",
        "wait... what? a@ b",
    ] {
        assert_eq!(mask(text), text);
        assert!(matches!(mask(text), Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn the_name_of_a_member_says_what_it_holds() {
    for (name, text, masked) in [
        ("emplid", "12345", ID_TOKEN),
        ("employeeId", "A1", ID_TOKEN),
        ("person-number", "7", ID_TOKEN),
        ("records_total", "400000", "400000"),
        ("exit_code", "3221225477", "3221225477"),
        ("hostname", "psdb01", HOST_TOKEN),
        ("note", "400000", ID_TOKEN),
        ("status", "504", "504"),
    ] {
        assert_eq!(mask_member(name, text), masked, "{name}");
    }
    assert!(names_person("EMPLID") && names_person("worker_id") && names_person("ssn"));
    assert!(!names_person("exit_code") && !names_person("records_processed") && !names_person(""));
}

#[test]
fn long_texts_take_linear_time() {
    let start = Instant::now();
    for piece in ["a.", "a@", "1-", "1.1.", "::", "a:", "emplid ", "emplid a-", "1 of ", "é", "1-1a", "a@b@", "-'+%_"]
    {
        let text = piece.repeat(400_000 / piece.len());
        let masked = mask(&text);
        assert!(masked.len() <= text.len() * 16, "{piece}");
    }
    // Quadratic time would be minutes.
    assert!(start.elapsed() < Duration::from_secs(20));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), name in any::<String>()) {
        let _ = mask(&text);
        let _ = mask_member(&name, &text);
    }

    #[test]
    fn near_misses_do_not_panic_either(text in "([0-9a-f]{1,4}|[:.@/ _-]|emplid|of|é|host=|\\.local){0,40}") {
        let _ = mask(&text);
    }

    #[test]
    fn an_address_never_survives(before in "[a-z ]{0,10}", user in "[a-z]{1,8}", a in 0_u8.., b in 0_u8.., after in "[ ,;)]") {
        let masked = mask(&format!("{before} {user}@{user}.example {a}.{b}.0.1{after}")).into_owned();
        let (mail, address) = (format!("{user}@"), format!("{a}.{b}.0.1"));
        prop_assert!(!masked.contains(&mail) && !masked.contains(&address));
    }
}
