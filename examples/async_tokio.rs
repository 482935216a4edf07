//! Futures over the queues that blocking programs use: a service in one process, clients as
//! tasks of another, on several threads of tokio.
//!
//! The service answers each question with a blocking loop; the clients ask at the same time,
//! and one of them with a time limit, which costs nobody a message.
//!
//! ```text
//! cargo run --features async --example async_tokio
//! ```

use ringway::{Driver, Options, PodQueue};
use std::error::Error;
use std::process::Command;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u32 = 3;
const QUESTIONS: u32 = 5;

/// Plain data, copied as it is.
#[derive(Clone, Copy, bytemuck::NoUninit, bytemuck::CheckedBitPattern)]
#[repr(C)]
struct Note {
    client: u32,
    number: u32,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(clients()),
        ["service", name] => serve(name),
        _ => Err("usage: async_tokio".into()),
    }
}

/// Squares numbers, until there are no more questions: an ordinary blocking program.
fn serve(name: &str) -> Result<(), Failure> {
    let questions = PodQueue::<Note>::open(name)?.consumer()?;
    let mut answers = Vec::new();
    for client in 0..CLIENTS {
        answers.push(PodQueue::<Note>::open(format!("{name}-{client}"))?.producer()?);
    }
    for question in questions.iter() {
        let Note { client, number } = question?;
        let to = answers.get(client as usize).ok_or("there is no such client")?;
        to.put(Note { client, number: number * number })?;
    }
    Ok(())
}

async fn clients() -> Result<(), Failure> {
    let driver = Driver::new()?;
    // Where io_uring is refused, this task has nothing to do, and a thread wakes the others.
    // SAFETY: a driver's descriptor is always the same one, and open while a clone is there.
    #[allow(unsafe_code)]
    let watched = unsafe { AsyncFd::register_with_interest(driver.clone(), Interest::READABLE)? };
    let dispatcher = tokio::spawn(async move {
        while let Ok(mut ready) = watched.readable().await {
            watched.get_ref().dispatch();
            ready.clear_ready();
        }
    });

    let name = format!("async-tokio-{}", std::process::id());
    let questions = PodQueue::<Note>::create(&name, Options::new(2))?;
    let mut answers = Vec::new();
    for client in 0..CLIENTS {
        answers.push(PodQueue::<Note>::create(format!("{name}-{client}"), Options::new(2))?);
    }
    let mut service = Command::new(std::env::current_exe()?).args(["service", &name]).spawn()?;

    let mut tasks = Vec::new();
    for (client, answers) in (0..CLIENTS).zip(answers) {
        let mut to = questions.producer()?.into_async_on(&driver);
        let mut from = answers.consumer()?.into_async_on(&driver);
        // The handle stays: it can put, and so the queue has not lost its producers yet.
        tasks.push(tokio::spawn(async move {
            let _queue = answers;
            let mut sum = 0;
            for number in 0..QUESTIONS {
                // Too short for an answer, sometimes: what is not got then is got below.
                to.put(Note { client, number: client * 10 + number }).await.map_err(|refused| refused.map(drop))?;
                let early = tokio::time::timeout(Duration::from_micros(20), from.get()).await;
                let answer = match early {
                    Ok(answer) => answer?,
                    Err(_) => from.get().await?,
                };
                sum += answer.number;
            }
            Ok::<u32, Failure>(sum)
        }));
    }
    for (client, task) in (0..CLIENTS).zip(tasks) {
        println!("client {client}: its squares add up to {}", task.await??);
    }
    questions.close();
    let status = tokio::task::spawn_blocking(move || service.wait()).await??;
    println!("the service ended: {status}");
    dispatcher.abort();
    Ok(())
}
