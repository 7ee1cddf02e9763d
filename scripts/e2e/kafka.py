#!/usr/bin/env python3
"""End to end on a real Kafka: trades in, one-minute bars out, compared with a second computation.

Runs laminardb.toml on a broker from scripts/kafka.sh: undisturbed, with kill -9 at many points, with the broker
away in the middle, with the broker killed and started again, and with outages that outlast an open transaction. After each the view (read with psql) must equal the recomputation exactly, and so must
the output topic (as a reader of committed records sees it): bar by bar without failures, as a set with failures where
delivery is at least once; with delivery = "exactly_once" bar by bar, each once, under the same kills, and so must a
second topic hold every trade, each once.

Needs the binaries laminardb-server and examples/kafka-tool in one target directory, psql, and what
scripts/kafka.sh needs.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import outages
from trades import PARTITIONS, end_rows, moment, recompute, trades

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_S = 120


# With exactly-once delivery: every trade again, in transactions of its own.
COPY = """
[[pipeline]]
name = "copy"
kind = "stream"
sql = "SELECT trade_id, symbol, price, quantity FROM trades"

[[sink]]
name = "copy_topic"
pipeline = "copy"
connector = "kafka"
delivery = "exactly_once"

[sink.properties]
"bootstrap.servers" = "${LAMINAR_KAFKA}"
topic = "copy_RUN"
format = "json"
"""


COPIED = ("trade_id", "symbol", "price", "quantity")


class ServerEnded(Exception):
    """The server ended before it was ready."""


class Server:
    """laminardb-server in a directory of its own, killed and started again at will."""

    def __init__(self, binary: pathlib.Path, kafka: str, run: str, exact: bool = False, transaction_s: int | None = None):
        self.binary = binary
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"laminardb-e2e-{run}-"))
        config = (ROOT / "laminardb.toml").read_text()
        for topic in ("trades", "ohlc_1m"):
            before = f'topic = "{topic}"'
            assert config.count(before) == 1, f"laminardb.toml names the topic {topic} once"
            config = config.replace(before, f'topic = "{topic}_{run}"')
        if exact:
            before = 'delivery = "at_least_once"'
            assert config.count(before) == 1, "laminardb.toml states the delivery once"
            config = config.replace(before, 'delivery = "exactly_once"')
            # A short interval and a sink that always has rows bring kills into commits.
            assert config.count('interval = "1 s"') == 1, "laminardb.toml states the checkpoint interval once"
            config = config.replace('interval = "1 s"', 'interval = "100 ms"') + COPY.replace("RUN", run)
        if transaction_s:
            for topic in ("ohlc_1m", "copy"):
                before = f'topic = "{topic}_{run}"'
                config = config.replace(before, f'{before}\n"transaction.timeout.ms" = "{1000 * transaction_s}"')
        (self.directory / "laminardb.toml").write_text(config)
        self.environment = os.environ | {
            "LAMINAR_KAFKA": kafka,
            "LAMINAR_DATA_DIR": str(self.directory / "data"),
            "LAMINAR_BIND": f"127.0.0.1:{free_port()}",
            "LAMINAR_PGWIRE_BIND": f"127.0.0.1:{free_port()}",
        }
        self.process = None
        self.restarts_s = []

    def start(self, crash_at=None):
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        began = time.monotonic()
        with open(self.directory / "log", "ab") as log:
            command = [self.binary, "--config", "laminardb.toml", "--ready-file", "ready"]
            environment = self.environment | ({"LAMINAR_CRASH_AT": crash_at} if crash_at else {})
            self.process = subprocess.Popen(
                command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        while not ready.exists():
            if self.process.poll() is not None:
                raise ServerEnded(f"the server ended at its start:\n{self.log_tail()}")
            assert time.monotonic() - began < PATIENCE_S, f"the server is not ready:\n{self.log_tail()}"
            time.sleep(0.005)
        self.restarts_s.append(time.monotonic() - began)

    def kill(self):
        assert self.process.poll() is None, f"the server ended by itself:\n{self.log_tail()}"
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.process.terminate()
        status = self.process.wait(PATIENCE_S)
        assert status == 0, f"the server stops with {status}:\n{self.log_tail()}"

    def query(self, sql: str):
        port = self.environment["LAMINAR_PGWIRE_BIND"].split(":")[1]
        command = ["psql", "-X", "-At", "-F", "\t", "-h", "127.0.0.1", "-p", port, "-d", "laminardb", "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, f"{sql}: {done.stderr}\n{self.log_tail()}"
        return [line.split("\t") for line in done.stdout.splitlines()]

    def log_tail(self) -> str:
        return "\n".join((self.directory / "log").read_text(errors="replace").splitlines()[-25:])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Kafka:
    """The broker, by the independent kafka-tool."""

    def __init__(self, tool: pathlib.Path):
        self.tool = tool
        done = subprocess.run([ROOT / "scripts/kafka.sh", "start"], stdout=subprocess.PIPE, text=True, check=True)
        self.address = done.stdout.strip()

    def is_ours(self):
        return (pathlib.Path(os.environ.get("LAMINAR_KAFKA_DIR", "")) / "pid").exists()

    def down(self):
        subprocess.run([ROOT / "scripts/kafka.sh", "down"], check=True)

    def up(self):
        environment = {name: value for name, value in os.environ.items() if name != "LAMINAR_TEST_KAFKA"}
        subprocess.run([ROOT / "scripts/kafka.sh", "start"], env=environment, stdout=subprocess.DEVNULL, check=True)

    def signal(self, number: int):
        os.kill(int((pathlib.Path(os.environ["LAMINAR_KAFKA_DIR"]) / "pid").read_text()), number)

    def kill(self):
        """Ends the broker without warning; `up` brings it back on the data that is there."""

        def gone():
            try:
                self.signal(0)
            except ProcessLookupError:
                return True
            return "the broker is still there"

        self.signal(signal.SIGKILL)
        wait("the broker to be gone", gone)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def create(self, topic: str):
        subprocess.run([self.tool, "create-topic", self.address, topic, str(PARTITIONS)], check=True)

    def produce(self, topic: str, rows):
        lines = "".join(f"{partition}\t{symbol}\t{body}\n" for partition, symbol, body, *_ in rows)
        done = subprocess.run(
            [self.tool, "produce", self.address, topic], input=lines, stdout=subprocess.PIPE, text=True, check=True
        )
        assert int(done.stdout) == len(rows), "kafka has all trades"

    def tell(self, *words: str) -> str:
        return subprocess.run([self.tool, *words], stdout=subprocess.PIPE, text=True, check=True).stdout

    def has_open_transaction(self, topic: str) -> bool:
        return int(self.tell("open-transactions", self.address, topic)) > 0

    def hidden(self, topic: str) -> int:
        """Records that a reader of committed records does not see."""
        count = lambda how: len(self.tell(how, self.address, topic).splitlines())
        return count("consume-all") - count("consume")

    def copies(self, topic: str):
        """The trades of a copy as (number, symbol, price, quantity), without the rows of the end."""
        rows = (json.loads(line.split("\t", 3)[3]) for line in self.tell("consume", self.address, topic).splitlines())
        return [tuple(row[name] for name in COPIED) for row in rows if row["trade_id"] >= 0]

    def bars(self, topic: str):
        """[(key, values)] of the output topic, without the rows that only end the last minute."""
        done = subprocess.run([self.tool, "consume", self.address, topic], stdout=subprocess.PIPE, text=True, check=True)
        found = []
        for line in done.stdout.splitlines():
            bar = json.loads(line.split("\t", 3)[3])
            if bar["symbol"] != "END":
                key = (bar["symbol"], moment(bar["window_start"]))
                names = ("open", "high", "low", "close", "vwap", "volume", "trades")
                found.append((key, tuple(float(bar[name]) for name in names)))
        return found


def wait(what: str, condition):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        state = condition()
        if state is True:
            return
        assert time.monotonic() < deadline, f"waited in vain for {what}: {state}"
        time.sleep(0.1)


def check(server: Server, kafka: Kafka, run: str, expected, kills: int):
    total = sum(bar[6] for bar in expected.values())

    def counted():
        [[bars, rows]] = server.query("SELECT count(*), sum(trades) FROM ohlc_1m WHERE symbol <> 'END'")
        return (int(bars), int(rows or 0)) == (len(expected), total) or f"{bars} bars of {rows} trades, not {len(expected)} of {total}"

    wait("the view to hold all trades", counted)
    columns = "symbol, window_start, open, high, low, close, vwap, volume, trades"
    view = {
        (symbol, moment(start)): tuple(float(value) for value in values)
        for symbol, start, *values in server.query(f"SELECT {columns} FROM ohlc_1m WHERE symbol <> 'END'")
    }
    wanted = {key: tuple(float(value) for value in bar) for key, bar in expected.items()}
    differing(view, wanted, "the view")

    found = []

    def written():
        found[:] = kafka.bars(f"ohlc_1m_{run}")
        return len({key for key, _ in found}) >= len(expected) or f"{len(found)} bars written of {len(expected)}"

    wait("the output topic to hold all bars", written)
    differing(dict(found), wanted, "the output topic")
    copies = {}
    for key, values in found:
        assert values == wanted[key], f"a copy of {key} differs: {values}, not {wanted[key]}"
        copies[key] = copies.get(key, 0) + 1
    assert max(copies.values()) <= 1 + kills, "a bar is written again at most once for each failure"
    return len(found) - len(expected)


def check_copies(kafka: Kafka, run: str, rows):
    """Every trade is there once and as it was."""
    found = []

    def copied():
        found[:] = kafka.copies(f"copy_{run}")
        return len(set(found)) >= len(rows) or f"{len(found)} copies of {len(rows)} trades"

    wait("the copy to hold all trades", copied)
    doubled = len(found) - len(set(found))
    assert doubled == 0, f"{doubled} of {len(rows)} trades are there twice"
    wanted = [(number, row[1], row[3], row[4]) for number, row in enumerate(rows)]
    assert sorted(found) == wanted, "the copy holds the trades and nothing else"


def differing(found: dict, wanted: dict, where: str):
    wrong = [key for key in wanted.keys() | found.keys() if found.get(key) != wanted.get(key)]
    sample = [(key, found.get(key), wanted.get(key)) for key in sorted(wrong)[:3]]
    assert not wrong, f"{where} differs in {len(wrong)} of {len(wanted)} bars, e.g. (found, wanted) {sample}"


@contextlib.contextmanager
def serving(binary, kafka, run: str, exact: bool = False, transaction_s: int | None = None):
    """A server over topics of its own; stopped at the end, unless something failed."""
    server = Server(binary, kafka.address, run, exact, transaction_s)
    try:
        for topic in ("trades", "ohlc_1m", "copy"):
            kafka.create(f"{topic}_{run}")
        server.start()
        yield server
        server.stop()
    finally:
        finish(server)


def undisturbed(binary, kafka, rows, expected, run: str):
    began = time.monotonic()
    with serving(binary, kafka, run) as server:
        kafka.produce(f"trades_{run}", rows + end_rows(rows))
        twice = check(server, kafka, run, expected, kills=0)
        assert twice == 0, "without a failure nothing is written twice"
        print(f"undisturbed: {len(rows)} trades, {len(expected)} bars equal in view and topic, {time.monotonic() - began:.1f} s")
        server.stop()
        server.start()
        check(server, kafka, run, expected, kills=0)
        print("after a clean restart: the same")


def killed(binary, kafka, rows, expected, run: str, kills: int, exact: bool = False):
    rng = random.Random(run)
    with serving(binary, kafka, run, exact) as server:
        slices = [rows[len(rows) * n // kills : len(rows) * (n + 1) // kills] for n in range(kills)]
        for piece in slices:
            kafka.produce(f"trades_{run}", piece)
            # The point of the kill: anywhere within a checkpoint interval and the commit behind it.
            time.sleep(rng.uniform(0, 0.6 if exact else 1.2))
            server.kill()
            server.start()
        kafka.produce(f"trades_{run}", end_rows(rows))
        twice = check(server, kafka, run, expected, 0 if exact else kills)
        slowest = max(server.restarts_s)
        if not exact:
            print(f"kill -9 at {kills} points: nothing lost, the view exact, {twice} bars written again, slowest start {slowest:.2f} s")
            return
        check_once(server, kafka, rows, expected, run)
        print(f"exactly once, kill -9 at {kills} points: {len(expected)} bars and {len(rows)} copied trades, 0 lost, 0 doubled, 0 wrong, slowest start {slowest:.2f} s")


# Where an exactly-once applier can die (laminardb-server --list-failpoints), and the publication before it.
APPLIER_POINTS = ("marker-read", "checkpoint-published", "commit-begins", "commit-half-sent", "commit-prepared", "commit-done")


def killed_at_points(binary, kafka, rows, expected, run: str, points):
    """The server dies at each point while trades flow, then starts again without it."""
    with serving(binary, kafka, run, exact=True) as server:
        for number, point in enumerate(points):
            server.kill()
            try:
                server.start(crash_at=point)
            except ServerEnded:
                pass  # The start itself has reached the point.
            kafka.produce(f"trades_{run}", rows[len(rows) * number // len(points) : len(rows) * (number + 1) // len(points)])

            def dead():
                return server.process.poll() is not None or f"crash point {point} is not reached"

            wait(f"the server to die at {point}", dead)
            assert f"crash point {point} is reached" in server.log_tail(), f"{point}: died otherwise:\n{server.log_tail()}"
            server.start()
        kafka.produce(f"trades_{run}", end_rows(rows))
        check(server, kafka, run, expected, kills=0)
        check_once(server, kafka, rows, expected, run)
        print(f"exactly once, dead at {', '.join(points)}: 0 lost, 0 doubled, 0 wrong")


def check_once(server: Server, kafka: Kafka, rows, expected, run: str):
    """Each bar and each trade is there once, now and in another life: what comes late would come with that one."""
    server.kill()
    server.start()
    time.sleep(1)
    twice = check(server, kafka, run, expected, kills=0)
    assert twice == 0, "each bar is written exactly once"
    check_copies(kafka, run, rows)


def suffered(binary, kafka, rows, run: str, story):
    """Exactly once while the broker goes through a story."""
    expected = recompute(rows)
    with serving(binary, kafka, run, exact=True, transaction_s=outages.TRANSACTION_S) as server:
        told = story(server, kafka, run, rows, random.Random(run))
        back = time.monotonic()
        kafka.produce(f"trades_{run}", end_rows(rows))
        check(server, kafka, run, expected, kills=0)
        resumed = time.monotonic() - back
        check_once(server, kafka, rows, expected, run)
        hidden = sum(kafka.hidden(f"{topic}_{run}") for topic in outages.SINKS)
        print(
            f"exactly once, {told}: {len(expected)} bars and {len(rows)} copied trades, 0 lost, 0 doubled, 0 wrong, "
            f"all there {resumed:.1f} s later; {hidden} records of aborted transactions stay hidden"
        )


def broker_away(binary, kafka, rows, expected, run: str, exact: bool = False):
    with serving(binary, kafka, run, exact) as server:
        half = len(rows) // 2
        kafka.produce(f"trades_{run}", rows[:half])
        kafka.down()

        def said():
            lines = ["\t".join(line) for line in server.query("EXPLAIN WATERMARK ohlc_1m")]
            return any(kafka.address in line for line in lines) or lines

        wait("the server to say that the broker is away", said)
        assert server.query("SELECT count(*) >= 0 FROM ohlc_1m") == [["t"]], "reads go on"
        server.query("CREATE TABLE meanwhile (id BIGINT PRIMARY KEY)")
        server.query("INSERT INTO meanwhile VALUES (1)")
        kafka.up()
        kafka.produce(f"trades_{run}", rows[half:] + end_rows(rows))
        twice = check(server, kafka, run, expected, kills=0 if exact else 1)
        if exact:
            check_copies(kafka, run, rows)
            print("exactly once with the broker away in the middle: 0 lost, 0 doubled, 0 wrong")
        else:
            print(f"the broker away in the middle: nothing lost, the view exact, {twice} bars written again")


def finish(server: Server):
    if server.process and server.process.poll() is None:
        server.process.kill()
        server.process.wait()
    if sys.exc_info()[0] is None:
        shutil.rmtree(server.directory)
    else:
        print(f"configuration, data and log are kept in {server.directory}", file=sys.stderr)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--target", type=pathlib.Path, required=True, help="directory with the binaries")
    arguments.add_argument("--trades", type=int, default=1_000_000)
    arguments.add_argument("--kills", type=int, default=30)
    arguments.add_argument(
        "--crash-points",
        nargs="*",
        choices=APPLIER_POINTS,
        default=APPLIER_POINTS,
        metavar="POINT",
        help=f"where the server dies besides (none after the option: nowhere): {', '.join(APPLIER_POINTS)}",
    )
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    given = arguments.parse_args()
    os.environ["TZ"] = "UTC"
    time.tzset()
    print(f"seed {given.seed}")
    own = "LAMINAR_TEST_KAFKA" not in os.environ
    if own:
        os.environ["LAMINAR_KAFKA_DIR"] = tempfile.mkdtemp(prefix="laminardb-e2e-kafka-")
    try:
        kafka = Kafka(given.target / "examples" / "kafka-tool")
        rows = list(trades(given.trades, given.seed))
        expected = recompute(rows)
        undisturbed(given.target / "laminardb-server", kafka, rows, expected, f"calm_{given.seed}")
        killed(given.target / "laminardb-server", kafka, rows, expected, f"kills_{given.seed}", given.kills)
        killed(given.target / "laminardb-server", kafka, rows, expected, f"exact_{given.seed}", 2 * given.kills, exact=True)
        if given.crash_points:
            killed_at_points(given.target / "laminardb-server", kafka, rows, expected, f"points_{given.seed}", given.crash_points)
        if kafka.is_ours():
            broker_away(given.target / "laminardb-server", kafka, rows, expected, f"away_{given.seed}")
            broker_away(given.target / "laminardb-server", kafka, rows, expected, f"back_{given.seed}", exact=True)
            few = rows[: min(len(rows), 200_000)]
            suffered(given.target / "laminardb-server", kafka, few, f"falls_{given.seed}", outages.restarts)
            suffered(given.target / "laminardb-server", kafka, few, f"outlasted_{given.seed}", outages.outlasted)
    finally:
        if own:
            subprocess.run([ROOT / "scripts/kafka.sh", "stop"], check=False)


if __name__ == "__main__":
    main()
