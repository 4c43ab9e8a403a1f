"""Which course an epoch belongs to: from which weights it goes on, at what learning rate, and who is learned from.

Training is a line of courses, in each of which the learning rate rises and falls. One goes through all epochs; or a
shorter one comes first: a rehearsal, which the other goes on from, or a short course, which may be enough and is
forgotten otherwise. Where `refit` is set and nothing was rehearsed, the course that was best is taken once more in the
end, and validation customers are learned from as well.

All of this follows from the settings and the losses so far: a resumed training has nothing else to remember.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from crm_models.core.config import TrainingConfig

Kind = Literal["rehearsal", "short", "main"]

AFTER_REHEARSAL = 0.5
"""Share of the learning rate once a model has rehearsed: it knows most already, and must not forget it."""

SHORTEST_COURSE = 5
"""Epochs: in fewer, hardly any cohort is learned well enough to tell whether more would help."""

STILL_GAINS = 0.02
"""A short course whose second half lowered the loss by no larger share is enough. Where little can be learned it gains
about 0.005, and more epochs learn by heart; where there is more to learn, 0.03 to 0.2. So much better the main course
must be as well to be preferred."""

AS_GOOD = 0.01
"""By so much the validation loss moves from epoch to epoch by the luck of a few hundred customers."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """`length` epochs at most from epoch `first` on, counted from 0; the learning rate is laid out over `n_epochs`.

    until: when training ends, as far as this course can tell. top: the highest learning rate, as a share of the
    configured one. fresh: it begins with fresh weights, not with those there are. refit: it learns from validation
    customers as well, so that nobody is left to judge it.
    """

    kind: Kind
    first: int
    n_epochs: int
    length: int
    until: int
    top: float = 1.0
    fresh: bool = False
    refit: bool = False

    @property
    def end(self) -> int:
        """The epoch after its last."""
        return self.first + self.length

    def rate(self, config: TrainingConfig, epoch: float) -> float:
        """The learning rate at a (fractional) epoch: constant, or up for a tenth of the way and a cosine down."""
        if config.schedule == "constant":
            return config.learning_rate
        return config.learning_rate * self.top * _one_cycle((epoch - self.first + 1e-3) / self.n_epochs)


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """The courses of one training. can_rehearse: an earlier date can be asked about. is_judged: by validation."""

    config: TrainingConfig
    can_rehearse: bool
    is_judged: bool

    def course(self, losses: Sequence[float]) -> Course | None:
        """The course of the next epoch; None: training is over.

        losses: what was monitored in each epoch so far, infinite where it says nothing.
        """
        taken: list[Course] = []
        for course in self._planned():
            taken.append(course)
            end = self._end(course, losses)
            if end is None:
                return course
            if course.kind == "short" and not _still_gains(losses[:end]):
                break
        # After a rehearsal, which takes few labels to go on from, more of them were no gain on two cohorts.
        if not self.config.refit or not self.is_judged or taken[0].kind == "rehearsal":
            return None
        return _again(taken, losses[:end], len(losses))

    def _planned(self) -> list[Course]:
        n_epochs = self.config.n_epochs

        def course(kind: Kind, first: int, length: int, top: float = 1.0, fresh: bool = False) -> Course:
            return Course(kind=kind, first=first, n_epochs=length, length=length, until=n_epochs, top=top, fresh=fresh)

        n_rehearsals = int(self.config.rehearsal_share * n_epochs) if self.can_rehearse else 0
        if n_rehearsals:
            after = course("main", n_rehearsals, n_epochs - n_rehearsals, top=AFTER_REHEARSAL)
            return [course("rehearsal", 0, n_rehearsals), after]
        n_short = int(self.config.short_share * n_epochs) if self.is_judged else 0
        if n_short >= SHORTEST_COURSE:
            return [course("short", 0, n_short), course("main", n_short, n_epochs - n_short, fresh=True)]
        return [course("main", 0, n_epochs)]

    def _end(self, course: Course, losses: Sequence[float]) -> int | None:
        """The epoch after the last of a course, which patience may have ended early; None where it still runs.

        Patience is for the main course alone: the others are short, and only in their last epochs is the rate low.
        """
        own = losses[course.first : course.end]
        if course.kind == "main" and self.config.monitor != "last":
            best = 0
            for k, loss in enumerate(own):
                best = k if loss < own[best] else best
                if k - best >= self.config.patience_epochs:
                    return course.first + k + 1
        return course.end if len(own) == course.length else None


def _again(taken: Sequence[Course], judged: Sequence[float], n_done: int) -> Course | None:
    """The course to take once more from fresh weights, once those `taken` are over; None once that is done.

    The short one, unless the main one was clearly better, which goes up to its best epoch: where both are as good, the
    best epoch of the main one is the luck of a few customers, with the rate still high. So it may be within the short
    one, whose rate comes down to nothing: that goes on as long as it was as good as at its best.
    """
    again = taken[0]
    if again.kind == "short" and (len(taken) == 1 or min(judged) >= (1 - STILL_GAINS) * min(judged[: again.end])):
        own = judged[: again.end]
        length = max(k for k, loss in enumerate(own, start=1) if loss <= (1 + AS_GOOD) * min(own))
    else:
        again = taken[-1]
        own = judged[again.first :]
        length = own.index(min(own)) + 1
    first, until = len(judged), len(judged) + length
    return replace(again, first=first, length=length, until=until, fresh=True, refit=True) if n_done < until else None


def _still_gains(losses: Sequence[float]) -> bool:
    """Whether the second half of a short course with these losses gained enough for more epochs to be worth it."""
    return min(losses) < (1 - STILL_GAINS) * min(losses[: len(losses) // 2])


def _one_cycle(done: float) -> float:
    """The course of the learning rate over the share `done` of the way."""
    warm_up = 0.1
    if done < warm_up:
        return done / warm_up
    return max(0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))), 1e-3)
