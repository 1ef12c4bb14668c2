//! The layers of the settings, and what each refusal says.

use std::io::Write;
use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::*;

fn env(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

fn load(pairs: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::load(None, env(pairs)).map_err(|error| error.to_string())
}

/// A file that is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn holding(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("busbar-settings-{}-{name}", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_defaults_alone_are_valid() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.database.max_connections, 8);
    assert_eq!(settings.broker.queue_type, QueueType::Classic);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.processor.queues, ["inbound.erpops", "inbound.exact", "jobs"]);
    assert_eq!(settings.ops_listen("scheduler").port(), 9084);
    assert!(settings.admin.operator_key.is_none() && settings.telemetry.otlp_endpoint.is_none());
}

#[test]
fn every_setting_stands_in_the_defaults_and_nothing_else_does() {
    let mut keys: Vec<String> = Settings::keys().into_iter().map(|key| key.name).collect();
    keys.sort();
    let examples: Vec<String> = layers::examples(DEFAULTS).into_keys().collect();
    assert_eq!(keys, examples);
    for key in Settings::keys() {
        assert!(key.meaning.len() > 10, "{} has no meaning", key.name);
        assert_eq!(key.secret, key.name.ends_with("key") || ["database.url", "broker.url"].contains(&&*key.name));
    }
}

#[test]
fn the_environment_beats_the_file_and_the_file_beats_the_defaults() {
    let file = Scratch::holding("layers", "[database]\nmax_connections = 3\n[broker]\nnamespace = \"from-file\"\n");
    let settings = Settings::load(Some(&file.0), env(&[("BUSBAR_DATABASE__MAX_CONNECTIONS", "5")])).unwrap();
    assert_eq!(settings.database.max_connections, 5);
    assert_eq!(settings.broker.namespace, "from-file");
    assert_eq!(settings.database.statement_timeout_ms, 10_000);

    let named = load(&[("BUSBAR_CONFIG", file.path())]).unwrap();
    assert_eq!(named.database.max_connections, 3);
}

#[test]
fn an_unknown_variable_is_named_with_what_there_is() {
    let error = load(&[("BUSBAR_DATABASE__POOL", "5"), ("BUSBAR_DATABSE__URL", "x")]).unwrap_err();
    assert!(error.contains("BUSBAR_DATABASE__POOL: there is no such setting"), "{error}");
    assert!(error.contains("max_connections"), "{error}");
    assert!(error.contains("BUSBAR_DATABSE__URL") && error.contains("the sections are database, broker"), "{error}");
}

