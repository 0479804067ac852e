//! The shared tier for Envoys.

use crate::net::outbox::Outbox;
use crate::tier::{Fault, Tier};
use control_domain::purges::tier_order::Subject;
use optimizer_proto::v1::cache_backend_server::CacheBackend;
use optimizer_proto::v1::{
    TierFound, TierGet, TierInvalidate, TierInvalidated, TierPut, TierRelease, TierReleased, TierStored, TierSubject,
};
use prost::Message as _;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Subjects of one call.
pub(crate) const MAX_SUBJECTS: usize = 1_024;

/// The service.
#[derive(Debug)]
pub(crate) struct Backend {
    tier: Arc<Tier>,
}

impl Backend {
    pub(crate) fn new(tier: Arc<Tier>) -> Self {
        Self { tier }
    }

    fn status(&self, fault: Fault) -> Status {
        self.tier.counters.faulted();
        match fault {
            Fault::Unreachable(why) => Status::unavailable(why),
            Fault::Refused(why) => Status::failed_precondition(why),
        }
    }
}

#[tonic::async_trait]
impl CacheBackend for Backend {
    async fn get(&self, request: Request<TierGet>) -> Result<Response<TierFound>, Status> {
        let outbox = Outbox::of(&request);
        let found = self.tier.get(request.get_ref()).await;
        let found = found.map_err(|fault| self.status(fault))?;
        outbox.keep(found.encoded_len())?;
        Ok(Response::new(found))
    }

    async fn put(&self, request: Request<TierPut>) -> Result<Response<TierStored>, Status> {
        let (_, _held, offered) = request.into_parts();
        let refused = self.tier.put(offered).await.map_err(|fault| self.status(fault))?;
        Ok(Response::new(TierStored {
            stored: refused.is_none(),
            reason: refused.unwrap_or_default().to_owned(),
        }))
    }

    async fn release(&self, request: Request<TierRelease>) -> Result<Response<TierReleased>, Status> {
        let released = self.tier.release(request.get_ref()).await;
        released
            .map(|()| Response::new(TierReleased {}))
            .map_err(|fault| self.status(fault))
    }

    async fn invalidate(&self, request: Request<TierInvalidate>) -> Result<Response<TierInvalidated>, Status> {
        let subjects = named(&request.get_ref().subjects);
        let fence = self.tier.purge(&subjects).await.map_err(|fault| self.status(fault))?;
        Ok(Response::new(TierInvalidated {
            fence: Some(fence.into()),
        }))
    }
}

/// What is meant; everything, where it is more than is looked at one by one.
fn named(subjects: &[TierSubject]) -> Vec<Subject> {
    if subjects.len() > MAX_SUBJECTS {
        return vec![Subject::All];
    }
    subjects.iter().map(Subject::of_wire).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::tier_subject::Kind;

    #[test]
    fn more_subjects_than_are_looked_at_mean_everything() {
        let host = TierSubject {
            kind: Kind::Host.into(),
            host: "a".to_owned(),
            ..TierSubject::default()
        };
        let of = |count: usize| named(&vec![host.clone(); count]);
        assert_eq!(of(1_024), vec![Subject::Host { host: "a".to_owned() }; 1_024]);
        assert_eq!(of(1_025), [Subject::All]);
    }
}
