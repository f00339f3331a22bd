"""What a turn's owner writes: each step of the engine into the log, the ledger of calls, what was used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from sojourn.abc import (
    Accepted,
    Acquired,
    Append,
    Appended,
    Call,
    Entry,
    FeedbackGiven,
    ModelResponded,
    NewApproval,
    NewCall,
    Step,
    ToolFinished,
    TurnEnd,
)
from sojourn.records import Effect, EffectStatus, EntryKind, Usage
from sojourn.sessions.feed import Feed
from sojourn.sessions.live import Core, Live
from sojourn.sessions.state import State
from sojourn.sessions.views import usage_json, usage_of

logger = logging.getLogger("sojourn.turns")


class Stop(StrEnum):
    """Why a turn is to be stopped before it is done."""

    CANCEL = "cancelled by request"
    GONE = "the session is gone"  # deleted, reset, or written by somebody else: nothing more may be written
    CLOSING = "the runtime closes"  # somebody else will go on with it


class TurnWriter:
    """One turn as its owner writes it; see TurnRun for what it writes when."""

    def __init__(self, core: Core, live: Live, work: Accepted | Acquired, feed: Feed) -> None:
        self._core, self._live, self._feed = core, live, feed
        self._row, self._turn = work.session, work.turn
        self._attempt = max(1, work.turn.attempts)
        self._turn_usage: dict[str, Usage] = dict(usage_of(work.turn.usage))
        self._session_usage: dict[str, Usage] = dict(live.usage_from(work.session.usage))
        #: Whether there is usage that no write has told the store of.
        self._used = False
        #: The answer's text since the last thing stored.
        self._written: list[str] = []
        self._response_seq = 0
        #: What the model said last.
        self._said = ""
        #: Calls that have no result.
        self._open: dict[tuple[int, int], Effect] = {(e.seq, e.index): e for e in work.open_calls}
        #: How many inputs are in line that are to be said into this turn, as far as is known.
        self._steers = work.session.steers
        #: As the tools have it.
        self._state = State(live.state)
        self._task = asyncio.current_task()
        self._in_engine = False
        self.stop_reason: Stop | None = None
        #: The answer to the write that ended the turn.
        self.ended: Appended | None = None

    @property
    def key(self) -> int:
        """The session's key."""
        return self._row.key

    @property
    def turn(self) -> int:
        """The turn's number."""
        return self._turn.turn

    def is_stopping(self) -> bool:
        """Whether somebody wants it to stop."""
        return self.stop_reason is not None

    def stop(self, reason: Stop) -> None:
        """Stop as soon as nothing is being written; a turn that is ending already ends as it would."""
        first = self.stop_reason is None
        if first or reason is Stop.GONE:
            self.stop_reason = reason
        # once: a second time would cut into how the engine cleans up
        if first and self._in_engine and self._task is not None:
            self._task.cancel()

    async def _store(self, step: Step) -> None:
        if isinstance(step, ModelResponded):
            self._count(step)
            seq = self._response_seq = self._live.version + 1
            calls = [NewCall(seq, call.index, call.tool, call.digest, _first_status(call)) for call in step.calls]
            await self._write([self._entry(EntryKind.MESSAGE, step)], [], started=calls)
            for call in calls:
                self._open[seq, call.index] = _effect(call, call.status)
        elif isinstance(step, ToolFinished):
            done = self._open.get((self._response_seq, step.index))
            finished = [replace(done, status=EffectStatus.FINISHED)] if done else []
            await self._write([self._entry(EntryKind.TOOL_RESULT, step)], finished)
        elif isinstance(step, FeedbackGiven):
            await self._write([self._entry(EntryKind.FEEDBACK, step)], [])

    def _entry(self, kind: EntryKind, step: ModelResponded | ToolFinished | FeedbackGiven) -> Entry:
        return Entry(0, kind, self.turn, step.body, step.text)

    def _closed_calls(self, but: Sequence[Effect] = ()) -> tuple[list[Entry], list[Effect]]:
        """What to tell the model of the calls whose outcome nobody knows, or that nobody allowed, and their status."""
        if self._live.unreadable is not None:
            return [], []  # left to the next owner, who can read what they are
        calls = [effect for _, effect in sorted(self._open.items()) if effect not in but]
        entries = [self._entry(EntryKind.TOOL_RESULT, step) for effect in calls if (step := self._unknown(effect))]
        return entries, [replace(effect, status=_closed_status(effect)) for effect in calls]

    def _unknown(self, effect: Effect) -> ToolFinished | None:
        try:
            return self._core.engine.unknown(self._live.history, effect)
        except Exception:
            # a turn that cannot say so must still be able to end
            logger.exception("the engine has no words for call %s of session %s", effect, self._row.id)
            return None

    def _count(self, step: ModelResponded) -> None:
        self._said = step.text
        self._use(step.model, step.usage)

    def _use(self, model: str, used: Usage) -> None:
        self._used = True
        for usage in (self._turn_usage, self._session_usage):
            usage[model] = usage.get(model, Usage()) + used

    async def _write(
        self,
        entries: Sequence[Entry],
        finished: Sequence[Effect],
        *,
        started: Sequence[NewCall] = (),
        asked: Sequence[NewApproval] = (),
        taken: Sequence[int] = (),
        attempts: int | None = None,
        end: TurnEnd | None = None,
    ) -> bool:
        """Store; then take into the copy in memory; then publish. False where the store refuses to end the turn yet."""
        if (state := self._state.change()) is not None:
            # behind a response, whose number is known already, but within its turn
            place = len(entries) - bool(entries and entries[-1].kind is EntryKind.TURN_ENDED)
            entries = [*entries[:place], Entry(0, EntryKind.STATE_CHANGED, self.turn, state), *entries[place:]]
        now = self._core.clock.now_ms()
        for seq, entry in enumerate(entries, self._live.version + 1):
            entry.seq, entry.created = seq, now
        write = Append(
            self._row, self._row.fence, self._live.version, self.turn, now, entries,
            started=started, finished=finished, asked=asked, taken=taken, attempts=attempts, end=end,
            usage=usage_json(self._session_usage) if self._used else None,
            turn_usage=usage_json(self._turn_usage) if self._used and end is None else None,
        )  # fmt: skip
        answer = await self._core.store.append(write)
        if answer.refused:
            return False
        self._steers = answer.steers
        if state is not None:
            self._state.stored(state)
        for effect in finished:
            self._open.pop((effect.seq, effect.index), None)
            if effect.status is EffectStatus.STARTED:
                self._open[effect.seq, effect.index] = effect
        entries = [*entries, *answer.tail]
        self._live.stored(entries)
        if write.usage is not None:
            self._used = False
            self._row.usage = write.usage
            self._live.keep_usage(write.usage, self._session_usage)
        self._written.clear()
        self._feed.publish(entries)
        if end is not None:
            self.ended = answer
        elif answer.cancel_requested:
            self.stop(Stop.CANCEL)
        return True


def _closed_status(effect: Effect) -> EffectStatus:
    """What was only intended has not happened, and everybody knows it."""
    return EffectStatus.FINISHED if effect.status is EffectStatus.INTENDED else EffectStatus.UNKNOWN


def _first_status(call: Call) -> EffectStatus:
    return EffectStatus.INTENDED if call.gated else EffectStatus.STARTED


def _effect(call: NewCall, status: EffectStatus) -> Effect:
    return Effect(seq=call.seq, index=call.index, tool=call.tool, status=status)
