# Puts (number, text) for so many milliseconds, gets and checks all, prints the rate.
import multiprocessing
import os
import signal
import sys
import time

TEXT = "the quick brown fox jumped over."
# Seconds after which either process ends, whatever the other one does.
LIMIT = 25


def put(queue, seconds):
    signal.alarm(LIMIT)
    pin(0)
    number = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(64):
            queue.put((number, TEXT))
            number += 1
    queue.put((-1, TEXT))


def pin(index):
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[index % len(allowed)]})


if __name__ == "__main__":
    signal.alarm(LIMIT)
    context = multiprocessing.get_context("fork")
    queue = context.Queue(1024)
    child = context.Process(target=put, args=(queue, int(sys.argv[1]) / 1000), daemon=True)
    child.start()
    pin(1)
    expected, start = 0, None
    while True:
        number, text = queue.get(timeout=LIMIT)
        start = start or time.monotonic()
        if number < 0:
            break
        assert (number, text) == (expected, TEXT), "lost, repeated or out of order"
        expected += 1
    print(expected / (time.monotonic() - start))
    child.join(LIMIT)
