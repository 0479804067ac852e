//! Which requests with content are reads.

use crate::cache::ContentPolicy;
use crate::graphql::Allowed;
use optimizer_proto::settings::{BodyMethod, BodyReads, KeyBody};

/// As a route of the settings says it.
pub(super) fn policy(body: &KeyBody) -> ContentPolicy {
    let covers = |method| body.methods.contains(&method);
    ContentPolicy {
        query: covers(BodyMethod::Query),
        post: covers(BodyMethod::Post),
        max_size: usize::try_from(body.max_size).unwrap_or(usize::MAX),
        graphql: (body.reads == BodyReads::Graphql).then(|| Allowed {
            operations: body.operations.clone(),
            persisted: body.persisted.clone(),
        }),
    }
}
