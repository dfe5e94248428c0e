"""Feeds: read, made harmless, told apart, limited; and what a headline's words are worth."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from provider_servers import Provider, atom, item, rss

from hydra_core.domain.errors import Refused, VenueUnavailable
from hydra_core.domain.intervals import HOUR_MS
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.domain.text import neutralised
from hydra_core.market.external import http as fetching
from hydra_core.market.external import news
from hydra_core.market.external.http import Fetcher
from hydra_core.market.external.memory import Memory
from hydra_core.market.external.sentiment import WORDS, Mood, mood_of, score_of

BTC, ETH, SOL = Pair("BTCUSDT"), Pair("ETHUSDT"), Pair("SOLUSDT")


@pytest.fixture
async def server() -> AsyncIterator[Provider]:
    one = Provider()
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    with Memory(tmp_path / "external.db") as one:
        yield one


def parsed(memory: Memory, body: bytes | str) -> list[news.Headline]:
    return news.parse("news paper", "paper", DEFAULT_PAIRS, memory, body if isinstance(body, bytes) else body.encode())


async def test_rss_is_read(server: Provider, memory: Memory) -> None:
    server.bodies["/feed"] = rss(item("Bitcoin rallies past 100k", 1), item("Solana halts for five hours", 2))
    async with Fetcher(memory) as fetcher:
        first, second = await news.fetch(fetcher, f"{server.url}/feed", DEFAULT_PAIRS)
    assert (first.title, first.pairs, first.link) == ("Bitcoin rallies past 100k", (BTC,), "http://paper.example/1")
    assert first.dated_ms == 1_709_632_800_000
    assert second.pairs == (SOL,)
    assert first.identifier != second.identifier


async def test_atom_is_read_through_a_redirect_and_packed(server: Provider, memory: Memory) -> None:
    server.script["/old"] = [(301, "", {"Location": "/new"})]
    server.bodies["/new"] = atom("Ethereum upgrade is live")
    server.packed = True
    async with Fetcher(memory) as fetcher:
        (only,) = await news.fetch(fetcher, f"{server.url}/old", DEFAULT_PAIRS)
    assert (only.title, only.pairs) == ("Ethereum upgrade is live", (ETH,))


async def test_a_feed_that_runs_in_circles_is_refused(server: Provider, memory: Memory) -> None:
    server.script["/a"] = [(302, "", {"Location": "/a"})] * 9
    async with Fetcher(memory) as fetcher:
        with pytest.raises(Refused, match="leads elsewhere"):
            await news.fetch(fetcher, f"{server.url}/a", DEFAULT_PAIRS)


async def test_a_feed_may_not_lead_to_a_file_or_off_a_local_market(server: Provider, memory: Memory) -> None:
    server.script["/a"] = [(302, "", {"Location": "file:///etc/passwd"})]
    server.script["/b"] = [(302, "", {"Location": "http://10.1.2.3/inside"})]
    async with Fetcher(memory, local_only=True) as fetcher:
        with pytest.raises(Refused, match="address"):
            await news.fetch(fetcher, f"{server.url}/a", DEFAULT_PAIRS)
        with pytest.raises(Refused, match="this machine"):
            await news.fetch(fetcher, f"{server.url}/b", DEFAULT_PAIRS)


@pytest.mark.parametrize(
    "title",
    [
        "<script>steal()</script>Bitcoin falls",
        "&lt;script&gt;steal()&lt;/script&gt;Bitcoin falls",
        "&amp;lt;script&amp;gt;steal()&amp;lt;/script&amp;gt;Bitcoin falls",
        "<![CDATA[<img src=x onerror=steal()>Bitcoin falls]]>",
        "Bitcoin\u202e\u2066 falls\x07",
        "Bitcoin <b onclick='steal()'>falls</b>",
        "Bitcoin falls {{7*7}} `rm -rf` [link](javascript:steal)",
        "<style>x{}</style>Bitcoin falls<script>never ends",
    ],
)
def test_what_is_written_into_titles_becomes_plain_words(title: str, memory: Memory) -> None:
    (only,) = parsed(memory, rss(item(title)))
    assert only.title.startswith("Bitcoin")
    assert "falls" in only.title
    assert not set("<>{}[]`\\|\x07\u202e\u2066") & set(only.title)
    assert "script" not in only.title.replace("javascript", "")
    assert "onclick" not in only.title
    assert "onerror" not in only.title


def test_a_link_that_is_none_is_left_out(memory: Memory) -> None:
    body = rss("<item><title>Bitcoin</title><link>javascript:alert(1)</link><guid>1</guid></item>")
    assert parsed(memory, body)[0].link == ""


def test_a_long_title_is_cut() -> None:
    assert len(neutralised("word " * 500)) == 200


BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;">
<!ENTITY lol3 "&lol2;&lol2;&lol2;&lol2;">]><rss version="2.0"><channel><item><title>&lol3;</title></item></channel></rss>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><rss version="2.0"><channel><item>
<title>&f;</title></item></channel></rss>"""


