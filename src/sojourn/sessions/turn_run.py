"""One turn being run by its owner: each step is stored before the engine is asked for the next.

Order of writes: the response is durable before any of its tools runs, its calls durable as started with it, each result
as it lands, the final answer in one commit with the turn's end.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from sojourn.abc import (
    Accepted,
    Acquired,
    ApprovalRow,
    Ask,
    Asking,
    Entry,
    InputRow,
    ModelResponded,
    ModelRetried,
    Run,
    RunFinished,
    RunPaused,
    Step,
    TextDelta,
    TurnEnd,
    coalesced,
    turn_ended_body,
)
from sojourn.errors import (
    OwnershipLost,
    SojournError,
    StorageCorrupt,
    StorageError,
    TurnCancelled,
    TurnFailed,
    TurnHeld,
    without_secrets,
)
from sojourn.records import ApprovalStatus, Effect, EffectStatus, EntryKind, InputKind, Reply, TurnStatus
from sojourn.sessions import approvals, current
from sojourn.sessions.feed import Feed
from sojourn.sessions.live import Core, Live
from sojourn.sessions.turn_write import Stop, TurnWriter
from sojourn.sessions.turns import MAX_ATTEMPTS, TurnEvent, after_interruption, move
from sojourn.sessions.views import approval_of, session_of, usage_json

logger = logging.getLogger("sojourn.turns")

#: After so many pieces of text others have a turn.
_PIECES = 200

#: A failure's reason is cut behind this many characters.
MAX_REASON = 2000


class Stopped(Exception):
    """The turn was stopped."""


class Broke(Exception):
    """The engine raised; kept apart from what storing its steps raises, which may be of the same class."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Again(Enum):
    """The engine is to be run once more."""

    AGAIN = 1


