"""Our schedules in the driver's seat: torch LRSchedulers that set a real optimizer's learning rates."""

from typing import Any

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ratelab.theory.arrays import InputError
from ratelab.theory.feedback import Feedback, State
from ratelab.theory.schedules import Schedule, multipliers

_MADE_ANEW = ("schedule", "rule", "_multipliers")  # from the notation, not from the state


class ScheduleLR(LRScheduler):
    """Sets the rate of every parameter group to base_lr * schedule(horizon)[t], t = `last_epoch`.

    base_lr is the group's `initial_lr`: the rate it had when its first scheduler was made. Call `step` after
    each update, as with any torch scheduler, or within SequentialLR, where it restarts at its milestone.
    After the last update, at t = horizon, the rate stays where it is; one step further is an InputError. The
    state holds plain numbers and text: the schedule is made anew from its notation, which the state carries
    to be checked.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, horizon: int, last_epoch: int = -1) -> None:
        self.schedule = schedule
        self.notation = repr(schedule)
        self.horizon = horizon
        self._multipliers = multipliers(schedule, horizon)
        if not horizon:
            raise InputError("horizon is 0; a scheduler drives at least 1 update")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The rate of every group at update `last_epoch`."""
        t = self.last_epoch
        if t > self.horizon:
            raise InputError(
                f"update {t} is past the horizon of {self.horizon} updates of {self.notation}; "
                f"make the scheduler with horizon={t + 1} or more, or stop after update {self.horizon - 1}"
            )
        factor = float(self._multipliers[min(t, self.horizon - 1)])
        return [base * factor for base in self.base_lrs]

    def _get_closed_form_lr(self) -> list[Any]:  # how SequentialLR starts a scheduler at its milestone
        return self.get_lr()

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and text: where it stands, the base rates, the notation and the horizon."""
        return {key: member for key, member in super().state_dict().items() if key not in _MADE_ANEW}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the state stands; InputError when it belongs to another schedule or horizon."""
        theirs = (state_dict["notation"], state_dict["horizon"])
        if theirs != (self.notation, self.horizon):
            raise InputError(
                f"the state is of {theirs[0]} over {theirs[1]} updates, this scheduler is "
                f"{self.notation} over {self.horizon}; make it with the former"
            )
        super().load_state_dict(state_dict)


class FeedbackLR(ScheduleLR):
    """Sets the rate of every parameter group to base_lr * rule.schedule(horizon)[t] * factor.

    `step(metric)` moves the clock t by one and shows the rule a metric; `step()` moves the clock only, for
    the updates between two metrics. A rule whose schedule is constant, such as a plain ReduceLROnPlateau,
    may be stepped once per metric, as torch's is.
    """

    def __init__(self, optimizer: Optimizer, rule: Feedback, horizon: int, last_epoch: int = -1) -> None:
        self.rule = rule
        self.factor = 1.0
        self.rule_state = _plain(rule.start(1))
        super().__init__(optimizer, rule.schedule, horizon, last_epoch)
        self.notation = repr(rule)

    def step(self, metric: float | None = None) -> None:
        """One update is done, and `metric` was measured, if one was."""
        if metric is not None:
            state = {name: np.asarray(entry) for name, entry in self.rule_state.items()}
            factors, after = self.rule.update(state, np.array([float(metric)]))
            self.factor, self.rule_state = float(factors[0]), _plain(after)
        super().step()

    def get_lr(self) -> list[Any]:
        """The rate of every group at update `last_epoch`, after the metrics so far."""
        return [rate * self.factor for rate in super().get_lr()]


def _plain(state: State) -> dict[str, list[Any]]:
    return {name: entry.tolist() for name, entry in state.items()}