@pytest.mark.parametrize("body", [BOMB, OUTSIDE, BOMB.lower(), BOMB.replace("<!ENTITY", "<! ENTITY")])
def test_feeds_that_declare_entities_are_refused(body: str, memory: Memory) -> None:
    with pytest.raises(Refused, match="entities"):
        parsed(memory, body)
    with pytest.raises(Refused, match="entities"):
        parsed(memory, body.encode("utf-16"))


def test_a_bomb_in_an_encoding_that_hides_it_is_refused(memory: Memory) -> None:
    hidden = b'<?xml version="1.0" encoding="utf-7"?>' + BOMB[21:].replace("!", "+ACE-").encode()
    with pytest.raises(Refused, match="encoding"):
        parsed(memory, hidden)


def test_feeds_beyond_the_limits_are_refused(memory: Memory) -> None:
    with pytest.raises(Refused, match="bytes"):
        parsed(memory, rss("x" * (news.MAX_BYTES + 1)))
    with pytest.raises(Refused, match="tags"):
        parsed(memory, rss("<a>" * (news.MAX_TAGS + 1)))


async def test_a_feed_without_end_is_not_read_to_its_end(server: Provider, memory: Memory) -> None:
    server.bodies["/feed"] = b"<rss>" + b"a" * (fetching.MAX_BYTES + 1)
    async with Fetcher(memory) as fetcher:
        with pytest.raises(Refused, match="more than"):
            await news.fetch(fetcher, f"{server.url}/feed", DEFAULT_PAIRS)


@pytest.mark.parametrize("body", ["", "<html><body>Log in</body></html>", '{"items": []}', "\x00\x01\x02"])
def test_what_is_no_feed_is_an_error_and_counted(body: str, memory: Memory) -> None:
    with pytest.raises(Refused, match="neither"):
        parsed(memory, body)
    assert memory.standing("news paper").broken == 1


def test_a_feed_that_breaks_off_gives_what_came_before_and_is_counted(memory: Memory) -> None:
    whole = rss(item("Bitcoin rallies", 1), item("Ethereum falls", 2))
    found = parsed(memory, whole[: whole.index("Ethereum")])
    assert [one.title for one in found][:1] == ["Bitcoin rallies"]
    assert memory.standing("news paper").broken >= 1


def test_entries_without_a_title_are_counted_and_the_others_read(memory: Memory) -> None:
    body = rss("<item><guid>1</guid></item>", "<item><title> </title></item>", item("Bitcoin", 3))
    assert [one.title for one in parsed(memory, body)] == ["Bitcoin"]
    assert memory.standing("news paper").broken == 2


def test_an_entry_is_told_once_and_the_rest_beyond_the_limit_left(memory: Memory) -> None:
    assert len(parsed(memory, rss(item("Bitcoin", 1), item("Bitcoin", 1)))) == 1
    many = parsed(memory, rss(*(item(f"Bitcoin {number}", number) for number in range(news.MAX_ENTRIES + 40))))
    assert len(many) == news.MAX_ENTRIES


def test_other_encodings_are_read(memory: Memory) -> None:
    body = '<?xml version="1.0" encoding="windows-1251"?>' + rss(item("Биткоин Bitcoin"))[38:]
    assert parsed(memory, body.encode("cp1251"))[0].title == "Биткоин Bitcoin"


