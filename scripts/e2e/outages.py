"""What the broker of the end-to-end test goes through while results are on their way, exactly once.

A story feeds the trades piece by piece, does something to the broker (and the server), leaves both running, and
says what it did. It judges nothing but that it happened.
"""

import concurrent.futures
import time

# Of the sinks in these runs; an outage lasts twice as long and a second more.
TRANSACTION_S = 10
OUTAGE_S = 2 * TRANSACTION_S + 1
TRIES = 200
# What a frozen server has sent before has been answered after this time.
SETTLED_S = 0.5
# Their topics.
SINKS = ("copy", "ohlc_1m")


def pieces(rows, count: int):
    return [rows[len(rows) * n // count : len(rows) * (n + 1) // count] for n in range(count)]


def restarts(server, kafka, run: str, rows, rng) -> str:
    """The broker is killed, ends in order, and is killed together with the server, which starts without it."""
    ends = (kafka.kill, kafka.down, kafka.kill)
    *early, late = pieces(rows, len(ends) + 1)
    for number, piece in enumerate(early):
        kafka.produce(f"trades_{run}", piece)
        time.sleep(rng.uniform(0, 0.3))
        ends[number]()
        if number == len(ends) - 1:
            server.kill()
            server.start()
        kafka.up()
    kafka.produce(f"trades_{run}", late)
    return "the broker killed, stopped, and killed together with the server"


def outlasted(server, kafka, run: str, rows, rng) -> str:
    """The broker freezes, then is killed, each time with a transaction open and for longer than that may be."""
    supply = iter(pieces(rows, TRIES))
    catch_open(server, kafka, run, supply, rng)
    kafka.freeze()
    server.thaw()
    time.sleep(OUTAGE_S)
    kafka.thaw()

    catch_open(server, kafka, run, supply, rng)
    kafka.kill()
    server.thaw()
    # The first half is the transaction's own process, the second one that has to find out what became of it.
    time.sleep(OUTAGE_S / 2)
    server.kill()
    server.start()
    time.sleep(OUTAGE_S / 2)
    kafka.up()
    # Before anything else is fed, so that they are of what was open then.
    hidden = sum(kafka.hidden(f"{topic}_{run}") for topic in SINKS)
    assert hidden > 0, "the transactions that the broker was frozen and killed with have left no record"

    kafka.produce(f"trades_{run}", [row for piece in supply for row in piece])
    return f"the broker frozen, then killed, for {OUTAGE_S} s each with a transaction of {TRANSACTION_S} s open"


def catch_open(server, kafka, run: str, supply, rng):
    """Feeds until the server is caught, and frozen, with a transaction of its open."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for piece in supply:
            feeding = pool.submit(kafka.produce, f"trades_{run}", piece)
            time.sleep(rng.uniform(0.02, 0.3))
            server.freeze()
            feeding.result()
            if is_open(kafka, run):
                # One whose commit was on its way to the broker is over by then.
                time.sleep(SETTLED_S)
                if is_open(kafka, run):
                    return
            server.thaw()
    raise AssertionError(f"the server was never caught with a transaction open, {TRIES} tries")


def is_open(kafka, run: str) -> bool:
    return any(kafka.has_open_transaction(f"{topic}_{run}") for topic in SINKS)
