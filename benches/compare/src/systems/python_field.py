# One measurement of a queue of Python's between two processes: messages of bytes, a number and a rest that is always
# the same, both checked. Arguments: the queue, what is measured, bytes, capacity, milliseconds to warm up and to
# measure, two processors.
import json
import multiprocessing
import os
import signal
import sys
import time

library, kind, size, capacity, warm_up, measure, first_cpu, second_cpu = sys.argv[1:]
size, capacity = int(size), int(capacity)
REST = bytes((7 + k) % 251 for k in range(size - 8))
END = (1 << 64) - 1
CONTEXT = multiprocessing.get_context("fork")
# Seconds after which either process ends, whatever the other one does.
LIMIT = 25


def queue():
    if library == "faster-fifo":
        from faster_fifo import Queue

        # Bytes, pickled, with a length.
        return Queue(max_size_bytes=capacity * (size + 64))
    return CONTEXT.Queue(capacity)


def message(number):
    return number.to_bytes(8, "little") + REST


def number_of(message):
    if len(message) != size or not message.endswith(REST):
        raise SystemExit("a message that is cut or torn")
    return int.from_bytes(message[:8], "little")


def expect(message, number):
    found = number_of(message)
    if found != number:
        raise SystemExit(f"expected message {number}, found {found}")


def all_of(queue):
    # As its documentation recommends, where there is such a call.
    while True:
        if library == "faster-fifo":
            yield from queue.get_many(timeout=LIMIT)
        else:
            yield queue.get(timeout=LIMIT)


def receive(there, back):
    signal.alarm(LIMIT)
    os.sched_setaffinity(0, {int(second_cpu)})
    expected = 0
    for received in all_of(there):
        found = number_of(received)
        if found == END:
            back.put(expected)
            return
        if found != expected:
            raise SystemExit(f"expected message {expected}, found {found}")
        # The first one is answered always: then both are there.
        if kind == "round-trip" or expected == 0:
            back.put(message(expected))
        expected += 1


def main():
    signal.alarm(LIMIT)
    there, back = queue(), queue()
    other = CONTEXT.Process(target=receive, args=(there, back), daemon=True)
    other.start()
    os.sched_setaffinity(0, {int(first_cpu)})
    there.put(message(0))
    expect(back.get(timeout=LIMIT), 0)
    sent = 1
    for milliseconds in [int(warm_up), int(measure)]:
        first, trips = sent, {}
        begin = before = time.monotonic_ns()
        end = begin + milliseconds * 1_000_000
        while before < end:
            there.put(message(sent))
            if kind == "round-trip":
                expect(back.get(timeout=LIMIT), sent)
            sent += 1
            after = time.monotonic_ns()
            if kind == "round-trip":
                trips[after - before] = trips.get(after - before, 0) + 1
            before = after
    there.put(END.to_bytes(8, "little") + REST)
    arrived = back.get(timeout=LIMIT)
    # What the warm-up left in the queue is taken in this time, too: a little is counted against it.
    took = time.monotonic_ns() - begin
    other.join(LIMIT)
    if arrived != sent or other.exitcode != 0:
        raise SystemExit(f"{sent} messages were sent, {arrived} arrived")
    print(json.dumps({"per_second": (sent - first) / took * 1e9, "trips": sorted(trips.items())}))


main()
