"""Streams under load: every message counted against the venue's own wire log, and how long until the trader can read it.

Venue, trader and this judge are three processes. Times are wall clock readings of one machine, to the millisecond. Not here:
history and the lake (``market``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.many_pairs import pair_names
from benchmarks.rows import AT_MOST, Report, Row
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.pairs import DEFAULT_PAIRS

SECONDS, MANY_SECONDS, QUICK = 60, 20, 3
RATE = 5_000
FLOOD = {".*@bookTicker": 4_000, ".*@markPrice.*": 650, ".*@kline_1m": 300}
"""Messages a second that are ordered beyond what the streams carry anyway, by pattern: best quotes dominate a real feed too."""
GOAL_P99_MS = 50.0
RETURN_S = 1.0
ABSENT_S = (2.0, 5.0, 8.0)
MEMORY_MB = 400.0
"""A resident process that leaves a small machine room for the rest of the platform."""
MANY = 400
WARM_S = 5.0
SETTLE_S = 5.0
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Child:
    """A process of ours that tells by lines of JSON on its standard output."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        self.told: list[dict[str, Any]] = []
        self._heard = threading.Condition()
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def _listen(self, lines: IO[str]) -> None:
        for line in lines:
            with self._heard:
                self.told.append(json.loads(line))
                self._heard.notify_all()

    def hear(self, true: Callable[[dict[str, Any]], bool], within_s: float, since: int = 0) -> dict[str, Any]:
        """The first line told after ``since`` lines that fits; raises TimeoutError."""
        with self._heard:
            if self._heard.wait_for(lambda: any(map(true, self.told[since:])), within_s):
                return next(one for one in self.told[since:] if true(one))
        raise TimeoutError(f"{self.process.args!r} told {self.told[since:]}")

    def say(self, word: str) -> None:
        """A line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def child(*words: str) -> Iterator[Child]:
    """A child that does not outlive the block."""
    one = Child(*words)
    try:
        yield one
    finally:
        one.end()


def loaded(report: Report) -> list[Row]:
    """Eight pairs, every stream, flooded."""
    seconds = QUICK if report.quick else SECONDS
    report.say(f"{len(DEFAULT_PAIRS)} pairs, every stream, {RATE:,} messages a second for {seconds} s")
    return under_load(seconds)


def returned(report: Report) -> list[Row]:
    """The venue goes and comes back."""
    report.say("the venue goes and comes back")
    return returning(ABSENT_S[:1] if report.quick else ABSENT_S)


def followed(report: Report) -> list[Row]:
    """Many pairs at once."""
    seconds = QUICK if report.quick else MANY_SECONDS
    report.say(f"{MANY} pairs of 1m candles and marks for {seconds} s")
    return many_pairs(seconds)


def under_load(seconds: int) -> list[Row]:
    """Eight pairs and every stream, flooded."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streams-")))
        _, url = _venue(stack, folder)
        order(url, "wire", {"on": True, "disk": True, "limit": 4 * RATE * seconds + 1_000_000})
        out = folder / "heard.json"
        topics = "candles,trades,quotes,book,marks,liquidations"
        words = (
            "-m",
            "benchmarks.stream_trader",
            url,
            str(out),
            "--pairs",
            ",".join(DEFAULT_PAIRS),
            "--topics",
            topics,
        )
        trader = stack.enter_context(child(*words))
        trader.hear(lambda line: bool(line["healthy"]), 60)
        _pause(WARM_S)
        began = SystemClock().wall_ms()
        for pattern, rate in FLOOD.items():
            order(url, "faults", {"kind": "flood", "streams": pattern, "rate": rate, "seconds": float(seconds)})
        _pause(seconds)
        ended = SystemClock().wall_ms()
        order(url, "faults", {"kind": "stall", "streams": ".*"})  # from here on the venue sends nothing more
        _pause(SETTLE_S)
        trader.say("stop")
        if trader.process.wait(60):
            raise RuntimeError("the trader's feeds ended with an error; it is told above")
        order(url, "wire", {"on": False})
        heard = json.loads(out.read_text())
        sent, numbers = _sent(folder / "venue" / "wire.jsonl")
    arrived: dict[str, list[int]] = heard["arrived"]
    # A trade counts by its number, however often it was told and whether the stream or REST brought it first.
    lost = {name: len(set(told) - set(heard["numbers"].get(name, []))) for name, told in numbers.items()}
    total = sum(map(len, sent.values()))
    here = sum(
        len(times) - lost[name] if name in lost else min(len(arrived.get(name, [])), len(times))
        for name, times in sent.items()
    )
    delays = _delays(sent, arrived, began, ended)
    reached = delays.size / ((ended - began) / 1000)
    captured = sum(len(set(told)) for told in numbers.values())
    captured += sum(len(times) for name, times in sent.items() if name.endswith("@forceOrder"))
    counts = {name: (len(times), len(arrived.get(name, []))) for name, times in sent.items()}
    wrong = {name: pair for name, pair in counts.items() if pair[0] != pair[1] and lost.get(name, 1)}
    note = f"{total:,} on {len(sent)} streams by the wire log, {heard['dropped']} quotes dropped, "
    note += f"{heard['malformed']} malformed"
    if wrong:
        note += f"; sent and heard differ on {len(wrong)} streams, e.g. {dict(list(wrong.items())[:3])}"
    spread = ", ".join(f"p{share:g} {np.percentile(delays, share):.0f} ms" for share in (50, 90, 99.9))
    limit = "the peer is the limit"
    p99 = max(1.0, float(np.percentile(delays, 99)))
    asked = "the peer is the rate asked for; ours what the venue sent, which needs a core of its own"
    spooled = "lines of trades and forced orders in the spool, beside those that the wire log has"
    return [
        Row("streams: messages in memory of messages sent", here, total, 1.0, "messages", notes=note),
        Row("streams: rate of the flood", reached, RATE, 1.0, "messages/s", notes=asked),
        Row(
            "streams: p99 from venue send to the trader's memory", p99, GOAL_P99_MS, 1.0, "ms", AT_MOST,
            f"{limit}; {spread}, {delays.size:,} messages",
        ),
        Row(
            "streams: lossless messages appended to the capture", heard["spooled"], max(1, captured), 1.0, "lines",
            notes=spooled,
        ),
        Row(
            "streams: peak memory, 8 pairs", heard["peak_mb"], MEMORY_MB, 1.0, "MB", AT_MOST,
            f"resident size of the trader's feeds; {limit}",
        ),
    ]  # fmt: skip