@pytest.mark.parametrize(
    ("title", "pairs"),
    [
        ("Bitcoin and Ethereum rally", (BTC, ETH)),
        ("BTC slips while SOL gains", (BTC, SOL)),
        ("A sol is a colloid; an ada is a name; bnb is bed and breakfast", ()),
        ("Whether it rains or not", ()),
        ("Crypto market sheds 100 billion", (news.EVERY,)),
        ("Regulator looks at stablecoins", (news.EVERY,)),
        ("Stablecoin issuer buys bitcoin", (BTC,)),
        ("SOLAR panels", ()),
    ],
)
def test_a_title_is_about_the_pairs_that_it_names(title: str, pairs: tuple[Pair, ...]) -> None:
    assert news.pairs_in(title, DEFAULT_PAIRS) == pairs


async def test_a_feed_that_is_down_is_an_error(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "backoff", lambda attempts: iter([0.0] * (attempts - 1)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Fetcher(memory) as fetcher:
        with pytest.raises(VenueUnavailable):
            await news.fetch(fetcher, f"http://127.0.0.1:{port}/feed", DEFAULT_PAIRS)


BAD = (
    "Bitcoin crashes 12% as exchange hacked for 300 million", "Solana network outage halts trading for five hours",
    "Regulator sues exchange over unregistered securities", "Stablecoin depegs after bank failure",
    "Exploit drains 50 million from bridge; funds stolen", "Cardano plunges amid liquidation cascade",
    "Exchange files for bankruptcy", "Coin delisted after crackdown", "Bitcoin outflows hit a record as bears take over",
)  # fmt: skip
GOOD = (
    "BTC rallies above 100k on institutional inflows", "Ethereum ETF approved, price surges to record high",
    "Binance Coin hits all-time high", "XRP wins court case against SEC", "Litecoin partnership expands adoption",
    "Dogecoin soars after upgrade", "Analysts turn bullish on Solana", "Bitcoin rebounds after a quiet week",
)  # fmt: skip


def test_headlines_of_this_trade_are_read_the_right_way() -> None:
    wrong = [title for title in BAD if score_of(title) >= 0] + [title for title in GOOD if score_of(title) <= 0]
    assert wrong == []


def test_the_words_of_this_trade_are_needed() -> None:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    plain = SentimentIntensityAnalyzer()
    scored = [(title, plain.polarity_scores(title)["compound"]) for title in BAD + GOOD]
    missed = [title for title, score in scored if (score >= 0) == (title in BAD)]
    assert len(missed) >= 5
    assert all(-4 <= rating <= 4 for rating in WORDS.values())


def test_neutral_and_empty_titles_score_nothing() -> None:
    assert score_of("Bitcoin moves sideways on Tuesday") == 0
    assert score_of("") == 0


def test_scoring_needs_no_network() -> None:
    """In a fresh interpreter whose sockets cannot be opened."""
    code = (
        "import socket\n"
        "def no(*a, **k): raise OSError('no network')\n"
        "socket.socket.connect = no\nsocket.create_connection = no\n"
        "from hydra_core.market.external.sentiment import score_of\n"
        "assert score_of('Exchange hacked') < 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


NOW = 1_709_632_800_000


def test_a_mood_is_bounded_fades_and_never_looks_ahead() -> None:
    terrible = [(NOW - HOUR_MS, -9.0, 1.0)] * 500
    assert -1 < mood_of(terrible, NOW).score < -0.9
    one = mood_of([(NOW - HOUR_MS, -0.8, 1.0)], NOW).score
    assert -0.3 < one < 0, "one voice alone moves little"
    assert mood_of([(NOW - 30 * HOUR_MS, -0.8, 1.0)], NOW).score > one, "older news weighs less"
    assert mood_of([(NOW + 1, -1.0, 1.0)], NOW) == Mood(0.0, 0, 0)
    assert mood_of([(NOW - 49 * HOUR_MS, -1.0, 1.0)], NOW).headlines == 0
