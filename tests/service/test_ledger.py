"""The ledger: each row once, whatever comes in between."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from tests.postgres_here import postgres
from tests.service.databases import DIALECTS, caller, new_database, parts_on, row, url_for

from inferprint.catalogue import Catalogue
from inferprint.estimate import Estimator
from inferprint.quantities import RESULTS
from inferprint.service import ledger as module
from inferprint.service.database import utc
from inferprint.service.engine import Outcome
from inferprint.service.ledger import Kept, digest_of
from inferprint.service.problems import Away, BadRequest
from inferprint.service.tables import FEATURES, OWNERS, SETUPS, USAGE


@pytest.fixture(scope="module")
def server():
    with postgres() as started:
        yield started


@pytest.fixture(params=DIALECTS)
def parts(request, tmp_path, server):
    with parts_on(url_for(request.param, tmp_path, server)) as made:
        yield made


def keep(parts, rows, who=None, **further):
    return asyncio.run(parts.ledger.keep(who or caller(), parts.outcomes(rows), source="test", **further))


def stored(parts):
    with parts.database.begin(write=False) as connection:
        return connection.execute(select(USAGE).order_by(USAGE.c.id)).mappings().all()


def statuses(kept):
    return [one.status for one in kept]


NEW, SAME, OTHER, MENDED = "stored", "repeated", "conflict", "updated"
UNKNOWN = {"model_id": "no-such-model"}


def test_a_row_is_kept_with_all_that_it_was_answered_with(parts):
    sent = row(1, utc_datetime="2026-09-01T23:30:00-02:00", user_id="Ünï", environment="prod", n_requests=2)
    assert keep(parts, [sent]) == [Kept("stored", "estimated")]
    (found,) = stored(parts)
    (outcome,) = parts.outcomes([sent])
    result = outcome.result
    assert utc(found["utc_datetime"]) == datetime(2026, 9, 2, 1, 30, tzinfo=UTC)
    assert found["day"] == "2026-09-02"
    assert abs((utc(found["received_at"]) - datetime.now(UTC)).total_seconds()) < 60
    assert msgspec.json.decode(found["request"]) == sent
    assert (found["user_id"], found["environment"], found["n_requests"]) == ("Ünï", "prod", 2)
    assert (found["model"], found["service"], found["place"]) == ("llama-3.1-8b", "(unstated)", "FI")
    assert found["quality"] == result.quality
    assert msgspec.json.decode(found["versions"]) == result.versions
    for quantity in RESULTS:
        answered = result.range(quantity.name) or (None, None, None)
        assert tuple(found[f"{quantity.name}{end}"] for end in ("", "_low", "_high")) == tuple(answered)
    amounts = [found[name] for name in FEATURES]
    assert amounts == [*result.features.tolist(), *[None] * (len(FEATURES) - result.features.size)]
    with parts.database.begin(write=False) as connection:
        (setup,) = connection.execute(select(SETUPS)).all()
    assert found["setup_id"] == setup.id
    assert msgspec.json.decode(setup.body) == {"model_id": "llama-3.1-8b", "country": "FI"}
    assert tuple(msgspec.json.decode(setup.features)) == result.machine.modality.names


def test_the_same_row_again_changes_nothing(parts):
    assert statuses(keep(parts, [row(1), row(2)])) == [NEW, NEW]
    before = stored(parts)
    shuffled = dict(reversed(row(1).items())) | {"session_id": None}
    assert statuses(keep(parts, [shuffled, row(3)])) == [SAME, NEW]
    assert stored(parts)[:2] == before


def test_another_row_with_the_same_id_is_a_conflict_and_the_first_stays(parts):
    keep(parts, [row(1)])
    before = stored(parts)
    assert keep(parts, [row(1, output_tokens=51)]) == [Kept("conflict", "estimated")]
    assert keep(parts, [row(1, **UNKNOWN)]) == [Kept("conflict", "estimated")]
    assert stored(parts) == before


def test_an_id_twice_in_one_batch(parts):
    rows = [row(1), row(1), row(1, output_tokens=9), row(2, **UNKNOWN), row(2), row(2), row(2, **UNKNOWN)]
    assert statuses(keep(parts, rows)) == [NEW, SAME, OTHER, NEW, MENDED, SAME, OTHER]
    assert [(one["request_id"], one["outcome"]) for one in stored(parts)] == [
        ("r-1", "estimated"),
        ("r-2", "estimated"),
    ]


def test_what_could_not_be_estimated_is_mended(parts):
    sent = row(1, utc_datetime=None, **UNKNOWN)
    assert keep(parts, [sent]) == [Kept("stored", "unestimated")]
    (before,) = stored(parts)
    assert msgspec.json.decode(before["error"])["code"] == "unknown_name"
    assert before["usage_energy_wh"] is before["setup_id"] is before["model"] is None
    assert keep(parts, [sent]) == [Kept("repeated", "unestimated")]
    (outcome,) = parts.outcomes([row(1, utc_datetime=None)])
    late = replace(outcome, row=sent)
    assert asyncio.run(parts.ledger.keep(caller(), [late], source="again")) == [Kept("updated", "estimated")]
    (after,) = stored(parts)
    assert after["usage_energy_wh"] == outcome.result.usage_energy_wh.value
    assert after["error"] is None
    assert [after[name] for name in ("id", "source", "received_at", "day", "digest")] == [
        before[name] for name in ("id", "source", "received_at", "day", "digest")
    ]
    assert keep(parts, [sent]) == [Kept("repeated", "estimated")]


def test_a_row_that_is_corrected_is_mended(parts):
    keep(parts, [row(1, **UNKNOWN)])
    assert statuses(keep(parts, [row(1, utc_datetime="2026-10-05T00:00:00Z")])) == [MENDED]
    (found,) = stored(parts)
    assert (found["model"], found["day"]) == ("llama-3.1-8b", "2026-10-05")


def test_merged_rows_hold_no_quantities(parts):
    assert keep(parts, [row(1), row(2)], choose=lambda _: ["counts", "merged"]) == [
        Kept("stored", "estimated"),
        Kept("stored", "merged"),
    ]
    _, merged = stored(parts)
    assert merged["usage_energy_wh"] is merged["setup_id"] is None
    assert merged["model"] == "llama-3.1-8b"


def test_ids_from_outside(parts):
    assert statuses(keep(parts, [row(1, request_id=None), row(2)], ids=["key:0", "key:1"])) == [NEW, NEW]
    assert [one["request_id"] for one in stored(parts)] == ["key:0", "r-2"]
    with pytest.raises(BadRequest, match="request_id"):
        keep(parts, [row(1, request_id=None)])


def test_owners_are_apart(parts):
    with parts.database.begin() as connection:
        connection.execute(OWNERS.insert().values(name="other", created_at=datetime.now(UTC)))
    keep(parts, [row(1)])
    assert statuses(keep(parts, [row(1, output_tokens=7)], caller(2, "other"))) == [NEW]
    assert [one["owner_id"] for one in stored(parts)] == [1, 2]
    with parts.database.begin(write=False) as connection:
        assert len(connection.execute(select(SETUPS)).all()) == 2


@pytest.mark.parametrize("field", ["request_id", "project_id", "trace_id"])
@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 301])
def test_text_that_no_database_holds_is_refused(parts, field, text):
    outcome = Outcome({"request_id": "r", field: text}, None, {"code": "x", "message": "y"})
    with pytest.raises(BadRequest) as told:
        asyncio.run(parts.ledger.keep(caller(), [outcome], source="test"))
    assert told.value.field == f"rows[0].{field}"
    assert stored(parts) == []


def test_other_text_with_nul_is_kept_as_json(parts):
    sent = row(1, model_name="a\x00b", **UNKNOWN)
    keep(parts, [sent])
    (found,) = stored(parts)
    assert msgspec.json.decode(found["request"]) == sent


@pytest.mark.parametrize("moment", ["yesterday", "0001-01-01T00:00:00+23:59", "1999-12-31T23:59:59Z", "2099-01-01"])
def test_a_row_of_a_moment_that_cannot_be_is_kept_with_its_error(parts, moment):
    assert keep(parts, [row(1), row(2, utc_datetime=moment)]) == [
        Kept("stored", "estimated"),
        Kept("stored", "unestimated"),
    ]
    _, found = stored(parts)
    assert msgspec.json.decode(found["error"])["details"]["field"] == "utc_datetime"
    assert found["utc_datetime"] is None
    assert found["day"] == utc(found["received_at"]).date().isoformat()
    assert keep(parts, [row(2)]) == [Kept("updated", "estimated")]
    assert stored(parts)[1]["day"] == "2026-09-01"


def test_numbers_that_are_equal_are_the_same_content(parts):
    keep(parts, [row(1, request_cost=1, n_requests=3), row(2, request_cost=1.5)])
    same = [row(1, request_cost=1.0, n_requests=3.0, input_tokens=101.0), row(2, request_cost=1.5)]
    assert statuses(keep(parts, same)) == [SAME, SAME]
    assert statuses(keep(parts, [row(1, request_cost=1.25, n_requests=3), row(2, request_cost=1)])) == [OTHER, OTHER]
    assert digest_of({"a": [1.0, {"b": -0.0}]}) == digest_of({"a": [1, {"b": 0}]})
    assert digest_of({"a": 1e30}) == digest_of({"a": int(1e30)})
    assert len({digest_of({"a": one}) for one in (1, True, "1", 1.5, 2**53, 2**53 + 1)}) == 6


def test_labels_keep_no_cards_and_the_least_recently_used_goes_first(parts, monkeypatch):
    monkeypatch.setattr(module, "KNOWN_LABELS", 2)
    labels = module._Labels()
    models = ("llama-3.1-8b", "gpt-4o", "llama-3.1-70b")
    first, second, third = (
        outcome.result for outcome in parts.outcomes([row(i, model_id=m) for i, m in enumerate(models)])
    )
    kept = [labels.of(first), labels.of(second), labels.of(first), labels.of(third)]
    assert labels.of(first) is kept[0]
    assert labels.of(second) is not kept[1]
    assert len(labels.known) == 2
    label = labels.of(Estimator(Catalogue.packaged()).estimate(first.request))
    gc.collect()
    assert label.cards[0]() is None  # nothing else holds the cards of that estimator
    assert label.columns["model"] == "llama-3.1-8b"


def test_rows_are_chosen_by_what_the_ledger_has(parts):
    """Also by what others of the same transaction have stored; what is dropped leaves nothing."""

    def choose(connection):
        there = connection.execute(select(func.count()).select_from(USAGE)).scalar()
        return ["merged" if there else "counts", "dropped"]

    ledger = parts.ledger
    entries = [ledger.entries(caller(), parts.outcomes([row(i), row(i + 1)]), source="test") for i in (1, 3, 5)]
    submissions = [module._Submission(some, Future(), choose) for some in entries]
    ledger._write(submissions)
    assert [one.future.result(0) for one in submissions] == [
        [Kept("stored", "estimated"), Kept("dropped", "")],
        [Kept("stored", "merged"), Kept("dropped", "")],
        [Kept("stored", "merged"), Kept("dropped", "")],
    ]
    assert [(one["request_id"], one["outcome"]) for one in stored(parts)] == [
        ("r-1", "estimated"),
        ("r-3", "merged"),
        ("r-5", "merged"),
    ]
    assert keep(parts, [row(7), row(8)], choose=lambda _: ["dropped", "counts"])[0] == Kept("dropped", "")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_two_servers_that_choose_at_the_same_time(dialect, tmp_path, server):
    """Of each pair of rows that come at the same time through two servers, one counts."""
    url = url_for(dialect, tmp_path, server)
    with parts_on(url) as one, parts_on(url) as other:
        outcomes = one.outcomes([row(i) for i in range(80)])

        def chooser(i: int):
            def choose(connection):
                named = USAGE.c.request_id.in_((f"r-{i}", f"r-{i + 40}"))
                there = connection.execute(select(func.count()).select_from(USAGE).where(named)).scalar()
                time.sleep(0.005)
                return ["merged" if there else "counts"]

            return choose

        def send(parts, order) -> None:
            for i in order:
                entries = parts.ledger.entries(caller(), [outcomes[i]], source="test")
                parts.ledger.submit(entries, chooser(i % 40)).result(30)

        threads = [threading.Thread(target=send, args=args) for args in ((one, range(40)), (other, range(40, 80)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counted = [found["outcome"] for found in stored(one)]
    assert (counted.count("estimated"), counted.count("merged")) == (40, 40)


def test_the_first_row_is_made_ready_off_the_event_loop(tmp_path, monkeypatch):
    """What labels need takes half a second to import."""
    with parts_on(f"sqlite:///{tmp_path}/x.db") as parts:
        where = []
        real = parts.ledger.entries
        monkeypatch.setattr(
            parts.ledger, "entries", lambda *a, **k: where.append(threading.current_thread()) or real(*a, **k)
        )
        parts.ledger._is_ready = False
        keep(parts, [row(1)])
        parts.ledger._is_ready = True
        keep(parts, [row(2)])
        assert [thread is threading.main_thread() for thread in where] == [False, True]


@pytest.mark.parametrize("timed", [{"processing_duration_ms": 900.0}, {"time_per_output_token_ms": 12.0}])
def test_measured_times_have_no_setup(parts, timed):
    keep(parts, [row(1, **timed)])
    (found,) = stored(parts)
    assert found["setup_id"] is None
    assert found["usage_energy_wh"] > 0


def test_pictures_that_may_share_a_batch_have_no_setup(parts):
    plain = {"model_id": "flux.1-dev", "output_tokens": None, "input_tokens": 10}
    keep(
        parts,
        [row(1, output_images=["512x512"] * 4, **plain), row(2, output_images=["512x512"], batch_size=2.0, **plain)],
    )
    first, second = stored(parts)
    assert first["setup_id"] is not None
    assert second["setup_id"] is None


def test_many_clients_at_once(parts):
    """Every row exactly once, though clients send the same ones, and each is told the truth."""
    outcomes = parts.outcomes([row(i) for i in range(60)])
    told: list[list[Kept]] = []

    def client() -> None:
        async def send() -> list[list[Kept]]:
            pieces = (outcomes[start : start + 3] for start in range(0, 60, 3))
            return [await parts.ledger.keep(caller(), piece, source="test") for piece in pieces]

        told.extend(asyncio.run(send()))

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = [one for kept in told for one in statuses(kept)]
    assert (counted.count(NEW), counted.count(SAME), len(counted)) == (60, 420, 480)
    assert len(stored(parts)) == 60


def test_two_servers_on_one_database(server):
    url = new_database(server)
    with parts_on(url) as one, parts_on(url) as other:
        outcomes = one.outcomes([row(i) for i in range(200)])
        ledgers = [one.ledger, other.ledger]
        futures = []
        for start in range(0, 200, 20):
            for k, ledger in enumerate(ledgers):
                some = outcomes[start : start + 20]
                entries = ledger.entries(caller(), some[:: 1 - 2 * k], source="test")
                futures.append(ledger.submit(entries))
        counted = [one.status for future in futures for one in future.result(30)]
        assert (counted.count(NEW), counted.count(SAME)) == (200, 200)
        assert len(stored(one)) == 200


def test_what_one_client_sends_spoils_nothing_of_others(parts):
    """Rows that the database refuses are in a transaction with good ones."""
    ledger = parts.ledger
    good = [ledger.entries(caller(), parts.outcomes([row(i)]), source="test") for i in range(4)]
    bad = ledger.entries(caller(), parts.outcomes([row(9)]), source="test")
    bad[0].columns["owner_id"] = 4711  # an owner that does not exist
    submissions = [module._Submission(entries, Future()) for entries in (good[0], good[1], bad, good[2], good[3])]
    ledger._write(submissions)
    with pytest.raises(BadRequest, match="cannot be stored"):
        submissions[2].future.result(0)
    assert [one.future.result(0)[0].status for one in submissions if one is not submissions[2]] == [NEW] * 4
    assert len(stored(parts)) == 4


def test_rows_are_numbered_in_the_order_in_which_they_came(parts):
    order = [7, 3, 11, 1, 20, 2]
    keep(parts, [row(3)])
    keep(parts, [row(i) for i in order])
    assert [one["request_id"] for one in stored(parts)] == ["r-3", *(f"r-{i}" for i in order if i != 3)]


def test_large_batches(parts):
    rows = [row(i, model_id=("llama-3.1-8b", "gpt-4o")[i % 2]) for i in range(1000)]
    outcomes = parts.outcomes(rows)
    for status in (NEW, SAME):
        kept = asyncio.run(parts.ledger.keep(caller(), outcomes * 3, source="test"))
        assert statuses(kept[:1000]) == [status] * 1000
        assert statuses(kept[1000:]) == [SAME] * 2000
    with parts.database.begin(write=False) as connection:
        assert connection.execute(select(func.count()).select_from(SETUPS)).scalar() == 2


def test_too_much_waits(parts, monkeypatch):
    monkeypatch.setattr(module, "WAITING_ROWS", 10)
    held = threading.Event()
    real = parts.ledger._committed
    monkeypatch.setattr(parts.ledger, "_committed", lambda submissions: held.wait(10) and real(submissions))
    entries = [parts.ledger.entries(caller(), parts.outcomes([row(i)]), source="test") for i in range(30)]
    futures = [parts.ledger.submit(entries[0])]
    while parts.ledger._rows:
        time.sleep(0.01)
    futures += [parts.ledger.submit(some) for some in entries[1:11]]
    with pytest.raises(Away, match="10 rows wait"):
        parts.ledger.submit(entries[11])
    held.set()
    assert [future.result(10)[0].status for future in futures] == [NEW] * 11


def test_a_stopped_ledger_has_written_what_waited(parts):
    futures = [
        parts.ledger.submit(parts.ledger.entries(caller(), parts.outcomes([row(i)]), source="test")) for i in range(50)
    ]
    parts.ledger.stop()
    assert all(future.result(0)[0].status == NEW for future in futures)
    with pytest.raises(Away):
        keep(parts, [row(99)])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_fails_tells_those_who_wait_and_is_replaced(parts, monkeypatch):
    real = parts.ledger._committed

    def fail(entries):
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(parts.ledger, "_committed", fail)
    with pytest.raises(Away):
        keep(parts, [row(1)])
    monkeypatch.setattr(parts.ledger, "_committed", real)
    assert statuses(keep(parts, [row(1)])) == [NEW]


def test_the_database_goes_and_comes_again(server):
    with parts_on(new_database(server)) as parts:
        assert statuses(keep(parts, [row(1)])) == [NEW]
        server.stop()
        try:
            for _ in range(2):
                with pytest.raises(Away):
                    keep(parts, [row(1), row(2)])
        finally:
            server.start()
        assert statuses(keep(parts, [row(1), row(2)])) == [SAME, NEW]
        assert len(stored(parts)) == 2


def test_the_server_stops_between_clients(server):
    """What was acknowledged is there, once; what was not can be sent again."""
    with parts_on(new_database(server)) as parts:
        outcomes = parts.outcomes([row(i) for i in range(400)])
        acknowledged: set[str] = set()
        failed = threading.Event()

        async def client(k: int) -> None:
            for outcome in outcomes[k * 100 : (k + 1) * 100]:
                while True:
                    try:
                        (kept,) = await parts.ledger.keep(caller(), [outcome], source="test")
                    except Away:
                        failed.set()
                        await asyncio.sleep(0.05)
                        continue
                    assert kept.status in (NEW, SAME)
                    acknowledged.add(outcome.row["request_id"])
                    await asyncio.sleep(0.01)  # so that the server stops before all are through
                    break

        async def clients() -> None:
            await asyncio.gather(*(client(k) for k in range(4)))

        thread = threading.Thread(target=lambda: asyncio.run(clients()))
        thread.start()
        while len(acknowledged) < 20:
            time.sleep(0.005)
        server.stop("immediate")
        server.start()
        thread.join(60)
        assert failed.is_set()
        assert acknowledged == {f"r-{i}" for i in range(400)}
        assert sorted(one["request_id"] for one in stored(parts)) == sorted(acknowledged)


def test_a_full_disk(tmp_path):
    """SQLite may not grow: rows are refused, and taken once it may again."""
    with parts_on(f"sqlite:///{tmp_path}/x.db") as parts:
        keep(parts, [row(0)])
        full = threading.Event()
        full.set()

        def limited(connection, _record, _proxy) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages if full.is_set() else 10**9}")

        from sqlalchemy import event

        event.listen(parts.database._engine, "checkout", limited)
        with pytest.raises(Away):
            keep(parts, [row(i) for i in range(1, 900)])
        assert len(stored(parts)) == 1
        full.clear()
        assert statuses(keep(parts, [row(i) for i in range(900)])) == [SAME] + [NEW] * 899


def test_setups_of_cards_that_changed_are_told_apart(parts):
    """A new catalogue has new cards; labels of the old ones are not taken for theirs."""
    keep(parts, [row(1)])
    parts.catalogues.shared = Estimator(Catalogue.packaged())
    keep(parts, [row(2), row(3)])
    assert [one["place"] for one in stored(parts)] == ["FI"] * 3
    assert len({one["setup_id"] for one in stored(parts)}) == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans()).map(lambda drawn: (*drawn,)), max_size=12
    ).flatmap(lambda sent: st.tuples(st.just(sent), st.lists(st.integers(1, 4), min_size=1, max_size=12)))
)
def test_the_ledger_is_a_map_that_forgets_nothing(tmp_path_factory, drawn):
    """Against a model: first content of an id wins, unless it could not be estimated."""
    sent, sizes = drawn
    held: dict[str, tuple[str, bool]] = {}
    with parts_on(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/x.db", _shared()) as parts:
        while sent:
            size = sizes.pop(0) if sizes else len(sent)
            some, sent = sent[:size], sent[size:]
            rows = [row(i, output_tokens=50 + n, **({} if good else UNKNOWN)) for i, n, good in some]
            expected = []
            for one, (_, _, good) in zip(rows, some, strict=True):
                name, digest = one["request_id"], digest_of(one)
                if name not in held:
                    expected.append(NEW)
                    held[name] = digest, good
                elif good and not held[name][1]:
                    expected.append(MENDED)
                    held[name] = digest, good
                else:
                    expected.append(SAME if held[name][0] == digest else OTHER)
            assert statuses(keep(parts, rows)) == expected
        found = {one["request_id"]: (one["digest"], one["outcome"] == "estimated") for one in stored(parts)}
        assert found == held


_CATALOGUES: list[object] = []


def _shared():
    """One estimator for all examples: cards take time."""
    from tests.service.databases import OneCatalogue

    if not _CATALOGUES:
        _CATALOGUES.append(OneCatalogue())
    return _CATALOGUES[0]
