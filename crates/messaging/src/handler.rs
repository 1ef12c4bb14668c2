//! What a consumer's owner provides.

use std::future::Future;

use busbar_domain::Failure;
use busbar_domain::trace::TraceContext;
use uuid::Uuid;

/// Does the work that wake-ups ask for.
///
/// The same ids may come again at any time, and rows may be gone or done already: the row decides, not the wake-up.
pub trait Handler: Send + Sync + 'static {
    /// Works the rows with these `ids`, which are sorted and distinct.
    ///
    /// `Ok` acks the batch; a transient failure calls again with the same ids; a permanent one is logged and acked,
    /// since the rows carry their error. `trace` is known where the whole batch belongs to one trace.
    fn handle(&self, ids: Vec<Uuid>, trace: Option<TraceContext>) -> impl Future<Output = Result<(), Failure>> + Send;
}
