"""Who is live: at most `max_sessions` at any instant, each restored once, the longest at rest leaving first.

Nothing here awaits while it decides: a place is counted, given, handed over or freed between two awaits, so the bound
holds at every instant. What is at rest can always be dropped, because everything of it is stored.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Protocol, TypeAlias, TypeVar

from sojourn.clock import Clock, Timer
from sojourn.errors import RuntimeClosed, SessionLimitExceeded
from sojourn.records import UnloadReason
from sojourn.sessions.eviction import is_expired, sweep_delay

#: A session's user and id.
Name: TypeAlias = tuple[str, str]


class Resident(Protocol):
    """What residency needs to know of what it keeps."""

    def left(self, reason: UnloadReason) -> None:
        """It has left memory; called once, must not wait."""


R = TypeVar("R", bound=Resident)


class Place(Generic[R]):
    """A place in memory: reserved for a session, then holding it."""

    __slots__ = ("loading", "name", "pins", "resident", "rested", "void")

    def __init__(self, name: Name) -> None:
        self.name = name
        #: Those who use the session right now; it is at rest when there are none.
        self.pins = 0
        self.resident: R | None = None
        self.loading: asyncio.Task[R] | None = None
        #: Monotonic time of the last activity, while at rest.
        self.rested = 0.0
        #: Why the copy in it must not be used any more; the place is freed when its last user lets go.
        self.void: UnloadReason | None = None


class _Claim:
    """Callers that wait for a place for one session; they stand in line together."""

    __slots__ = ("callers",)

    def __init__(self) -> None:
        self.callers: list[asyncio.Future[None]] = []


class Residency(Generic[R]):
    """The bounded set of live sessions."""

    def __init__(
        self,
        load: Callable[[Name], Awaitable[R]],
        *,
        clock: Clock,
        max_sessions: int,
        session_ttl: float,
        admission_wait: float,
    ) -> None:
        self._load = load
        self._clock = clock
        self.max_sessions, self.session_ttl, self._admission_wait = max_sessions, session_ttl, admission_wait
        self._places: dict[Name, Place[R]] = {}
        #: At rest, longest first: what moves to the end was active last, so the head is always due first.
        self._resting: OrderedDict[Name, Place[R]] = OrderedDict()
        self._claims: OrderedDict[Name, _Claim] = OrderedDict()
        self._sweep: Timer | None = None
        self._closed = False
        self.restored = 0
        self.unloaded: Counter[UnloadReason] = Counter()

    # -- what is known

    @property
    def live(self) -> int:
        """Places taken."""
        return len(self._places)

    @property
    def at_rest(self) -> int:
        """Live sessions that could leave at once."""
        return len(self._resting)

    @property
    def waiting(self) -> int:
        """Callers that wait for a place."""
        return sum(len(claim.callers) for claim in self._claims.values())

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    def is_live(self, name: Name) -> bool:
        """Whether the session has a place."""
        return name in self._places

    def peek(self, name: Name) -> R | None:
        """The session if it is live; no activity."""
        place = self._places.get(name)
        return place.resident if place else None

    def residents(self) -> Mapping[Name, R]:
        """Every live session that is loaded."""
        return {name: place.resident for name, place in self._places.items() if place.resident is not None}

    # -- coming and going

    async def acquire(self, name: Name, *, wait: float | None = None) -> Place[R]:
        """A pinned place with the session in it; `wait` seconds at most for a place (None: the usual time).

        Raises SessionLimitExceeded, or what loading raised; then nothing is left behind. Whoever gets a place gives it
        back with `release`.
        """
        if self._closed:
            raise RuntimeClosed
        place = self._places.get(name)
        if place is None and name not in self._claims:
            place = self._admit_now(name)
        elif place is not None and place.void is not None:
            place = None  # its copy has to leave first
        if place is not None:
            self._pin(place)
        else:
            await self._wait_in_line(name, self._admission_wait if wait is None else wait)
            place = self._places[name]  # pinned for us by whoever let us in
        if place.resident is None:
            await self._loaded(place)
        if place.void is not None:  # deleted or reset while it was loaded
            self.release(place)
            return await self.acquire(name, wait=wait)
        return place

    def hold(self, place: Place[R]) -> None:
        """One more pin on a place that the caller has pinned already."""
        place.pins += 1

    def release(self, place: Place[R]) -> None:
        """Give a pin back; the last one puts the session at rest, which may let somebody else in."""
        place.pins -= 1
        if place.pins or self._places.get(place.name) is not place:
            return
        if place.void is not None:
            self._drop(place, place.void)
        elif place.resident is None and (place.loading is None or place.loading.done()):
            self._places.pop(place.name)  # it never got in
        elif place.resident is not None:
            self._rest(place)
        self._let_in()

    def touch(self, name: Name) -> None:
        """Activity of a session that is at rest: its time begins anew."""
        place = self._resting.get(name)
        if place is not None:
            self._resting.move_to_end(name)
            place.rested = self._clock.monotonic()

    def unload(self, name: Name, reason: UnloadReason) -> bool:
        """Drop a session at rest; False if it is not live or is busy."""
        place = self._resting.get(name)
        if place is None:
            return False
        self._drop(place, reason)
        self._let_in()
        return True

    def forget(self, name: Name, reason: UnloadReason) -> None:
        """Drop a session whose copy is void: at once if it is at rest, else when its last user lets go."""
        place = self._places.get(name)
        if place is not None and place.pins:
            place.void = place.void or reason
        elif place is not None and place.resident is not None:
            self._drop(place, reason)
            self._let_in()

    def close(self) -> None:
        """Let nobody in any more and drop what is at rest."""
        self._closed = True
        for claim in self._claims.values():
            for caller in claim.callers:
                if not caller.done():
                    caller.set_exception(RuntimeClosed())
        self._claims.clear()
        for place in list(self._resting.values()):
            self._drop(place, UnloadReason.CLOSED)
        if self._sweep is not None:
            self._sweep.cancel()

    # -- admission

    def _admit_now(self, name: Name) -> Place[R] | None:
        if len(self._places) >= self.max_sessions:
            longest = next(iter(self._resting.values()), None)
            if longest is None:
                return None
            self._drop(longest, UnloadReason.ROOM)
        place: Place[R] = Place(name)
        self._places[name] = place
        return place

    def _pin(self, place: Place[R]) -> None:
        place.pins += 1
        self._resting.pop(place.name, None)

    async def _wait_in_line(self, name: Name, seconds: float) -> None:
        if seconds <= 0:
            raise SessionLimitExceeded(self.max_sessions, 0, self._retry_after())
        caller: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        claim = self._claims.setdefault(name, _Claim())
        claim.callers.append(caller)
        endless = seconds == float("inf")
        timer = None if endless else self._clock.call_later(seconds, lambda: self._give_up(caller, seconds))
        try:
            await caller
        except BaseException:
            if caller.done() and not caller.cancelled() and caller.exception() is None:
                self.release(self._places[name])  # let in and cancelled in the same instant
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if caller in claim.callers:
                claim.callers.remove(caller)
                if not claim.callers and self._claims.get(name) is claim:
                    del self._claims[name]

    def _give_up(self, caller: asyncio.Future[None], seconds: float) -> None:
        if not caller.done():
            caller.set_exception(SessionLimitExceeded(self.max_sessions, seconds, self._retry_after()))

    def _retry_after(self) -> float:
        return max(1.0, self._admission_wait / 10)

    def _let_in(self) -> None:
        """Give free places to those in line, first come first served."""
        while not self._closed and (name := self._next_claim()) is not None:
            claim = self._claims[name]
            callers = [caller for caller in claim.callers if not caller.done()]
            if not callers:
                del self._claims[name]
                continue
            place = self._admit_now(name)
            if place is None:
                return
            del self._claims[name]
            claim.callers.clear()
            for caller in callers:
                place.pins += 1
                caller.set_result(None)

    def _next_claim(self) -> Name | None:
        """The first in line whose session does not still have a place with a void copy."""
        return next((name for name in self._claims if name not in self._places), None)

    # -- loading

    async def _loaded(self, place: Place[R]) -> None:
        """Wait for the one load that all callers share; a failed one frees the place."""
        if place.loading is None:
            place.loading = asyncio.create_task(self._restore(place), name=f"sojourn-restore-{place.name[1]}")
        try:
            await asyncio.shield(place.loading)
        except BaseException:
            self.release(place)
            raise

    async def _restore(self, place: Place[R]) -> R:
        try:
            place.resident = resident = await self._load(place.name)
        finally:
            if place.resident is None and self._places.get(place.name) is place:
                del self._places[place.name]
                self._let_in()
            elif not place.pins and self._places.get(place.name) is place:
                self._rest(place)  # everybody who wanted it has left meanwhile
                self._let_in()
        return resident

    # -- leaving

    def _rest(self, place: Place[R]) -> None:
        place.loading = None
        place.rested = self._clock.monotonic()
        self._resting[place.name] = place
        if self._closed:
            self._drop(place, UnloadReason.CLOSED)
        elif self._sweep is None:
            self._arm()

    def _arm(self) -> None:
        oldest = next(iter(self._resting.values()), None)
        self._sweep = None
        if oldest is not None:
            delay = sweep_delay(oldest.rested, self._clock.monotonic(), self.session_ttl)
            self._sweep = self._clock.call_later(delay, self._sweep_out)

    def _sweep_out(self) -> None:
        """Drop what is due; what is not yet due is not looked at."""
        now = self._clock.monotonic()
        while (oldest := next(iter(self._resting.values()), None)) and is_expired(oldest.rested, now, self.session_ttl):
            self._drop(oldest, UnloadReason.IDLE)
        self._arm()
        self._let_in()

    def _drop(self, place: Place[R], reason: UnloadReason) -> None:
        self._resting.pop(place.name, None)
        if self._places.get(place.name) is place:
            del self._places[place.name]
        resident, place.resident, place.loading = place.resident, None, None
        self.unloaded[reason] += 1
        if resident is not None:
            resident.left(reason)
