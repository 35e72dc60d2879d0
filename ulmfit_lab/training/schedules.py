"""Schedules of learning rate and dropout, and gradual unfreezing."""

from __future__ import annotations

import math

from ulmfit_lab.utils.errors import ConfigError

CUT_FRACTION, RATIO = 0.1, 32
"""Slanted triangular: share of the steps in which the rate rises, and peak rate over lowest rate."""


def lr_factor(schedule: str, step: int, total: int) -> float:
    """Return the factor of the peak learning rate at a step, 0 <= step < total.

    slanted    Howard & Ruder 2018, eq. 3
    one-cycle  cosine from 1/25 to 1 over the first quarter, then cosine to 1e-5 (Smith 2018, as in fastai)
    cosine     half a cosine wave from 1 to 0
    constant   1

    Raises ConfigError for any other name.
    """
    if schedule == "slanted":
        return slanted(step, total)
    if schedule == "one-cycle":
        rise = 0.25 * total
        if step < rise:
            return between(1 / 25, 1.0, step / rise)
        return between(1.0, 1e-5, (step - rise) / max(total - rise, 1))
    if schedule == "cosine":
        return between(1.0, 0.0, step / total)
    if schedule == "constant":
        return 1.0
    raise ConfigError(f"{schedule!r} is not a schedule; use slanted, one-cycle, cosine or constant.")


def slanted(step: int, total: int) -> float:
    """Rise to 1 over the first tenth of the steps (at least one), then fall to 1/32 (eq. 3)."""
    cut = max(math.floor(total * CUT_FRACTION), 1)
    p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / CUT_FRACTION - 1))
    return (1 + max(p, 0.0) * (RATIO - 1)) / RATIO


def between(start: float, end: float, share: float) -> float:
    """Return a point on half a cosine wave."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def dropout_factor(schedule: str, step: int, total: int) -> float:
    """Return the factor of the encoder's dropouts at a step, 0 <= step < total; its mean over all steps is 1.

    rising    linear from 0 to 2 (curriculum dropout, Morerio et al. 2017, rises along another curve)
    falling   linear from 2 to 0
    constant  1, as are all schedules of a single step

    Raises ConfigError for any other name.
    """
    if schedule not in ("constant", "rising", "falling"):
        raise ConfigError(f"{schedule!r} is not a dropout schedule; use constant, rising or falling.")
    if schedule == "constant" or total < 2:
        return 1.0
    rising = 2 * step / (total - 1)
    return rising if schedule == "rising" else 2 - rising


def layer_rates(lr: float, decay: float, n_groups: int) -> list[float]:
    """Return discriminative learning rates, bottom to top: each is that of the group above divided by decay."""
    return [lr / decay ** (n_groups - 1 - group) for group in range(n_groups)]


def cycle_epochs(unfreeze: str, epoch: int, n_groups: int, epochs: int) -> range:
    """Return the epochs, including this one, in which the same groups are trained."""
    groups = [trainable_groups(unfreeze, each, n_groups) for each in range(epochs)]
    first = last = epoch
    while first > 0 and groups[first - 1] == groups[epoch]:
        first -= 1
    while last < epochs - 1 and groups[last + 1] == groups[epoch]:
        last += 1
    return range(first, last + 1)


def trainable_groups(unfreeze: str, epoch: int, n_groups: int) -> frozenset[int]:
    """Return the groups (0 is the bottom) that are trained in an epoch.

    gradual     one more from the top each epoch (Howard & Ruder 2018)
    last        the top group
    chain-thaw  the top group, then each other alone from the bottom, then all (Felbo et al. 2017)
    all         all groups

    Raises ConfigError for any other name.
    """
    everything = frozenset(range(n_groups))
    top = n_groups - 1
    if unfreeze == "gradual":
        return frozenset(range(max(top - epoch, 0), n_groups))
    if unfreeze == "last":
        return frozenset({top})
    if unfreeze == "chain-thaw":
        # top, 0 .. top - 1, all: the top group is not repeated when its turn comes
        return frozenset({top}) if epoch == 0 else frozenset({epoch - 1}) if epoch <= top else everything
    if unfreeze == "all":
        return everything
    raise ConfigError(f"{unfreeze!r} is not a way to unfreeze; use all, gradual, last or chain-thaw.")
