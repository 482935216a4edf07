//! Frames of 4 MiB go from process to process, and not one byte is copied.
//!
//! The camera reserves a frame in shared memory and draws into it; the viewer reads it
//! where it lies. What goes through the queue is the number of a block.
//!
//! ```text
//! cargo run --release --example zero_copy
//! ```

use ringway::{ByteQueue, GetError, Options};
use std::error::Error;
use std::process::Command;

const FRAME: usize = 4 << 20;
const FRAMES: u8 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let name = format!("zero-copy-{}", std::process::id());
            // About half of it is for the longest messages: room for four frames at a time. Whoever draws too fast
            // waits for a free one.
            let options = Options::new(8).max_message(FRAME).arena(8 * FRAME as u64);
            let queue = ByteQueue::create(&name, options)?;
            let mut camera = Command::new(std::env::current_exe()?).args(["camera", &name]).spawn()?;
            view(&queue)?;
            camera.wait()?;
            Ok(())
        }
        ["camera", name] => film(&ByteQueue::open(name)?),
        _ => Err("usage: zero_copy".into()),
    }
}

fn film(queue: &ByteQueue) -> Result<(), Box<dyn Error>> {
    for number in 0..FRAMES {
        let mut frame = queue.reserve(FRAME)?;
        frame.fill(number);
        // A refused commit gives the frame back, which lives no longer than this function.
        frame.commit().map_err(|refused| refused.map(drop))?;
    }
    queue.close();
    Ok(())
}

fn view(queue: &ByteQueue) -> Result<(), Box<dyn Error>> {
    loop {
        // Consumed when it is dropped; if this process died here, somebody else would get it.
        let frame = match queue.get_ref() {
            Ok(frame) => frame,
            Err(GetError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        println!("a frame of {} bytes, all {:?}", frame.len(), frame.get(FRAME / 2));
    }
}
