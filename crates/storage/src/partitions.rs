//! Time partitions: made ahead, with a default one as the net.

use busbar_domain::Timestamp;
use sqlx::PgConnection;

use crate::Error;

/// Makes the weekly partitions that are missing up to `weeks_ahead`; answers how many were made.
pub async fn make(conn: &mut PgConnection, now: Timestamp, weeks_ahead: i32) -> Result<i32, Error> {
    let made = sqlx::query_scalar("select make_partitions($1, $2)").bind(now).bind(weeks_ahead).fetch_one(conn);
    Ok(made.await?)
}

/// Whether a default partition holds rows: a partition was not made in time, and an operator should know.
pub async fn rest_is_used(conn: &mut PgConnection) -> Result<bool, Error> {
    let used = sqlx::query_scalar(
        "select exists (select from inbound_rest) or exists (select from events_rest)
             or exists (select from deliveries_rest) or exists (select from attempts_rest)",
    );
    Ok(used.fetch_one(conn).await?)
}
