//! The children: the victim, which does one operation between two markers, and the
//! sleeper, which waits on the other side.

use super::kind::{Kind, Out, unwire, wire};
use super::table::{On, operation};
use super::{BATCH, Message, NAME, message, step, taken};
use crate::common::{hear, tell, thread_id};
use ringway::{Consumer, Handle, Lease, Producer, SetupError, WaitPolicy};
use std::time::Duration;

/// What the operations work on. What was never needed is never there.
pub struct Victim {
    pub handle: Option<Handle<Kind>>,
    pub producer: Option<Producer<Kind>>,
    pub consumer: Option<Consumer<Kind>>,
    pub lease: Option<Lease<'static, Kind>>,
    /// What it has taken and not done.
    pub task: Option<Out>,
    pub batch: [Message; BATCH],
    pub out: Vec<Out>,
    /// How long a timed operation waits, which is always in vain.
    pub patience: Duration,
}

impl Victim {
    #[inline(always)]
    pub fn producer(&self) -> &Producer<Kind> {
        self.producer.as_ref().expect("prepared")
    }

    #[inline(always)]
    pub fn consumer(&self) -> &Consumer<Kind> {
        self.consumer.as_ref().expect("prepared")
    }

    #[inline(always)]
    pub fn handle(&self) -> &Handle<Kind> {
        self.handle.as_ref().expect("prepared")
    }

    #[inline(always)]
    pub fn lease(&mut self) -> Lease<'static, Kind> {
        self.lease.take().expect("prepared")
    }

    pub fn open(&mut self) -> Result<(), SetupError> {
        self.handle = Some(Handle::open(NAME)?);
        Ok(())
    }
}

/// Arguments: the operation, the number of its process among producers, how many
/// messages to put and to get first, and whether it sleeps when it waits.
pub fn role_victim(arguments: &[String]) {
    step::be_traced();
    let number = |index: usize| arguments[index].parse::<u64>().expect("a number");
    let operation = operation(&arguments[0]).expect("an operation");
    let (me, puts, gets) = (number(1), number(2), number(3));
    // The steps must not depend on time: who waits spins, unless it is to sleep.
    let policy = if arguments[4] == "park" { WaitPolicy::Park } else { WaitPolicy::Spin };
    let mut victim = Victim {
        handle: None,
        producer: None,
        consumer: None,
        lease: None,
        task: None,
        batch: std::array::from_fn(|index| message(me, puts + index as u64)),
        out: Vec::with_capacity(2 * BATCH),
        patience: Duration::from_millis(1),
    };
    if operation.on != On::Nothing {
        victim.open().expect("the queue is there");
    }
    match operation.on {
        On::Producer => {
            let handle = victim.handle.take().expect("just opened");
            let producer = handle.producer().expect("a free place");
            producer.set_wait_policy(policy);
            (0..puts).for_each(|number| producer.try_put(wire(&message(me, number))).expect("there is room"));
            victim.producer = Some(producer);
        }
        On::Consumer | On::Lease | On::Task => {
            let handle = victim.handle.take().expect("just opened");
            let consumer = handle.consumer().expect("a free place");
            consumer.set_wait_policy(policy);
            for _ in 0..gets {
                taken(&consumer, consumer.try_get()).expect("it was put");
            }
            if operation.on == On::Task {
                victim.task = consumer.try_get().ok();
            }
            if operation.on == On::Lease {
                let kept: &'static _ = Box::leak(Box::new(consumer));
                victim.lease = Some(kept.try_lease().expect("it was put"));
            } else {
                victim.consumer = Some(consumer);
            }
        }
        On::Handle | On::Nothing => {}
    }
    // The first call of anything may bind it.
    std::hint::black_box(std::time::Instant::now());
    step::enter();
    let said = (operation.run)(&mut victim);
    step::exit(said);
    std::mem::forget(victim);
}

/// Arguments: `get`, or `put` and a number for its message. One operation, which
/// sleeps; says what came of it.
pub fn role_sleeper(arguments: &[String]) {
    /// Longer than anybody may let it wait.
    const LIMIT: Duration = Duration::from_secs(12);
    let handle = Handle::<Kind>::open(NAME).expect("the queue is there");
    if arguments[0] == "get" {
        let consumer = handle.consumer().expect("a free place");
        drop(handle);
        consumer.set_wait_policy(WaitPolicy::Park);
        tell(thread_id());
        match taken(&consumer, consumer.get_timeout(LIMIT)) {
            Ok(message) => tell(unwire(message)[0]),
            Err(error) => tell(format_args!("{error:?}")),
        }
        hear();
    } else {
        let producer = handle.producer().expect("a free place");
        drop(handle);
        producer.set_wait_policy(WaitPolicy::Park);
        let me = arguments[1].parse().expect("a number");
        tell(thread_id());
        match producer.put_timeout(wire(&message(me, 0)), LIMIT) {
            Ok(()) => tell("put"),
            Err(error) => tell(format_args!("{error:?}")),
        }
        hear();
    }
}
