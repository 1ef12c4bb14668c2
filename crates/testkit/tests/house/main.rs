//! The rules of the house: which room may know what, how files look, and what the documents must say.
//! A rule is a function from what was read to the sentences that say what breaks it; each is seen to fail here.
#![expect(clippy::expect_used, reason = "a rule that cannot read the house says why and ends")]

mod arrows;
mod documents;
mod files;
mod manifest;
mod tree;
mod vocabulary;

/// Fails with every sentence of `broken`.
fn hold(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// Fails unless exactly one of the sentences in `broken` was said, and it mentions `what`.
fn seen_to_fail(broken: &[String], what: &str) {
    assert!(broken.len() == 1 && broken[0].contains(what), "expected one sentence about {what}: {broken:?}");
}
