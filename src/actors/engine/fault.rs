//! Faults on demand, so that tests can break each actor and see what the engine makes of it.

/// What happens to the next piece of work of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// A panic.
    Panic,
    /// A future that never resolves.
    Hang,
    /// A thread that never returns.
    Block,
}

/// Decides which work fails. The default never does.
pub trait FaultPoint: Send + Sync + 'static {
    /// Asked at the start of each piece of work of `actor`.
    fn strike(&self, actor: &'static str) -> Fault;
}

/// No faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl FaultPoint for NoFaults {
    fn strike(&self, _actor: &'static str) -> Fault {
        Fault::None
    }
}

/// Suffers the fault; resolves only for [`Fault::None`].
///
/// # Panics
/// For [`Fault::Panic`], which is its purpose.
pub async fn suffer(fault: Fault) {
    match fault {
        Fault::None => {}
        Fault::Panic => panic!("a fault was asked for"),
        Fault::Hang => std::future::pending().await,
        Fault::Block => loop {
            std::thread::park();
        },
    }
}

/// Suffers the fault in a service's handler: a hang stops the service's whole context, as a real one would.
///
/// # Panics
/// For [`Fault::Panic`], which is its purpose.
pub fn suffer_in_service<A>(fault: Fault, context: &mut actix::Context<A>)
where
    A: actix::Actor<Context = actix::Context<A>>,
{
    use actix::AsyncContext;
    match fault {
        Fault::None => {}
        Fault::Panic => panic!("a fault was asked for"),
        Fault::Hang => context.wait(actix::fut::wrap_future::<_, A>(std::future::pending::<()>())),
        Fault::Block => loop {
            std::thread::park();
        },
    }
}
