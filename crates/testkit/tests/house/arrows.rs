//! Which room may depend on which, and which library belongs to which room alone.

use crate::tree::{File, Package, files, packages};
use crate::{hold, seen_to_fail};

/// What each room may depend on, tests left aside; `docs/architecture.md` says why. The list only points down.
const ARROWS: [(&str, &[&str]); 14] = [
    ("domain", &[]),
    ("egress", &[]),
    ("storage", &["domain"]),
    ("messaging", &["domain"]),
    ("systems", &["domain", "egress"]),
    // It makes the other edges from the settings: docs/decisions/0002-runtime-assembles-the-edges.md.
    ("runtime", &["domain", "egress", "messaging", "storage"]),
    ("ingress", &["domain", "messaging", "runtime", "storage", "systems"]),
    ("admin", &["domain", "egress", "messaging", "runtime", "storage", "systems"]),
    ("processor", &["domain", "egress", "messaging", "runtime", "storage", "systems"]),
    ("delivery", &["domain", "egress", "messaging", "runtime", "storage"]),
    ("scheduler", &["domain", "messaging", "runtime", "storage"]),
    ("sandbox", &[]),
    (
        "cli",
        &[
            "admin",
            "delivery",
            "domain",
            "egress",
            "ingress",
            "messaging",
            "processor",
            "runtime",
            "sandbox",
            "scheduler",
            "storage",
            "systems",
        ],
    ),
    (
        "testkit",
        &[
            "admin",
            "delivery",
            "domain",
            "egress",
            "ingress",
            "messaging",
            "processor",
            "runtime",
            "sandbox",
            "scheduler",
            "storage",
            "systems",
        ],
    ),
];

/// The services, which never depend on each other.
const SERVICES: [&str; 5] = ["ingress", "admin", "processor", "delivery", "scheduler"];

/// Libraries that only these rooms know, tests included.
const OWNERS: [(&str, &[&str]); 9] = [
    ("lapin", &["messaging"]),
    ("sqlx", &["storage"]),
    ("reqwest", &["egress"]),
    ("hyper-util", &["egress"]),
    ("tokio-rustls", &["egress"]),
    ("hickory-resolver", &["egress"]),
    ("rustls-platform-verifier", &["egress"]),
    ("russh", &["egress"]),
    ("actix-web", &["ingress", "admin", "runtime", "sandbox"]),
];

/// Rooms whose tests, and only tests, know a library that is another's, each with its reason.
const TESTS_MAY: [(&str, &str, &str); 1] = [("admin", "sqlx", "its tests make their own database")];

/// What the domain does without: I/O, async, frameworks.
const NOT_IN_DOMAIN: [&str; 9] =
    ["tokio", "tokio-util", "futures-util", "lapin", "sqlx", "reqwest", "russh", "actix-web", "config"];

/// The rooms that may open the guarded door to the outside; `admin` vets URLs with its rules and calls nobody.
const GOING_OUT: [&str; 6] = ["egress", "runtime", "delivery", "processor", "cli", "testkit"];

fn undrawn_arrows(packages: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| *room == package.room) else {
            broken.push(format!("{} is not in the table of arrows", package.room));
            continue;
        };
        let ours = package.dependencies.iter().filter(|line| !line.dev);
        for room in ours.filter_map(|line| line.name.strip_prefix("busbar-")) {
            if !allowed.contains(&room) {
                broken.push(format!("{} may not depend on {room}", package.room));
            }
        }
    }
    broken
}

fn borrowed_libraries(packages: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in packages {
        for line in &package.dependencies {
            let owned = OWNERS.iter().find(|(library, _)| *library == line.name);
            let in_tests = |(room, library, _): &(&str, &str, &str)| package.room == *room && line.name == *library;
            if let Some((library, owners)) = owned
                && !owners.contains(&package.room.as_str())
                && !(line.dev && TESTS_MAY.iter().any(in_tests))
            {
                broken.push(format!("{} depends on {library}, which only {owners:?} may know", package.room));
            }
        }
    }
    broken
}