def returning(absent_s: Sequence[float]) -> list[Row]:
    """From the venue's return to every stream healthy, gaps filled."""
    took = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streams-")))
        venue, url = _venue(stack, folder)
        topics = "candles,trades,quotes,book,marks,liquidations"
        words = (
            "-m", "benchmarks.stream_trader", url, str(folder / "heard.json"),
            "--pairs", ",".join(DEFAULT_PAIRS), "--intervals", "1m", "--topics", topics,
        )  # fmt: skip
        trader = stack.enter_context(child(*words))
        trader.hear(lambda line: bool(line["healthy"]), 60)
        for down_s in absent_s:
            seen = len(trader.told)
            venue.end()
            trader.hear(lambda line: not line["healthy"], 60, seen)
            _pause(down_s)
            seen = len(trader.told)
            venue, _ = _venue(stack, folder, port=url.rpartition(":")[2])
            back = SystemClock().wall_ms()
            healthy = trader.hear(lambda line: bool(line["healthy"]), 60, seen)
            took.append(max(1, healthy["wall_ms"] - back) / 1000)
    words_ = ", ".join(f"{one:.2f} s" for one in took)
    away = ", ".join(f"{one:g}" for one in absent_s)
    notes = f"venue killed for {away} s and started again: {words_} from its ready line; the peer is the limit"
    return [Row("streams: healthy again after the venue's return", max(took), RETURN_S, 1.0, "s", AT_MOST, notes)]


def many_pairs(seconds: int) -> list[Row]:
    """400 pairs of running 1m candles, and all marks."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streams-")))
        server = stack.enter_context(child("-m", "benchmarks.many_pairs", "--pairs", str(MANY)))
        url = f"http://127.0.0.1:{server.hear(lambda line: 'port' in line, 30)['port']}"
        out = folder / "heard.json"
        names = pair_names(MANY)
        words = (
            "-m", "benchmarks.stream_trader", url, str(out), "--pairs", ",".join(names), "--intervals", "1m",
            "--topics", "candles,marks", "--no-clock",
        )  # fmt: skip
        trader = stack.enter_context(child(*words))
        trader.hear(lambda line: bool(line["healthy"]), 120)
        _pause(seconds)
        trader.say("stop")
        if trader.process.wait(60):
            raise RuntimeError("the trader's feeds ended with an error; it is told above")
        heard = json.loads(out.read_text())
    kinds = ("kline_1m", "markPrice@1s")
    spoken = sum(all(heard["arrived"].get(f"{name.lower()}@{kind}") for kind in kinds) for name in names)
    count = sum(map(len, heard["arrived"].values()))
    notes = f"{count:,} messages in about {seconds} s, {heard['malformed']} malformed"
    return [
        Row("streams: pairs followed of 400, candles and marks", spoken, MANY, 1.0, "pairs", notes=notes),
        Row(
            "streams: peak memory, 400 pairs", heard["peak_mb"], MEMORY_MB, 1.0, "MB", AT_MOST,
            "resident size of the trader's feeds; the peer is the limit",
        ),
    ]  # fmt: skip


def order(url: str, path: str, body: dict[str, Any]) -> Any:
    """A word to the venue's control plane."""
    request = urllib.request.Request(
        f"{url}/_venue/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with _direct.open(request, timeout=30) as answer:
        return json.loads(answer.read())


def _venue(stack: ExitStack, folder: Path, port: str = "0") -> tuple[Child, str]:
    words = ("--market", "synthetic-7-0.3", "--days", "3", "--state-dir", str(folder / "venue"), "--port", port)
    venue = stack.enter_context(child("-m", "hydra_core.venue", "--log-level", "ERROR", *words))
    ready = venue.hear(lambda line: line.get("event") == "ready", 60)
    return venue, f"http://127.0.0.1:{ready['port']}"


def _sent(file: Path) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Wall times at which the venue sent each stream's messages, and the numbers of the trades among them."""
    sent: dict[str, list[int]] = defaultdict(list)
    numbers: dict[str, list[int]] = defaultdict(list)
    with file.open("rb") as lines:
        for line in lines:
            row = json.loads(line)
            if row["channel"] == "ws" and row["stream"]:
                sent[row["stream"]].append(row["wall_ms"])
                if row["stream"].endswith("@aggTrade"):
                    numbers[row["stream"]].append(json.loads(row["data"])["a"])
    return sent, numbers


def _delays(sent: dict[str, list[int]], arrived: dict[str, list[int]], began: int, ended: int) -> np.ndarray[Any, Any]:
    """Milliseconds from sending to memory of the n-th message of every stream sent in the span."""
    parts = [np.zeros(0)]
    for name, times in sent.items():
        count = min(len(times), len(arrived.get(name, [])))
        out, back = np.array(times[:count]), np.array(arrived.get(name, [])[:count])
        inside = (out >= began) & (out < ended)
        parts.append((back - out)[inside])
    return np.concatenate(parts)


def _pause(seconds: float) -> None:
    """Let the others work."""
    threading.Event().wait(seconds)
