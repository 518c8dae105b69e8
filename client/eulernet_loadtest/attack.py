# SPDX-License-Identifier: Apache-2.0
"""Executes a plan: sends requests on the schedules of pacer.py and records the outcome of each."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle

from eulernet_client.errors import RequestTimeoutError, ServerBusyError
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.errors import EulerNetError
from eulernet_loadtest.metrics import Metrics, Outcome, Sample, Window
from eulernet_loadtest.pacer import Clock, MonotonicClock, at_once, constant, due, poisson
from eulernet_loadtest.plan import Arrivals, Mode, Plan
from eulernet_loadtest.target import Target, TargetStream
from eulernet_loadtest.traffic import Traffic

PAUSE_S = 0.1  # of a closed loop's worker after a failure: limits the rate of requests to a dead server
MOST_IN_FLIGHT = 1000  # clip calls; calls beyond it wait, and their latency includes the wait
LEAD_S = 0.05  # from the start to the first request, for the workers to start


class Attack:
    """One run of a plan.

    Args:
        plan: load and schedule.
        traffic: the pictures.
        target: the servers.
        drain_s: waiting time after the end of the window; requests without an answer by then count as unanswered.
        clock: the machine's by default.
    """

    def __init__(
        self, plan: Plan, traffic: Traffic, target: Target, drain_s: float, clock: Clock | None = None
    ) -> None:
        self._plan, self._traffic, self._target, self._drain_s = plan, traffic, target, drain_s
        self._clock = clock or MonotonicClock()
        self._begin_s = self._clock.now_s() + LEAD_S
        measured_s = self._begin_s + plan.warm_up_s
        self._end_s = measured_s + plan.duration_s
        self.metrics = Metrics(plan, Window(measured_s, self._end_s))
        self._clips: Iterator[tuple[bytes, ...]] = cycle(traffic.clips())
        self._stream_numbers = count()
        self._in_flight = asyncio.Semaphore(MOST_IN_FLIGHT)
        self._endings: set[asyncio.Future[None]] = set()
        self._random = random.Random(plan.seed)

    @property
    def elapsed(self) -> float:
        """Progress of the run, warm-up included: 0 to 1."""
        return min(1.0, max(0.0, (self._clock.now_s() - self._begin_s) / (self._end_s - self._begin_s)))

    async def run(self) -> Metrics:
        """Sends all requests of the plan and waits for their answers, at most `drain_s` after the end."""
        if self._plan.rate_hz is not None:
            await self._arrivals(self._plan.rate_hz)
        else:
            worker = self._clip_worker if self._plan.mode is Mode.CLIPS else self._stream_worker
            assert self._plan.concurrency is not None  # Plan checks it
            await self._finish([asyncio.ensure_future(worker()) for _ in range(self._plan.concurrency)])
        return self.metrics

    async def _finish(self, tasks: Collection[asyncio.Future[None]]) -> None:
        """Waits for the tasks until `drain_s` after the end, then cancels the rest, which records them."""
        try:
            left_s = self._end_s + self._drain_s - self._clock.now_s()
            if tasks:
                await asyncio.wait(tasks, timeout=max(0.0, left_s))
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            endings = await asyncio.gather(*self._endings, return_exceptions=True)
        for result in (*results, *endings):
            if isinstance(result, Exception):  # a bug in this program: the servers' errors are recorded
                raise result

    async def _arrivals(self, rate_hz: float) -> None:
        """The open loop: clips or streams start on schedule, independent of earlier answers."""
        plan = self._plan
        offsets = poisson(rate_hz, plan.seed) if plan.arrivals is Arrivals.POISSON else constant(rate_hz)
        arrive = self._arriving_clip if plan.mode is Mode.CLIPS else self._arriving_stream
        tasks: set[asyncio.Future[None]] = set()

        def forget(task: asyncio.Future[None]) -> None:
            if task.cancelled() or task.exception() is None:
                tasks.discard(task)

        try:
            async for intended_s in due(offsets, self._clock, self._begin_s, self._end_s):
                task = asyncio.ensure_future(arrive(intended_s))
                tasks.add(task)
                task.add_done_callback(forget)
        finally:
            await self._finish(tuple(tasks))

    async def _arriving_clip(self, intended_s: float) -> None:
        await self._measured(intended_s, self._clip_in_turn)

    async def _arriving_stream(self, intended_s: float) -> None:
        await self._streams(self._frames(intended_s), one=True)

    async def _clip_worker(self) -> None:
        async for intended_s in at_once(self._clock, self._begin_s, self._end_s):
            sample = await self._measured(intended_s, self._clip_in_turn)
            if not sample.outcome.answered:
                await asyncio.sleep(PAUSE_S)

    async def _clip_in_turn(self, sent: Callable[[], None]) -> bool:
        async with self._in_flight:
            sent()
            return await self._target.clip(next(self._clips))

    async def _stream_worker(self) -> None:
        # Cameras are not synchronized: each stream gets a random phase.
        phase_s = 0.0 if self._plan.fps is None else self._random.random() / self._plan.fps
        await self._streams(self._frames(self._begin_s + phase_s), one=False)

    def _frames(self, begin_s: float) -> AsyncIterator[float]:
        """The schedule of a stream's frames until the end of the run."""
        if self._plan.fps is None:
            return at_once(self._clock, begin_s, self._end_s)
        return due(constant(self._plan.fps), self._clock, begin_s, self._end_s)

    async def _streams(self, schedule: AsyncIterator[float], one: bool) -> None:
        """Plays streams on a schedule of frames. After a loss the next frame starts a new stream.

        Args:
            one: stop after the frames of one stream, lost ones included; otherwise play stream after stream.
        """
        in_flight: deque[_Sending] = deque()  # the oldest first
        player: _Player | None = None
        frames, most_frames = 0, None
        try:
            async for intended_s in schedule:
                if player is None:
                    player = _Player(self._target.stream(), self._traffic, next(self._stream_numbers), self._plan)
                    most_frames = most_frames or player.length
                frames += 1
                final = one and frames == most_frames
                request = player.next(last=final)
                outcome = asyncio.ensure_future(self._measured(intended_s, request.send, request.frames))
                in_flight.append(_Sending(player, request, intended_s, outcome))
                lost = player in await self._answered(in_flight, self._plan.frames_in_flight - 1)
                if request.last or lost:
                    player = None
                if final:
                    break
                if lost and self._plan.fps is None:
                    await asyncio.sleep(PAUSE_S)
            await self._answered(in_flight, 0)
        except asyncio.CancelledError:
            await self._record_unsent(schedule)
            raise
        finally:
            await self._abandon(in_flight)
            for each in {each.player for each in in_flight} | ({player} if player else set()):
                self._end(each)

    async def _answered(self, in_flight: deque[_Sending], most: int) -> set[_Player]:
        """Waits until at most `most` requests have no answer, in order. Returns the streams that were lost."""
        lost: set[_Player] = set()
        while in_flight and (len(in_flight) > most or in_flight[0].outcome.done()):
            oldest = in_flight[0]
            sample = await oldest.outcome
            in_flight.popleft()
            if oldest.player.over(oldest.request, sample, self.metrics):
                self._end(oldest.player)
            if not sample.outcome.answered:
                lost.add(oldest.player)
        return lost

    async def _abandon(self, in_flight: Collection[_Sending]) -> None:
        """Cancels requests, which records them."""
        for each in in_flight:
            each.outcome.cancel()
        await asyncio.gather(*(each.outcome for each in in_flight), return_exceptions=True)
        for each in in_flight:
            if not each.request.begun:  # cancelled before its first step
                now_s, frames = self._clock.now_s(), each.request.frames
                self.metrics.record(Sample(each.intended_s, None, now_s, Outcome.UNANSWERED, frames=frames))

    async def _record_unsent(self, schedule: AsyncIterator[float]) -> None:
        """Records the frames that were due before the end of the run and still wait for the frame before them."""
        if self._clock.now_s() >= self._end_s:
            async for intended_s in schedule:
                self.metrics.record(Sample(intended_s, None, self._clock.now_s(), Outcome.UNANSWERED))

    def _end(self, player: _Player) -> None:
        """Frees the stream's slot in the background, so that the next stream does not wait for it."""
        ending = asyncio.ensure_future(player.stream.close())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _measured(
        self, intended_s: float, send: Callable[[Callable[[], None]], Awaitable[bool]], frames: int | None = None
    ) -> Sample:
        """Sends one request and records its outcome. `send` calls its argument at the actual send; `frames`: see
        Sample."""
        sent_s: float | None = None

        def sent() -> None:
            nonlocal sent_s
            sent_s = self._clock.now_s()

        def record(outcome: Outcome, error: BaseException | None = None) -> Sample:
            name = "" if error is None else type(error).__name__
            sample = Sample(intended_s, sent_s, self._clock.now_s(), outcome, name, frames)
            self.metrics.record(sample)
            return sample

        try:
            scored = await send(sent)
        except ServerBusyError as error:
            return record(Outcome.REJECTED, error)
        except RequestTimeoutError as error:
            return record(Outcome.UNANSWERED, error)
        except EulerNetError as error:
            return record(Outcome.FAILED, error)
        except asyncio.CancelledError:
            record(Outcome.UNANSWERED)
            raise
        late_s = self._plan.late_after_s
        late = late_s is not None and self._clock.now_s() - intended_s > late_s
        return record(Outcome.UNSCORED if not scored else Outcome.LATE if late else Outcome.OK)


