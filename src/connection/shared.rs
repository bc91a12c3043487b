//! What all connections share.

use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use tokio_util::task::TaskTracker;

use super::access::{Access, Granted};
use super::account::Account;
use super::memory::Memory;
use super::request::{self, Request};
use super::route::Error;
use crate::config::Limits;
use crate::domain::Context;
use crate::metrics::requests::Kind;
use crate::store::StateStore;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    /// What handlers may touch.
    pub context: Arc<Context>,
    /// Who may speak.
    pub access: Arc<Access>,
    /// Where work goes on whose request was answered for being late.
    pub tasks: TaskTracker,
    /// One hasher, so that hashes of one connection compare.
    pub hasher: DefaultHashBuilder,
    /// [`StateStore::in_call_order`], which never changes: asked for every request, and not to be looked
    /// up beside what the store changes all the time.
    pub(super) is_in_call_order: bool,
    /// What connections need beyond what each has of its own.
    pub(super) memory: Arc<Memory>,
}

impl Shared {
    /// With the rules and limits of the configuration in force.
    pub fn new(context: Arc<Context>, tasks: TaskTracker) -> Self {
        let (running, metrics) = (&context.running, Arc::clone(&context.metrics));
        let access = Arc::new(Access::new(&running.now().config, metrics));
        let max = running.now().config.limits.max_buffer_bytes;
        let memory = Arc::new(Memory::new(max, Arc::clone(&context.metrics)));
        let is_in_call_order = context.store.in_call_order();
        let hasher = DefaultHashBuilder::default();
        Self { context, access, tasks, hasher, is_in_call_order, memory }
    }

    /// `[limits]` as they are in force.
    pub(super) fn limits(&self) -> Limits {
        self.context.running.now().config.limits
    }

    /// The request, if it was understood and the peer may make it; else what it is answered, and as
    /// what it counts.
    pub(super) fn permit(
        &self,
        request: Result<Request, request::Error>,
        granted: &mut Granted,
        account: &Account,
    ) -> Result<Request, (Kind, Error)> {
        let request = request.map_err(|error| (Kind::Invalid, error.into()))?;
        let server = request.server();
        if self.access.allows(granted, account, server) {
            return Ok(request);
        }
        let who = Box::new(self.access.deny(account));
        Err((Kind::of(&request), Error::Denied { server: server.name(), who }))
    }
}
