//! The JSON in which a script is sent to a running sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use crate::script::{Answer, Part, Step};

/// The body of a trickle that names none: an hour's worth at one byte per second.
const SLOW_BODY: usize = 3_600;

/// One step, such as `{"status":500,"times":2}` or `{"kind":"black_hole"}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepBody {
    #[serde(default)]
    kind: Kind,
    #[serde(default = "ok")]
    status: u16,
    times: Option<u32>,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default = "one")]
    bytes_per_second: u32,
    #[serde(default)]
    part: PartBody,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Status,
    BlackHole,
    RefuseBody,
    Trickle,
    EndlessChunked,
    Reset,
    Garbage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PartBody {
    Head,
    #[default]
    Body,
}

fn ok() -> u16 {
    200
}

fn one() -> u32 {
    1
}

/// Reads a list of steps.
pub(crate) fn parse(json: &[u8]) -> Result<Vec<Step>, serde_json::Error> {
    let steps: Vec<StepBody> = serde_json::from_slice(json)?;
    Ok(steps.into_iter().map(Step::from).collect())
}

impl From<StepBody> for Step {
    fn from(step: StepBody) -> Self {
        let status = step.status;
        let answer = match step.kind {
            Kind::Status => Answer::Status {
                status,
                headers: step.headers.into_iter().collect(),
                body: step.body.map(Bytes::from).unwrap_or_default(),
                delay: Duration::from_millis(step.delay_ms),
            },
            Kind::BlackHole => Answer::BlackHole,
            Kind::RefuseBody => Answer::RefuseBody { status },
            Kind::Trickle => Answer::Trickle {
                status,
                body: step.body.map_or_else(|| Bytes::from(vec![b'.'; SLOW_BODY]), Bytes::from),
                bytes_per_second: step.bytes_per_second,
                part: match step.part {
                    PartBody::Head => Part::Head,
                    PartBody::Body => Part::Body,
                },
            },
            Kind::EndlessChunked => Answer::EndlessChunked,
            Kind::Reset => Answer::Reset,
            Kind::Garbage => Answer::Garbage,
        };
        Self { answer, times: step.times }
    }
}