class _Request:
    """One request of a stream.

    Args:
        stream: its target.
        jpegs: its frames.
        last: it has the stream's last frame.
    """

    def __init__(self, stream: TargetStream, jpegs: Sequence[bytes], last: bool) -> None:
        self._stream, self._jpegs, self.last = stream, jpegs, last
        self.frames, self.begun = len(jpegs), False

    async def send(self, sent: Callable[[], None]) -> bool:
        """Sends it; see Attack._measured."""
        self.begun = True
        sent()
        return await self._stream.frames(self._jpegs, self.last)


class _Player:
    """Position of one stream in its source and in its current clip."""

    def __init__(self, stream: TargetStream, traffic: Traffic, number: int, plan: Plan) -> None:
        self.stream = stream
        self._source = traffic.source(number)
        self.length = plan.stream_frames or len(self._source.jpegs)
        self._most = plan.chunk_frames
        self._frame = 0
        self._clip: list[Sample] = []

    def next(self, last: bool) -> _Request:
        """The next request. It is the stream's last if `last`, or at its length."""
        end = min(self.length, self._frame + self._most)
        jpegs = [self._source.frame(number) for number in range(self._frame, end)]
        self._frame = end
        return _Request(self.stream, jpegs, last or end == self.length)

    def over(self, request: _Request, sample: Sample, metrics: Metrics) -> bool:
        """Adds a request's outcome, in order. Returns whether that was the last one, or the stream was lost."""
        if not sample.outcome.answered:
            self._clip.clear()
            return True
        for _ in range(request.frames):
            self._clip.append(sample)
            if len(self._clip) == CLIP_FRAMES:
                first = self._clip[0]
                assert first.sent_s is not None  # an answered request was sent
                metrics.record_clip(first.intended_s, first.sent_s, sample.done_s)
                self._clip.clear()
        return request.last


@dataclass(frozen=True)
class _Sending:
    """A request of a stream that was due at `intended_s`, and its outcome."""

    player: _Player
    request: _Request
    intended_s: float
    outcome: asyncio.Future[Sample]
