"""The transition table and the other pure modules."""

import itertools

import pytest

from sojourn.records import OnInterrupt, TurnStatus
from sojourn.sessions.eviction import MIN_SWEEP_INTERVAL, is_expired, sweep_delay
from sojourn.sessions.titles import MAX_CHARACTERS, title_from
from sojourn.sessions.turns import MAX_ATTEMPTS, TABLE, IllegalMove, TurnEvent, Writer, after_interruption, move

PAIRS = list(itertools.product([None, *TurnStatus], TurnEvent))


@pytest.mark.parametrize(("status", "event"), PAIRS)
def test_every_state_and_event_is_a_row_or_refused(status: TurnStatus | None, event: TurnEvent) -> None:
    if (status, event) in TABLE:
        assert move(status, event) is TABLE[status, event]
        return
    with pytest.raises(IllegalMove) as refused:
        move(status, event)
    assert str(refused.value) == f"a turn that is {status or 'not there'} cannot be {event.value}"


def test_nothing_follows_a_final_state() -> None:
    assert not [row for row in TABLE if row[0] is not None and row[0].final]


def test_only_its_owner_moves_a_running_turn() -> None:
    assert {move.writer for (status, _), move in TABLE.items() if status is TurnStatus.RUNNING} == {Writer.OWNER}


def test_a_turn_that_stops_running_gives_its_session_back() -> None:
    ends = [move for (status, _), move in TABLE.items() if status is TurnStatus.RUNNING]
    assert all(move.releases is (move.to is not TurnStatus.RUNNING) for move in ends)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {move.to for move in TABLE.values()} | {after_interruption(1, wish) for wish in OnInterrupt}
    assert reached == set(TurnStatus)
    assert {status for status, _ in TABLE if status} == {status for status in TurnStatus if not status.final}


@pytest.mark.parametrize("attempts", range(1, MAX_ATTEMPTS + 2))
@pytest.mark.parametrize("wish", OnInterrupt)
def test_an_interrupted_turn_goes_on_or_is_held_until_the_third_attempt(attempts: int, wish: OnInterrupt) -> None:
    found = after_interruption(attempts, wish)
    if attempts >= 3:
        assert found is TurnStatus.FAILED
    else:
        assert found is (TurnStatus.HELD if wish is OnInterrupt.HOLD else TurnStatus.RUNNING)


def test_a_session_expires_when_its_time_is_over_and_not_before() -> None:
    assert not is_expired(rested=10, now=19.999, ttl=10)
    assert is_expired(rested=10, now=20, ttl=10)


@pytest.mark.parametrize(("oldest", "now", "ttl", "delay"), [(10, 12, 10, 8), (10, 20, 10, 0.05), (10, 99, 10, 0.05)])
def test_a_sweep_waits_for_the_next_that_is_due_and_never_hurries(
    oldest: float, now: float, ttl: float, delay: float
) -> None:
    assert sweep_delay(oldest, now, ttl) == delay
    assert sweep_delay(0, 0, 0.000_001) == MIN_SWEEP_INTERVAL


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("My favourite colour is teal.", "My favourite colour is teal."),
        ("  one\n two\tthree ", "one two three"),
        ("", None),
        (" \n\t ", None),
        ("a b c d e f g h i j k l", "a b c d e f g h i j…"),
        (
            "one two three four five six seven eight nine ten, eleven",
            "one two three four five six seven eight nine ten…",
        ),
        ("ä" * 300, "ä" * (MAX_CHARACTERS - 1) + "…"),
        ("日本語の会話", "日本語の会話"),
    ],
)
def test_a_title_is_the_first_words_of_what_was_said(text: str, title: str | None) -> None:
    assert title_from(text) == title


def test_a_title_is_short_whatever_was_said() -> None:
    for text in ("word " * 10_000, "x" * 1_000_000, "long-word-" * 7 + " b" * 80):
        assert len(title_from(text) or "") <= MAX_CHARACTERS