class TurnRun(TurnWriter):
    """Runs one turn from where it stands to its end, or to where it is stopped."""

    def __init__(self, core: Core, live: Live, work: Accepted | Acquired, feed: Feed) -> None:
        super().__init__(core, live, work, feed)
        self._work = work
        #: How people decided what this turn waited for.
        self._decided: Sequence[ApprovalRow] = work.decided if isinstance(work, Acquired) else ()
        #: Calls that were cut off and are run again.
        self._repeated: Sequence[Effect] = ()

    # -- the story

    async def run(self) -> Reply | SojournError | None:
        """The turn's outcome; None where it goes on elsewhere. Raises OwnershipLost and StorageError."""
        try:
            if isinstance(self._work, Acquired) and self._work.continued:
                verdict = await self._take_up()
                if verdict is not None:
                    return verdict
            elif self._open:
                await self._write(*self._closed_calls())
            return await self._drive()
        except Stopped:
            return await self._stopped()
        except Broke as broke:
            return await self._failed(broke.error)
        except (OwnershipLost, StorageError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever the agent raised, its turn failed and its session lives on
            return await self._failed(error)

    async def _take_up(self) -> Reply | SojournError | None:
        """Go on with a turn that ran before; gives its outcome where it is not run again."""
        interrupted = isinstance(self._work, Acquired) and self._work.interrupted
        if interrupted:
            verdict = after_interruption(self._attempt, self._core.on_interrupt)
            if verdict is TurnStatus.HELD:
                await self._write([], [], end=TurnEnd(TurnStatus.HELD, None, usage_json(self._turn_usage)))
                return TurnHeld(self._row.id, self.turn)
            if verdict is TurnStatus.FAILED:
                return await self._failed(None, f"its process died {MAX_ATTEMPTS} times while it ran")
        self._attempt = self._turn.attempts + 1
        self._said = await self._said_before()
        waiting = self._calls(EffectStatus.INTENDED)
        self._repeated = self._repeatable()
        entries, effects = self._closed_calls(but=[*waiting, *self._repeated])
        if not self._decided:
            entries.append(Entry(0, EntryKind.TURN_RESUMED, self.turn, f'{{"attempt":{self._attempt}}}'))
        # durable as started before it is run
        effects += self._allowed(waiting)
        await self._write(entries, effects, attempts=self._attempt)
        if left := [*waiting, *self._repeated]:
            self._response_seq = left[0].seq
        if waiting and not self._decided:  # its process died before anybody could be asked
            return await self._ask(waiting[0].seq, self._core.engine.asks(self._live.history, waiting))
        if self._repeated:
            self._decided = await approvals.carried_out(self._core, self._live.name, self.turn, self._response_seq)
        return None

    def _calls(self, status: EffectStatus) -> list[Effect]:
        """Calls of this turn without a result: those that wait for people, or those that were started."""
        opened = self._turn.opened_seq
        calls = [effect for _, effect in sorted(self._open.items()) if effect.status is status]
        return [effect for effect in calls if opened is not None and effect.seq > opened]

    def _repeatable(self) -> Sequence[Effect]:
        started = self._calls(EffectStatus.STARTED)
        if not started or self._live.unreadable is not None:
            return ()
        return self._core.engine.repeatable(self._live.history, started)

    def _allowed(self, waiting: Sequence[Effect]) -> list[Effect]:
        places = {(row.seq, row.index) for row in self._decided if row.status is ApprovalStatus.APPROVED}
        return [replace(e, status=EffectStatus.STARTED) for e in waiting if (e.seq, e.index) in places]

    async def _said_before(self) -> str:
        """What the model said last in an earlier attempt: it may be the answer, if only its acceptance is missing."""
        messages = frozenset({EntryKind.MESSAGE})
        found = await self._core.store.entries(*self._live.name, kinds=messages, limit=1, newest=True)
        return found[-1].text if found and found[-1].turn == self.turn else ""

    async def _drive(self) -> Reply | SojournError | None:
        while True:
            outcome = await self._play()
            if outcome is not Again.AGAIN:
                return outcome
            self._decided = self._repeated = ()  # every call has its result

    async def _play(self) -> Reply | SojournError | Again | None:
        """One run of the engine; AGAIN where something was said into the turn that the next run has to tell."""
        self._feed.begin(self.turn, self._attempt, self._live.version)
        session = session_of(self._row)
        current.enter(session, self._state)
        settings = await self._settings()
        repeated = [call.index for call in self._repeated]
        run = Run(session, self.turn, self._attempt, self._live.history, self._decided, settings, repeated)
        steps = self._core.engine.run(run)
        final: ModelResponded | None = None
        try:
            while (step := await self._next(steps)) is not None:
                if isinstance(step, TextDelta):
                    self._written.append(step.text)
                    self._feed.write(step.text)
                    if not len(self._written) % _PIECES:
                        await asyncio.sleep(0)  # an engine that never waits would let nobody else run
                elif isinstance(step, Asking):
                    if self._steers and await self._tell():
                        return Again.AGAIN
                elif isinstance(step, ModelRetried):
                    self._retried(step)
                elif isinstance(step, ModelResponded) and step.final:
                    final = step
                elif isinstance(step, RunFinished):
                    return await self._finish(final, step)
                elif isinstance(step, RunPaused):
                    return await self._ask(self._response_seq, step.asks)
                else:
                    await self._store(step)
        finally:
            await self._close(steps)
            self._feed.halt()
        return await self._failed(None, "the agent stopped without an answer")

    async def _settings(self) -> Mapping[str, Any]:
        """What is chosen for this session alone; read only where it was changed since."""
        if not self._row.revision:
            return {}
        key, revision, _ = self._live.settings
        if (key, revision) != (self._row.key, self._row.revision):
            revision, body = await self._core.store.settings(*self._live.name)
            self._live.settings = (self._row.key, revision, json.loads(body))
        return self._live.settings[2]

    async def _tell(self, before: Sequence[Entry] = ()) -> bool:
        """Put what was said into the turn behind what is in the history and `before`; False if it is gone again."""
        self._steers = 0
        while said := await self._said_into():
            body, text = coalesced([(one.body, one.text) for one in said])
            entry = Entry(0, EntryKind.STEERED, self.turn, body, text)
            # refused where somebody has removed one of them meanwhile
            if await self._write([*before, entry], [], taken=[one.position for one in said]):
                return True
        return False

    async def _said_into(self) -> Sequence[InputRow]:
        line = await self._core.store.inbox(*self._live.name)
        return [one for one in line if one.kind is InputKind.STEER and one.turn == self.turn and not one.held]

    async def _finish(self, final: ModelResponded | None, finished: RunFinished) -> Reply | Again:
        """Complete; where something was said into the turn before that was stored, the answer is not the last."""
        if final is not None:
            self._count(final)
        last = [] if final is None else [self._entry(EntryKind.MESSAGE, final)]
        while (reply := await self._completed(last, finished)) is None:
            if await self._tell(last):
                return Again.AGAIN
        return reply

    async def _ask(self, seq: int, asks: Sequence[Ask]) -> Reply | None:
        """Stop for people; None where everything is decided already and the turn goes on at once."""
        new, entries = approvals.questions(self._core, self.turn, seq, asks)
        status = move(TurnStatus.RUNNING, TurnEvent.APPROVAL_ASKED).to
        end = TurnEnd(status, None, usage_json(self._turn_usage))
        # a wait is no failed attempt
        if not await self._write(entries, [], asked=new, attempts=self._attempt - 1, end=end):
            self.stop(Stop.CANCEL)  # somebody asked for that meanwhile
            raise Stopped
        if self.ended is None or self.ended.next is not None:
            return None
        open_ones = [approval_of(row) for row in self.ended.asked if row.status is ApprovalStatus.PENDING]
        return Reply(
            text=self._said, output=None, turn=self.turn, usage=dict(self._turn_usage),
            finish_reason=approvals.WAITING, approvals=open_ones,
        )  # fmt: skip

    async def _next(self, steps: AsyncGenerator[Step]) -> Step | None:
        """The engine's next step; raises Stopped if the turn is to stop. Only here is the task ever cancelled."""
        if self.is_stopping():
            raise Stopped
        if self._live.unreadable is not None:
            raise Broke(StorageCorrupt(f"session {self._row.id!r}", self._live.unreadable))
        self._in_engine = True
        try:
            step = await anext(steps, None)
        except asyncio.CancelledError:
            if not self.is_stopping():
                raise
            raise Stopped from None
        except Exception as error:
            if self.is_stopping():
                raise Stopped from error  # it broke while it was being stopped
            raise Broke(error) from error
        finally:
            self._in_engine = False
            if self.is_stopping() and self._task is not None:
                self._task.uncancel()
        if step is None and self.is_stopping():
            raise Stopped
        return step

    async def _close(self, steps: AsyncGenerator[Step]) -> None:
        """Let the engine clean up; what it raises in that changes nothing any more."""
        try:
            await steps.aclose()
        except Exception as error:  # noqa: BLE001 - see above
            logger.warning(
                "the engine failed in cleaning up after turn %d of session %s: %s",
                self.turn,
                self._row.id,
                type(error).__name__,
            )

    async def give_up(self, reason: str) -> None:
        """End as failed; raises StorageError while storage refuses it, and OwnershipLost."""
        if self.ended is None:
            await self._end(TurnStatus.FAILED, reason, [])

    # -- steps

    def _retried(self, step: ModelRetried) -> None:
        """The answer begins anew: what was written of it is nobody's text any more."""
        self._written.clear()
        self._feed.retry(step.reason)
        if step.usage is not None:
            # stored with what is written next
            self._use(step.model, step.usage)

    # -- ends

    async def _completed(self, last: Sequence[Entry], finished: RunFinished) -> Reply | None:
        """The turn's reply; None where something is still to be said into it."""
        usage = usage_json(self._turn_usage)
        body = turn_ended_body(
            TurnStatus.COMPLETED, usage=usage, finish=finished.finish_reason, output=finished.output_json
        )
        entries = [*last, Entry(0, EntryKind.TURN_ENDED, self.turn, body)]
        status = move(TurnStatus.RUNNING, TurnEvent.ANSWERED).to
        if not await self._write(entries, [], end=TurnEnd(status, None, usage)):
            return None
        output = finished.output if finished.output_json is not None else self._said
        return Reply(
            text=self._said,
            output=output,
            turn=self.turn,
            usage=dict(self._turn_usage),
            finish_reason=finished.finish_reason,
        )

    async def _failed(self, error: Exception | None, reason: str = "") -> TurnFailed:
        reason = reason if error is None else _sentence(error)
        if error is not None:
            logger.warning("turn %d of session %s failed: %s", self.turn, self._row.id, type(error).__name__)
        await self._end(move(TurnStatus.RUNNING, TurnEvent.BROKE).to, reason, [])
        failure = TurnFailed(self._row.id, self.turn, reason)
        failure.__cause__ = error
        return failure

    async def _stopped(self) -> SojournError | None:
        """End as the one who stopped it wants."""
        if self.stop_reason is Stop.CANCEL:
            text = "".join(self._written)
            partial = (
                [Entry(0, EntryKind.MESSAGE, self.turn, self._core.engine.interrupted(text), text)] if text else []
            )
            reason = Stop.CANCEL.value
            await self._end(move(TurnStatus.RUNNING, TurnEvent.CANCEL_REQUESTED).to, reason, partial)
            return TurnCancelled(self._row.id, self.turn, reason)
        if self.stop_reason is Stop.CLOSING:
            status = move(TurnStatus.RUNNING, TurnEvent.HANDED_OVER).to
            # an orderly end is no failed attempt
            await self._write(
                [], [], attempts=self._attempt - 1, end=TurnEnd(status, None, usage_json(self._turn_usage))
            )
        return None

    async def _end(self, status: TurnStatus, reason: str, entries: Sequence[Entry]) -> None:
        """End otherwise than completed; every call gets a result, so that the history stays usable."""
        closed, effects = self._closed_calls()
        usage = usage_json(self._turn_usage)
        last = Entry(0, EntryKind.TURN_ENDED, self.turn, turn_ended_body(status, reason, usage=usage), reason)
        await self._write([*closed, *entries, last], effects, end=TurnEnd(status, reason, usage))

    # -- writing


def _sentence(error: Exception) -> str:
    """Why a turn failed, for people: the error's own words, one line, and no credential that a library quoted."""
    text = " ".join(str(error).split())
    if isinstance(error, SojournError):
        return text[:MAX_REASON]
    text = without_secrets(text)[:MAX_REASON]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
