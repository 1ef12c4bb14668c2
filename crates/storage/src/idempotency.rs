//! Answers to requests with an `Idempotency-Key`, so that a repeat is answered like the first one.
//!
//! An answer is encrypted under a key of its own, which is sealed by the master key and bound to the row.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use busbar_domain::Timestamp;
use busbar_domain::secret::{Secret, random};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;
use crate::seal::{self, Keyring, Place};

/// Where the answers' keys are sealed.
pub(crate) const DATA_KEY: &str = "idempotency|data_key";

/// What names a request: equal names with equal digests are the same request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Whose key it is; the nil id for the platform's operator.
    pub tenant: Uuid,
    /// Method and path.
    pub route: &'r str,
    /// The `Idempotency-Key`.
    pub key: &'r str,
    /// A hash of the body.
    pub digest: [u8; 32],
}

/// An answer as it is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body's type.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is the first; it must be finished or released.
    First,
    /// The first is still under way.
    UnderWay,
    /// The first had another body.
    Other,
    /// The first has been answered.
    Answered(Answer),
}

type Row = (Vec<u8>, Uuid, Option<i16>, Option<String>, Option<Vec<u8>>, Option<Vec<u8>>);

/// Takes the request's name for `owner` until `until`, unless it is taken.
pub async fn begin(
    conn: &mut PgConnection,
    keyring: &Keyring,
    request: Request<'_>,
    owner: Uuid,
    now: Timestamp,
    until: Timestamp,
) -> Result<Known, Error> {
    let taken = sqlx::query(
        "insert into idempotency as i (tenant_id, route, key, digest, owner, expires_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant_id, route, key) do update
             set digest = excluded.digest, owner = excluded.owner, expires_at = excluded.expires_at,
                 status = null, content_type = null, data_key = null, answer = null
             where i.expires_at <= $7",
    )
    .bind(request.tenant)
    .bind(request.route)
    .bind(request.key)
    .bind(&request.digest[..])
    .bind(owner)
    .bind(until)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    if taken.rows_affected() == 1 {
        return Ok(Known::First);
    }
    let row: Option<Row> = sqlx::query_as(
        "select digest, owner, status, content_type, data_key, answer from idempotency
         where tenant_id = $1 and route = $2 and key = $3",
    )
    .bind(request.tenant)
    .bind(request.route)
    .bind(request.key)
    .fetch_optional(conn)
    .await?;
    // A row that is gone by now was released between two statements; the sender tries again.
    let Some((digest, owner, status, content_type, data_key, answer)) = row else { return Ok(Known::UnderWay) };
    if digest != request.digest {
        return Ok(Known::Other);
    }
    let (Some(status), Some(data_key), Some(answer)) = (status, data_key, answer) else { return Ok(Known::UnderWay) };
    Ok(Known::Answered(Answer {
        status: u16::try_from(status).unwrap_or(500),
        content_type: content_type.unwrap_or_default(),
        body: decrypt(keyring, owner, &data_key, &answer)?,
    }))
}

/// Keeps the answer of the request that `owner` began, until `until`.
pub async fn finish(
    conn: &mut PgConnection,
    keyring: &Keyring,
    request: Request<'_>,
    owner: Uuid,
    answer: &Answer,
    until: Timestamp,
) -> Result<(), Error> {
    let (data_key, body) = encrypt(keyring, owner, &answer.body)?;
    sqlx::query(
        "update idempotency set status = $5, content_type = $6, data_key = $7, answer = $8, expires_at = $9
         where tenant_id = $1 and route = $2 and key = $3 and owner = $4",
    )
    .bind(request.tenant)
    .bind(request.route)
    .bind(request.key)
    .bind(owner)
    .bind(i16::try_from(answer.status).unwrap_or(500))
    .bind(&answer.content_type)
    .bind(data_key)
    .bind(body)
    .bind(until)
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives the name of the request that `owner` began free, since nothing came of it.
pub async fn release(conn: &mut PgConnection, request: Request<'_>, owner: Uuid) -> Result<(), Error> {
    sqlx::query("delete from idempotency where tenant_id = $1 and route = $2 and key = $3 and owner = $4")
        .bind(request.tenant)
        .bind(request.route)
        .bind(request.key)
        .bind(owner)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes answers that have expired; answers how many.
pub async fn trim(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<u64, Error> {
    let trimmed = sqlx::query(
        "delete from idempotency where ctid = any(array(
             select ctid from idempotency where expires_at <= $1 order by expires_at limit $2 for update skip locked))",
    )
    .bind(now)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(trimmed.rows_affected())
}

fn encrypt(keyring: &Keyring, owner: Uuid, body: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let bytes = random::<32>();
    let secret = Secret::parse(&STANDARD.encode(bytes)).map_err(seal::Error::from)?;
    let data_key = keyring.seal(Place { column: DATA_KEY, row: owner }, &secret)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| seal::Error::Broken)?;
    let mut text = body.to_vec();
    let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut text).map_err(|_| seal::Error::Broken)?;
    Ok((data_key, [&nonce.as_ref()[..], &text].concat()))
}

fn decrypt(keyring: &Keyring, owner: Uuid, data_key: &[u8], answer: &[u8]) -> Result<Vec<u8>, Error> {
    let secret = keyring.open(Place { column: DATA_KEY, row: owner }, data_key)?;
    let bytes = STANDARD.decode(secret.expose()).map_err(|_| seal::Error::Broken)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| seal::Error::Broken)?;
    let (nonce, text) = answer.split_at_checked(NONCE_LEN).ok_or(seal::Error::Broken)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| seal::Error::Broken)?;
    let mut text = text.to_vec();
    let plain = key.open_in_place(nonce, Aad::empty(), &mut text).map_err(|_| seal::Error::Broken)?;
    Ok(plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_opens_in_its_own_row_only() {
        let keyring = Keyring::parse(&Keyring::generate(1)).unwrap();
        let row = Uuid::from_u128(1);
        let (data_key, answer) = encrypt(&keyring, row, b"{\"secret\":\"s\"}").unwrap();
        assert!(!answer.windows(6).any(|part| part == b"secret"));
        assert_eq!(decrypt(&keyring, row, &data_key, &answer).unwrap(), b"{\"secret\":\"s\"}");
        assert!(decrypt(&keyring, Uuid::from_u128(2), &data_key, &answer).is_err());
        for end in [0, NONCE_LEN, answer.len() - 1] {
            assert!(decrypt(&keyring, row, &data_key, &answer[..end]).is_err());
        }
        assert!(matches!(encrypt(&Keyring::empty(), row, b""), Err(Error::Seal(seal::Error::NoKey))));
    }
}