#[test]
fn an_unknown_key_of_the_file_is_named() {
    let file = Scratch::holding("unknown", "[ingress]\nlisten_on = \"x\"\n[nowhere]\n");
    let error = Settings::load(Some(&file.0), env(&[])).unwrap_err().to_string();
    assert!(error.contains("ingress.listen_on: there is no such setting") && error.contains("nowhere:"), "{error}");
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_what_would_be_right() {
    for (variable, value, key) in [
        ("BUSBAR_DATABASE__MAX_CONNECTIONS", "many", "database.max_connections"),
        ("BUSBAR_DELIVERY__PREFETCH", "70000", "delivery.prefetch"),
        ("BUSBAR_INGRESS__LISTEN", "8080", "ingress.listen"),
        ("BUSBAR_BROKER__QUEUE_TYPE", "stream", "broker.queue_type"),
        ("BUSBAR_EGRESS__ALLOW", "10.0.0.0/8,home", "egress.allow"),
        ("BUSBAR_EGRESS__NAME_SERVERS", "dns.example.com", "egress.name_servers"),
        ("BUSBAR_DATABASE__URL", "mysql://localhost/x", "database.url"),
        ("BUSBAR_BROKER__NAMESPACE", "Bus bar", "broker.namespace"),
        ("BUSBAR_SCHEDULER__TICK_MS", "0", "scheduler.tick_ms"),
        ("BUSBAR_TELEMETRY__SAMPLE_RATIO", "1.5", "telemetry.sample_ratio"),
        ("BUSBAR_LOG__FILTER", "busbar=loud", "log.filter"),
        ("BUSBAR_SECRETS__MASTER_KEY", "1:c2hvcnQ=", "secrets.master_key"),
        ("BUSBAR_DRAIN__READY_OFF_MS", "60000", "drain.ready_off_ms"),
    ] {
        let error = load(&[(variable, value)]).unwrap_err();
        assert!(error.starts_with(&format!("{key} ({variable}): ")), "{error}");
        assert!(error.contains("; expected: ") && error.contains("For example"), "{error}");
    }
}

#[test]
fn a_mounted_secret_is_read_without_its_line_end() {
    let file = Scratch::holding("secret", "postgres://busbar:s3cret@db/busbar\n");
    let settings = load(&[("BUSBAR_DATABASE__URL_FILE", file.path())]).unwrap();
    assert_eq!(settings.database.url.expose_secret(), "postgres://busbar:s3cret@db/busbar");

    let both = load(&[("BUSBAR_DATABASE__URL_FILE", file.path()), ("BUSBAR_DATABASE__URL", "postgres://x/y")]);
    assert!(both.unwrap_err().contains("are both set"));
    let missing = load(&[("BUSBAR_DATABASE__URL_FILE", "/nowhere/at/all")]).unwrap_err();
    assert!(missing.starts_with("BUSBAR_DATABASE__URL_FILE: the file /nowhere/at/all cannot be read"), "{missing}");
}

#[test]
fn lists_of_the_environment_are_comma_separated() {
    let settings =
        load(&[("BUSBAR_EGRESS__ALLOW", "127.0.0.0/8, ::1/128"), ("BUSBAR_PROCESSOR__QUEUES", "jobs")]).unwrap();
    assert_eq!(settings.egress.allow, ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(settings.processor.queues, ["jobs"]);
    assert!(load(&[("BUSBAR_EGRESS__ALLOW", "")]).unwrap().egress.allow.is_empty());
}

#[test]
fn a_name_server_without_a_port_has_the_usual_one() {
    let settings = load(&[
        ("BUSBAR_EGRESS__NAME_SERVERS", "10.0.0.53, 10.0.0.54:5353, ::1, [::1]:54"),
        ("BUSBAR_EGRESS__CA_FILE", "/etc/busbar/authorities.pem"),
    ]);
    let egress = settings.unwrap().egress;
    let expected = ["10.0.0.53:53", "10.0.0.54:5353", "[::1]:53", "[::1]:54"].map(|server| server.parse().unwrap());
    assert_eq!(egress.name_servers, expected);
    assert_eq!(egress.ca_file, Some(PathBuf::from("/etc/busbar/authorities.pem")));
}

#[test]
fn variables_of_clients_are_passed_over() {
    let names = ["INGRESS_URL", "ADMIN_URL", "OPERATOR_KEY", "TENANT_ID", "ADMIN_KEY", "SANDBOX_URL"];
    let pairs: Vec<_> = names.iter().map(|name| (format!("BUSBAR_{name}"), "x".to_owned())).collect();
    Settings::load(None, pairs.into_iter()).unwrap();
}

#[test]
fn a_secret_of_digits_stays_as_it_was_written() {
    let settings = load(&[("BUSBAR_ADMIN__OPERATOR_KEY", "007"), ("BUSBAR_TELEMETRY__OTLP_ENDPOINT", "")]).unwrap();
    assert_eq!(settings.admin.operator_key.unwrap().expose_secret(), "007");
    assert!(settings.telemetry.otlp_endpoint.is_none());
}

#[test]
fn secrets_never_show() {
    let settings = load(&[
        ("BUSBAR_DATABASE__URL", "postgres://u:canary1@h/d"),
        ("BUSBAR_BROKER__URL", "amqp://u:canary2@h/v"),
        ("BUSBAR_ADMIN__OPERATOR_KEY", "canary3"),
    ]);
    assert!(!format!("{:?}", settings.unwrap()).contains("canary"));

    let refused = load(&[("BUSBAR_DATABASE__URL", "canary4"), ("BUSBAR_SECRETS__MASTER_KEY", "canary5")]);
    assert!(!refused.unwrap_err().contains("canary"));

    let file = Scratch::holding("broken", "[admin]\noperator_key = \"canary6\n");
    let error = Settings::load(Some(&file.0), env(&[])).unwrap_err().to_string();
    assert!(error.contains("line 2") && !error.contains("canary"), "{error}");
}
