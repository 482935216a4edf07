//! How the numbers of each section were taken, in a few sentences.

pub const WHAT: &str = "Messages between processes on one machine: what a round trip takes, how many messages go \
    through a queue, and how far that is from what the machine allows.";

pub const INTERRUPTED: &str = "Interrupted: this is what had been measured by then. Rows may have fewer runs, or none.";

pub const LATENCY: &str = "One process sends a message, another sends it back, each pinned to a processor of its own if \
    there are enough; both check every word. Every exchange is timed, warm-up left out. The distribution is of \
    all runs together; p50 to p99.9 in the tables are medians over the runs, max is the longest of all. `raw` is \
    the least that two processors can do: a ping-pong over two cache lines with the same payload; `futex` is the \
    same with both sides asleep between; `pipe`, `unix` and `mq` are the kernel's pipe, sequenced-packet socket and \
    message queue. `spin`, `default` and `park` say how ringway waits.";

pub const THROUGHPUT: &str = "Producers write every byte of each message and consumers check every byte; a lost, doubled or \
    damaged message fails the row. Start and end are left out of the count. `copy` is the limit: one processor \
    writes a buffer, another copies it out, two buffers in turn. A batch is the number of messages of one call.";

pub const SIZE: &str = "The same numbers as under Throughput, one line for each system and mode.";

pub const SCALE: &str = "As under Throughput, one message at a time. Processes share the processors where there are more of them \
    than cores, each pinned; their queue has both sides `Multi`. Sizes go through queues of bytes, whose long messages lie in blocks of an \
    arena, beside `copy`. The ratios in the tables (`ratio_base`) are medians of ratios of the same round: over processes to two \
    on each side, over size to `copy`, over capacity to the best one.";

pub const LOAD: &str = "Messages leave at fixed times, whatever the receiver does, and the time counts from when a message \
    was due: a sender that falls behind does not hide it.";

pub const IDLE: &str = "Processor time of a process that waits for messages, while none are sent.";

pub const PROCESS: &str = "Start and join of an empty function, from a parent with so much memory in use; `ringway-death` is the \
    time from a child's last act to the return of `join`. `command` is `std::process::Command` of `/bin/true`.";

pub const POOL: &str = "`apply` is one call and its result; `async` are jobs submitted one by one, `map` are calls that split one \
    range; `slices` copies 64 MiB; `cpu` are jobs of some 10 ms. `rayon` are threads of one process.";

pub const TUNE: &str = "`raw` are round trips of a cache line between two cores, both spinning; `futex` are those of two processes \
    that sleep between. Then one producer and one consumer: queues of different capacities, and messages of bytes in \
    the slots themselves (`inline` is their length) or in blocks (`inline` is less).";

pub const FIELD: &str = "Other libraries in the same run, each in the way its documentation recommends (the column note says \
    which), interleaved with ringway: a copy of the message on both sides, or reading and writing in place.";

pub const RATIOS: &str = "Above 1 ringway is faster. Runs of both sides follow each other within a round; where a ratio of \
    each round is known the median of these is given, else the ratio of the medians. To the limit, a round trip \
    counts against `raw` (parked: `futex`) and a rate against `copy`.";
