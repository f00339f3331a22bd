"""Bugs to plant: each is one that somebody could write, and the machine must find it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sojourn.abc import Accepted, Acquired, Claim
from sojourn.records import EntryKind, UnloadReason
from sojourn.sessions import desk, turn_run
from sojourn.sessions.desk import Said
from sojourn.sessions.live import Live
from sojourn.sessions.mailbox import Mailbox
from sojourn.sessions.residency import Name, Residency
from sojourn.sessions.turn_run import TurnRun
from sojourn.stores.memory import MemoryStore
from tests.model.runtime_mutants_people import PEOPLE_MUTANTS, RARE_PEOPLE
from tests.model.runtime_races import MemoryMachine, SqliteMachine


def unload_the_busy(patch: pytest.MonkeyPatch) -> None:
    def unload(self: Residency[Live], name: Name, reason: UnloadReason) -> bool:
        place = self._places.get(name)
        if place is None:
            return False
        self._drop(place, reason)
        return True

    patch.setattr(Residency, "unload", unload)


def ignore_keys(patch: pytest.MonkeyPatch) -> None:
    check = desk.check_said

    def careless(*args: Any, **options: Any) -> Said:
        said = check(*args, **options)
        return Said(said.body, said.text, None, said.create, said.reject)

    patch.setattr(desk, "check_said", careless)


def lose_the_line_in_a_crash(patch: pytest.MonkeyPatch) -> None:
    acquire = MemoryStore.acquire

    async def forgetful(self: MemoryStore, user: str, id: str, claim: Claim, now: int) -> Acquired | None:
        taken = await acquire(self, user, id, claim, now)
        if taken is not None and taken.interrupted:
            found = self.database.sessions[user, id]
            found.inbox.clear()
            found.row.queued = 0
        return taken

    patch.setattr(MemoryStore, "acquire", forgetful)


def forget_open_calls(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TurnRun, "_closed_calls", lambda *_, **__: ([], []))


def one_place_too_many(patch: pytest.MonkeyPatch) -> None:
    admit = Residency._admit_now

    def generous(self: Residency[Live], name: Name) -> Any:
        self.max_sessions += 1
        try:
            return admit(self, name)
        finally:
            self.max_sessions -= 1

    patch.setattr(Residency, "_admit_now", generous)


def drop_what_was_written_when_cancelled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(turn_run, "TextDelta", type("Nothing", (), {}))


def cut_what_was_said_after_the_reset(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "_is_gone", lambda self, run: self._gone is not None and run.key == self._gone[0])


def remember_what_was_cleared_elsewhere(patch: pytest.MonkeyPatch) -> None:
    take = Live.take

    def deaf(self: Live, got: Accepted | Acquired) -> None:
        tail = [entry for entry in got.tail if entry.kind is not EntryKind.CONTEXT_CLEARED]
        take(self, replace(got, tail=tail))

    patch.setattr(Live, "take", deaf)


#: Found only in one of some hundred histories; the long run looks for them.
RARE = {
    unload_the_busy,
    drop_what_was_written_when_cancelled,
    cut_what_was_said_after_the_reset,
    *RARE_PEOPLE,
}

#: Each with the machine that finds it sooner.
MUTANTS = [
    (unload_the_busy, MemoryMachine),
    (ignore_keys, MemoryMachine),
    (lose_the_line_in_a_crash, MemoryMachine),
    (forget_open_calls, MemoryMachine),
    (one_place_too_many, MemoryMachine),
    (remember_what_was_cleared_elsewhere, MemoryMachine),
    (drop_what_was_written_when_cancelled, MemoryMachine),
    (cut_what_was_said_after_the_reset, SqliteMachine),
    *((plant, MemoryMachine) for plant in PEOPLE_MUTANTS),
]
