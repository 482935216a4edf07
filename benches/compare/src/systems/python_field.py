# One measurement of a queue of Python's between two processes: messages of bytes, a number and a rest that is always
# the same, both checked. Arguments: the queue, what is measured, bytes, milliseconds, two processors.
import json
import multiprocessing
import os
import sys
import time

library, kind, size, milliseconds, first_cpu, second_cpu = sys.argv[1:]
size, milliseconds = int(size), int(milliseconds)
REST = bytes((7 + k) % 251 for k in range(size - 8))
END = (1 << 64) - 1
CONTEXT = multiprocessing.get_context("fork")


def queue():
    if library == "faster-fifo":
        from faster_fifo import Queue

        return Queue(max_size_bytes=max(1_000_000, 8 * size))
    return CONTEXT.Queue(4 if size > 100_000 else 1024)


def message(number):
    return number.to_bytes(8, "little") + REST


def number_of(message):
    if len(message) != size or message[8:] != REST:
        raise SystemExit("a message that is cut or torn")
    return int.from_bytes(message[:8], "little")


def expect(message, number):
    if number_of(message) != number:
        raise SystemExit(f"expected message {number}, found {number_of(message)}")


def all_of(queue):
    # As its documentation recommends, where there is such a call.
    while True:
        if library == "faster-fifo":
            yield from queue.get_many()
        else:
            yield queue.get()


def receive(there, back):
    os.sched_setaffinity(0, {int(second_cpu)})
    expected = 0
    for received in all_of(there):
        if number_of(received) == END:
            back.put(expected)
            return
        expect(received, expected)
        expected += 1
        if kind == "round-trip":
            back.put(received)


def main():
    there, back = queue(), queue()
    other = CONTEXT.Process(target=receive, args=(there, back), daemon=True)
    other.start()
    os.sched_setaffinity(0, {int(first_cpu)})
    sent, trips = 0, {}
    # Both are there.
    if kind == "round-trip":
        there.put(message(0))
        expect(back.get(), 0)
        sent = 1
    begin = before = time.monotonic_ns()
    end = begin + milliseconds * 1_000_000
    first = sent
    while before < end:
        there.put(message(sent))
        if kind == "round-trip":
            expect(back.get(), sent)
        sent += 1
        after = time.monotonic_ns()
        if kind == "round-trip":
            trips[after - before] = trips.get(after - before, 0) + 1
        before = after
    there.put(END.to_bytes(8, "little") + REST)
    arrived = back.get()
    took = time.monotonic_ns() - begin
    other.join()
    if arrived != sent or other.exitcode != 0:
        raise SystemExit(f"{sent} messages were sent, {arrived} arrived")
    print(json.dumps({"per_second": (sent - first) / took * 1e9, "trips": sorted(trips.items())}))


main()
