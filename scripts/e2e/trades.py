"""Trades by seed, and their one-minute bars by plain code: what the end-to-end tests compare with."""

import random
import time

MINUTE_MS = 60_000
BEGIN_MS = 1_700_000_040_000  # a full minute
PARTITIONS = 4
DISORDER_MS = 3_000
SYMBOLS = [f"S{n:02}" for n in range(20)]


def trades(count: int, seed: int):
    """Yields (partition, symbol, JSON line, price, quantity, time); no two of a symbol share a time."""
    rng = random.Random(seed)
    seen = {symbol: set() for symbol in SYMBOLS}
    price = {symbol: 4_000 for symbol in SYMBOLS}  # quarters of a dollar: sums of doubles are exact
    span_ms = max(5 * MINUTE_MS, count * 36 // 10)
    for number in range(count):
        index = rng.randrange(len(SYMBOLS))
        symbol = SYMBOLS[index]
        now = BEGIN_MS + DISORDER_MS + number * span_ms // count
        while True:
            at = now - rng.randrange(DISORDER_MS)
            if at not in seen[symbol]:
                break
        seen[symbol].add(at)
        price[symbol] = max(4, price[symbol] + rng.randrange(-8, 9))
        dollars, quantity = price[symbol] / 4, 1 + rng.randrange(500)
        body = (
            f'{{"trade_id":{number},"symbol":"{symbol}","price":{dollars},'
            f'"quantity":{quantity},"event_time":{at}}}'
        )
        yield index % PARTITIONS, symbol, body, dollars, quantity, at


def moment(text: str) -> int:
    """Milliseconds since 1970 of a timestamp as psql and JSON show it."""
    text = text.replace("T", " ").removesuffix("Z").removesuffix("+00:00").removesuffix("+00")
    whole, _, fraction = text.partition(".")
    seconds = int(time.mktime(time.strptime(whole, "%Y-%m-%d %H:%M:%S"))) - time.timezone
    return seconds * 1000 + int((fraction + "000")[:3])


def recompute(rows):
    """The bars by plain code: (symbol, start) -> (open, high, low, close, vwap, volume, trades)."""
    bars = {}
    for _, symbol, _, price, quantity, at in rows:
        bar = bars.setdefault((symbol, at // MINUTE_MS * MINUTE_MS), [])
        bar.append((at, price, quantity))
    result = {}
    for key, members in bars.items():
        members.sort()
        volume = sum(quantity for _, _, quantity in members)
        result[key] = (
            members[0][1],
            max(price for _, price, _ in members),
            min(price for _, price, _ in members),
            members[-1][1],
            sum(price * quantity for _, price, quantity in members) / volume,
            volume,
            len(members),
        )
    return result


def end_rows(rows):
    """One trade a partition, ten minutes later: it moves the watermark past all bars."""
    at = max(row[5] for row in rows) + 10 * MINUTE_MS
    body = f'{{"trade_id":-1,"symbol":"END","price":1.0,"quantity":1,"event_time":{at}}}'
    return [(partition, "END", body, 1.0, 1, at) for partition in range(PARTITIONS)]
