//! Texts that must not be found, in every form that they could take, and where they are looked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use busbar_domain::secret::Secret;

/// Texts that must not be found, each with what it is.
#[derive(Default)]
pub(super) struct Canaries(Vec<(String, Vec<u8>)>);

impl Canaries {
    /// Plants a text: as it is, in hex and in base64, and what it stands for if it is base64 itself.
    pub(super) fn plant(&mut self, what: &str, text: &str) {
        let bare = text.strip_prefix("whsec_").unwrap_or(text);
        let decoded = STANDARD.decode(bare).ok().filter(|bytes| bytes.len() >= 16);
        let mut forms = vec![text.as_bytes().to_vec(), bare.as_bytes().to_vec()];
        for bytes in [Some(text.as_bytes().to_vec()), decoded].into_iter().flatten() {
            forms.push(hex::encode(&bytes).into_bytes());
            forms.push(STANDARD.encode(&bytes).into_bytes());
        }
        self.0.extend(forms.into_iter().map(|form| (what.to_owned(), form)));
    }

    /// A new text that is planted.
    pub(super) fn fresh(&mut self, what: &str) -> String {
        let text = format!("canary-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        self.plant(what, &text);
        text
    }

    /// What of it all is in `bytes`.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let text = String::from_utf8_lossy(bytes);
        let is_in = |form: &[u8]| text.contains(std::str::from_utf8(form).unwrap());
        self.0.iter().filter(|(_, form)| is_in(form)).map(|(what, _)| what.as_str()).collect()
    }
}

/// What is looked through, each with something that proves that it is the right thing.
pub(super) struct Sources(pub(super) Vec<(&'static str, Vec<u8>, &'static str)>);

impl Sources {
    pub(super) fn judge(&self, canaries: &Canaries) {
        for (source, bytes, proof) in &self.0 {
            let text = String::from_utf8_lossy(bytes);
            assert!(text.contains(proof), "{source} does not hold {proof:?}, so nothing was looked through");
            assert_eq!(canaries.found_in(bytes), Vec::<&str>::new(), "{source} holds secrets");
            eprintln!("{source}: {} bytes, {} forms looked for", bytes.len(), canaries.0.len());
        }
    }
}

#[test]
fn a_planted_text_is_found_in_every_form() {
    let mut canaries = Canaries::default();
    let (chosen, made) = (canaries.fresh("chosen"), Secret::generate());
    canaries.plant("made", made.expose());
    let bytes = STANDARD.decode(&made.expose()[6..]).unwrap();
    for (what, text) in [
        ("chosen", format!("before {chosen} after")),
        ("chosen", format!("\\x00{}", hex::encode(&chosen))),
        ("chosen", STANDARD.encode(&chosen)),
        ("made", format!("\"{}\"", made.expose())),
        ("made", made.expose()[6..].to_owned()),
        ("made", hex::encode(bytes)),
    ] {
        let among = [b"\xff\x00 not text ", text.as_bytes(), b" \xc3"].concat();
        assert!(canaries.found_in(&among).contains(&what), "{text}");
    }
    assert_eq!(canaries.found_in(b"nothing is here"), Vec::<&str>::new());
}
