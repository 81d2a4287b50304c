//! One life of an actor: its actix context as a task of its own, so that its death is seen with its reason.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context};
use tokio::sync::Notify;
use tokio::task::JoinError;

/// How many control messages wait in an actor's own mailbox.
const CONTROL_MAILBOX: usize = 64;

/// Tells the slots of one incarnation to lease no more.
#[derive(Debug, Default)]
pub(super) struct Retirement {
    retired: AtomicBool,
    told: Notify,
}

impl Retirement {
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Resolves once retired.
    pub async fn wait(&self) {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.is_retired() {
                return;
            }
            told.await;
        }
    }
}

/// Starts `actor` on the present thread's local set, as actix would, but keeps the task's handle.
///
/// `ended` is told how the actor ended: well, or with the text of its panic.
pub(super) fn start_watched<A>(actor: A, ended: impl FnOnce(Result<(), String>) + 'static) -> Addr<A>
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = actix::dev::channel::channel(CONTROL_MAILBOX);
    let address = Addr::new(sender);
    let task = tokio::task::spawn_local(Context::with_receiver(receiver).into_future(actor));
    tokio::task::spawn_local(async move {
        ended(task.await.map_err(how_it_ended));
    });
    address
}

fn how_it_ended(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_text(&*panic),
        Err(_cancelled) => "its task was cancelled".to_owned(),
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    said.unwrap_or("a panic without a text").chars().take(400).collect()
}

/// An actor that can say that it lives.
#[derive(Debug, Clone, Copy, actix::Message)]
#[rtype(result = "()")]
pub struct Ping;

/// Sends a ping; false when there is no answer within `timeout`.
pub(super) async fn answers<A>(address: Addr<A>, timeout: std::time::Duration) -> bool
where
    A: Actor<Context = Context<A>> + actix::Handler<Ping>,
    A::Context: ToEnvelope<A, Ping>,
{
    matches!(tokio::time::timeout(timeout, address.send(Ping)).await, Ok(Ok(())))
}
