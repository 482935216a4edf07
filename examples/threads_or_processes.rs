//! One kind of queue serves the threads of one process and several processes.
//!
//! Python has two: `queue.Queue` for threads and `multiprocessing.Queue` for
//! processes. Here the same two functions, `work` and `collect`, run first as
//! threads around an anonymous queue, then as processes around a named one.
//!
//! ```text
//! cargo run --example threads_or_processes
//! cargo run --example threads_or_processes -- --fast    # 50 times faster
//! ```

use ringway::{Consumer, Options, Pod, PodQueue, Producer};
use std::error::Error;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const WORKERS: u32 = 2;
const SQUARES_PER_WORKER: u32 = 5;
const BETWEEN_SQUARES: Duration = Duration::from_millis(200);

/// How much shorter the pauses are with `--fast`.
const FAST: u32 = 50;

/// A number and its square: plain data, copied as it is.
#[derive(Clone, Copy, bytemuck::NoUninit, bytemuck::CheckedBitPattern)]
#[repr(C)]
struct Square {
    worker: u32,
    number: u32,
    square: u64,
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let fast = arguments.iter().any(|argument| argument == "--fast");
    arguments.retain(|argument| argument != "--fast");
    let pause = BETWEEN_SQUARES / if fast { FAST } else { 1 };
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => {
            with_threads(pause)?;
            with_processes(fast)
        }
        ["worker", name, worker] => work(&PodQueue::open(name)?.producer()?, worker.parse()?, pause),
        _ => Err("usage: threads_or_processes [--fast]".into()),
    }
}

/// What each worker does, wherever it runs.
fn work(queue: &Producer<Pod<Square>>, worker: u32, pause: Duration) -> Result<(), Failure> {
    for step in 0..SQUARES_PER_WORKER {
        let number = step * WORKERS + worker;
        queue.put(Square { worker, number, square: u64::from(number).pow(2) })?;
        sleep(pause);
    }
    Ok(())
}

/// Takes all squares there will be, in whatever order the workers are.
fn collect(queue: &Consumer<Pod<Square>>) -> Result<(), Failure> {
    let mut total = 0;
    for square in queue.iter().take((WORKERS * SQUARES_PER_WORKER) as usize) {
        let Square { worker, number, square } = square?;
        println!("  worker {worker}: the square of {number} is {square}");
        total += square;
    }
    println!("  together {total}");
    Ok(())
}

/// Threads: an anonymous queue, and an end for each thread.
fn with_threads(pause: Duration) -> Result<(), Failure> {
    println!("threads of process {}:", std::process::id());
    let queue = PodQueue::bounded(4)?;
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for worker in 0..WORKERS {
            let end = queue.producer()?;
            workers.push(scope.spawn(move || work(&end, worker, pause)));
        }
        collect(&queue.consumer()?)?;
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok(())
    })
}

/// Processes: a named queue, and its name for each process.
fn with_processes(fast: bool) -> Result<(), Failure> {
    let name = format!("threads-or-processes-{}", std::process::id());
    let queue = PodQueue::create(&name, Options::new(4))?;
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["worker", &name, &worker.to_string()]).args(fast.then_some("--fast"));
        workers.push(command.spawn()?);
    }
    let pids: Vec<String> = workers.iter().map(|worker| worker.id().to_string()).collect();
    println!("processes {}:", pids.join(" and "));
    collect(&queue.consumer()?)?;
    for mut worker in workers {
        let status = worker.wait()?;
        if !status.success() {
            return Err(format!("a worker failed: {status}").into());
        }
    }
    Ok(())
}