fn impurities(packages: &[Package]) -> Vec<String> {
    let domain = packages.iter().filter(|package| package.room == "domain").flat_map(|package| &package.dependencies);
    domain
        .filter(|line| NOT_IN_DOMAIN.contains(&line.name.as_str()) || line.name.starts_with("busbar-"))
        .map(|line| format!("domain depends on {}", line.name))
        .collect()
}

fn ways_out(sources: &[File]) -> Vec<String> {
    sources
        .iter()
        .filter(|file| file.path.contains("/src/") && !GOING_OUT.contains(&file.room()))
        .filter(|file| {
            ["Egress::new(", "Egress::with_", "parts::egress("].iter().any(|door| file.code().contains(door))
        })
        .map(|file| format!("{} opens a way out, which {} may not", file.path, file.room()))
        .collect()
}

/// The table itself: nothing points up, sideways between services, or at what only tests use.
fn bad_table(arrows: &[(&str, &[&str])]) -> Vec<String> {
    let mut broken = Vec::new();
    for (room, targets) in arrows {
        for target in *targets {
            let (up, service) = (["cli", "testkit"].contains(target), SERVICES.contains(target));
            let assembles = ["cli", "testkit"].contains(room);
            let back = arrows.iter().any(|(other, list)| other == target && list.contains(room));
            if up || back || (service && !assembles) {
                broken.push(format!("an arrow from {room} to {target} does not point down"));
            }
        }
    }
    broken
}

#[test]
fn every_arrow_is_in_the_table() {
    hold(&undrawn_arrows(&packages()));
    seen_to_fail(&undrawn_arrows(&[Package::new("delivery", &[("busbar-ingress", false)])]), "delivery");
    seen_to_fail(&undrawn_arrows(&[Package::new("admin", &[("busbar-testkit", false)])]), "testkit");
    seen_to_fail(&undrawn_arrows(&[Package::new("sixth", &[])]), "sixth");
    hold(&undrawn_arrows(&[Package::new("storage", &[("busbar-domain", false), ("busbar-testkit", true)])]));
}

#[test]
fn the_table_points_down_only() {
    hold(&bad_table(&ARROWS));
    seen_to_fail(&bad_table(&[("ingress", &["delivery"])]), "delivery");
    seen_to_fail(&bad_table(&[("storage", &["testkit"])]), "testkit");
}

#[test]
fn a_library_at_an_edge_is_known_to_that_edge_only() {
    hold(&borrowed_libraries(&packages()));
    seen_to_fail(&borrowed_libraries(&[Package::new("processor", &[("sqlx", false)])]), "sqlx");
    seen_to_fail(&borrowed_libraries(&[Package::new("systems", &[("reqwest", true)])]), "reqwest");
    seen_to_fail(&borrowed_libraries(&[Package::new("admin", &[("sqlx", false)])]), "sqlx");
    for way_out in ["hyper-util", "tokio-rustls", "hickory-resolver", "rustls-platform-verifier"] {
        seen_to_fail(&borrowed_libraries(&[Package::new("delivery", &[(way_out, false)])]), way_out);
    }
}

#[test]
fn the_domain_is_pure() {
    hold(&impurities(&packages()));
    seen_to_fail(&impurities(&[Package::new("domain", &[("tokio", true)])]), "tokio");
}

#[test]
fn nothing_leaves_the_hub_but_from_delivery_and_processor() {
    hold(&ways_out(&files("crates", ".rs")));
    for door in ["Egress::new(policy);", "Egress::with_name_servers(policy);", "Egress::with_surroundings(policy);"] {
        seen_to_fail(&ways_out(&[File::new("crates/admin/src/ping.rs", &format!("let out = {door}"))]), "admin");
    }
}
