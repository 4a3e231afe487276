"""Spreads that the rungs of a table lend one another: three seeds know a spread badly, thirteen rungs of three do not.

Most rungs have the spread that is common to trainings of their length; some have one of their own. Which of the two a
rung has is not known, so both are weighed by how well they explain the spread that is seen (Bayes' rule), and the
p-value of a difference is the mean over the possibilities, of each the t-test. docs/STATISTICS.md has what that gives
and costs, by simulation (benchmarks/ladder_statistics.py); the idea is Smyth's (2004), moderated variances, with the
rungs that stand out let go, as Phipson et al. (2016) let them.

Everything is computed for any number of tables at once (the leading dimensions, `...`), so that the simulation runs the
code of the report.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

# The chance, before anything is seen, that a rung has a spread of its own, by its runs: two, three, four, more. Chosen
# by the simulation. The more runs, the less a rung needs the others; of two, hardly anything is seen of either.
OWN = (0.95, 0.745, 0.82, 0.89)
OWN_OF_SOME = (0.95, 0.89, 0.89, 0.89)  # with fewer than 8 trainings, whose common spread is less well known
OWN_OF_FEW = (0.95, 0.95, 0.92, 0.89)  # with fewer than 5
OWN_OF_TOTALS = 0.95  # for gains over the first rung, whose spread is in all of them
LENGTHS_DIFFER = 0.1  # p below which short trainings are taken to differ from long ones in spread
OWN_FREEDOM = 0.05  # degrees of freedom that the guess of an own spread is worth: next to nothing
OWN_VARIANCE = 4.0  # that guess, in units of the common variance
TRAININGS = 3  # from which on pooling begins: of two, each difference has a spread of its own anyway
ROUNDS = 25  # of expectation and maximisation: more change the variances by less than 1%


class Spreads(NamedTuple):
    """The spread of each rung's runs about its mean, what all rungs have in common with a seed taken out."""

    variance: np.ndarray  # (..., rungs), points squared
    freedom: np.ndarray  # (..., rungs): degrees of freedom that it was estimated from; 0 with one run


class CommonAndOwn(NamedTuple):
    """The two variances that a rung may have, (..., rungs) each."""

    common: np.ndarray  # that of trainings of its length, points squared
    common_freedom: np.ndarray
    own: np.ndarray  # that of its own runs
    own_freedom: np.ndarray
    chance: np.ndarray  # that its own one is the true one
    estimate: np.ndarray  # the same number for rungs whose common variance is one estimate, not two


class Error(NamedTuple):
    """What the standard error of each of some differences may be: (possibilities, ..., differences) each."""

    variance: np.ndarray  # of the mean difference, points squared
    freedom: np.ndarray
    chance: np.ndarray


def spreads(runs: np.ndarray, trainings: np.ndarray) -> Spreads:
    """How far apart the runs of each rung are.

    Seeds that are good or bad for all rungs say nothing about a difference between rungs. Their effects are those of
    the additive model run = rung + seed, taken out by as much as they exceed what chance makes of them: the share is
    1 - 1/F, F the ratio of the mean squares of seeds and residuals, never below 0 (James and Stein, 1961).

    Args:
        runs: (..., rungs, seeds), top-1 in percent; NaN where one is missing, in all tables alike.
        trainings: (rungs,), the same number for rungs that are evaluations of one training: they count as one.
    """
    there = ~np.isnan(runs.reshape(-1, *runs.shape[-2:])[0])
    ids = list(dict.fromkeys(trainings.tolist()))
    members = [trainings == one for one in ids]
    present = np.stack([there[rows].any(axis=0) for rows in members])
    with np.errstate(invalid="ignore"):
        means = np.stack(
            [np.nansum(runs[..., rows, :], -2) / np.maximum(there[rows].sum(0), 1) for rows in members], -2
        )
    cells = means[..., present]  # (..., cells)
    training, seed = np.nonzero(present)
    by_training = (training[:, None] == np.arange(len(ids))).astype(float)
    both = np.hstack([by_training, (seed[:, None] == np.arange(runs.shape[-1])).astype(float)])
    solution = np.linalg.pinv(both)
    without_seeds = np.eye(len(cells.T)) - by_training @ np.linalg.pinv(by_training)
    without_both = np.eye(len(cells.T)) - both @ solution
    freedom, left = round(np.trace(without_seeds - without_both)), round(np.trace(without_both))
    effects = (cells @ solution.T)[..., len(ids) :]  # (..., seeds)
    of_seeds = ((cells @ (without_seeds - without_both)) ** 2).sum(-1)
    of_chance = ((cells @ without_both) ** 2).sum(-1)
    share = np.zeros(cells.shape[:-1])
    if freedom and left:
        share = np.clip(1 - of_chance / left * freedom / np.maximum(of_seeds, 1e-300), 0, 1)
    taken = np.where(there, runs - share[..., None, None] * effects[..., None, :], 0.0)
    count = np.maximum(there.sum(-1), 1)
    apart = np.where(there, taken - (taken.sum(-1) / count)[..., None], 0.0)
    kept = np.array([np.diag(without_both)[training == number].sum() for number in range(len(ids))])
    plain = np.maximum(there.sum(-1) - 1, 0)
    whole = np.array([np.maximum(present[ids.index(one)].sum() - 1, 1) for one in trainings.tolist()])
    least = kept[[ids.index(one) for one in trainings.tolist()]] * plain / whole  # with the seeds' effects taken out
    rest = (1 - share[..., None]) ** 2
    free = rest * plain + (1 - rest) * least
    return Spreads((apart**2).sum(-1) / np.maximum(free, 1e-12), free)


def guesses(runs: np.ndarray, trainings: int) -> np.ndarray:
    """The chance of a spread of its own that each rung has before anything is seen.

    Args:
        runs: (rungs,): how many each rung has.
        trainings: how many there are in the table, evaluations of one counted once.
    """
    table = OWN if trainings >= 8 else OWN_OF_SOME if trainings >= 5 else OWN_OF_FEW
    return np.array(table)[np.clip(runs, 2, 5) - 2]


def pool(found: Spreads, trainings: np.ndarray, lengths: np.ndarray, guess: np.ndarray | float) -> CommonAndOwn:
    """The spreads that trainings have in common, and how likely each rung's own is another.

    Trainings of all lengths are taken together, unless what those of one length have in common differs between lengths
    (Bartlett's p below LENGTHS_DIFFER): then each length has its own common spread.

    Args:
        found: of the runs.
        trainings: as `spreads` takes them: evaluations of one training together count as one rung.
        lengths: (rungs,), the same number for rungs whose trainings are as long: short ones may be noisier.
        guess: chance, before anything is seen, that a rung has a spread of its own; (rungs,) or one for all.
    """
    weight = np.array([1 / np.sum(trainings == one) for one in trainings])
    guess = np.broadcast_to(guess, weight.shape)
    shape = np.broadcast_shapes(found.variance.shape, found.freedom.shape)
    free = np.broadcast_to(found.freedom, shape)
    together = _fit(found.variance, free, weight, guess)
    kinds = list(dict.fromkeys(lengths.tolist()))
    by_length = [
        _fit(found.variance[..., rows], free[..., rows], weight[rows], guess[rows])
        for rows in (lengths == kind for kind in kinds)
    ]
    apart = _differ([each.common[..., 0] for each in by_length], [each.freedom[..., 0] for each in by_length])
    place = np.argsort(np.concatenate([np.flatnonzero(lengths == kind) for kind in kinds]))
    separate = [np.concatenate(each, axis=-1)[..., place] for each in zip(*by_length, strict=True)]
    chosen = (np.where(apart[..., None], one, other) for one, other in zip(separate, together, strict=True))
    common, common_freedom, chance = chosen
    own = (OWN_FREEDOM * OWN_VARIANCE * common + free * found.variance) / (OWN_FREEDOM + free)
    estimate = np.where(apart[..., None], lengths, -1)
    return CommonAndOwn(common, common_freedom, own, OWN_FREEDOM + free, chance, estimate)


class _Fit(NamedTuple):
    """A common variance, its degrees of freedom, and the chances of own ones: (..., rungs) each."""

    common: np.ndarray
    freedom: np.ndarray
    chance: np.ndarray


def _fit(variance: np.ndarray, freedom: np.ndarray, weight: np.ndarray, guess: np.ndarray) -> _Fit:
    """The common variance s² of some rungs: the likeliest one, rungs counted by the chance that it is theirs.

    A rung's variance V, of f degrees of freedom, is s²·χ²(f)/f where the common one is its own. Where it has another,
    whose prior is scaled inverse χ² of OWN_FREEDOM around OWN_VARIANCE·s², V is OWN_VARIANCE·s²·F(f, OWN_FREEDOM).
    """
    known = freedom > 1e-9  # one run has no spread: the common one it is, and it adds nothing to it
    f = np.where(known, freedom, 1.0)
    some = known.any(-1, keepdims=True)
    s = np.nanmedian(np.where(known | ~some, variance, np.nan), axis=-1, keepdims=True)
    s = np.where(some, s, 1.0)
    v = np.where(known, variance, s)
    for _ in range(ROUNDS):
        as_common = _log_chi2(v / s, f) + np.log1p(-guess)
        as_own = _log_f(v / (OWN_VARIANCE * s), f) + np.log(guess)
        chance = np.where(known, special.expit(as_own - as_common), 0.0)
        counted = np.where(known, weight * (1 - chance) * f, 0.0)
        total = np.maximum(counted.sum(-1, keepdims=True), 1e-300)
        s = np.where(some, (counted * v).sum(-1, keepdims=True) / total, s)
    return _Fit(np.broadcast_to(s, v.shape), np.broadcast_to(total, v.shape), chance)


def _differ(variances: list[np.ndarray], freedoms: list[np.ndarray]) -> np.ndarray:
    """Whether the variances of several groups differ (Bartlett, 1937), (...,) bool."""
    if len(variances) == 1:
        return np.zeros(variances[0].shape, dtype=bool)
    return bartlett(np.stack(variances, -1), np.stack(freedoms, -1)) < LENGTHS_DIFFER


def bartlett(variances: np.ndarray, freedoms: np.ndarray) -> np.ndarray:
    """p that independent variances of normal figures, (..., groups), are the same in truth (Bartlett, 1937)."""
    freedoms = np.maximum(np.broadcast_to(freedoms, variances.shape), 1e-3)
    total, groups = freedoms.sum(-1), variances.shape[-1]
    mean = (freedoms * variances).sum(-1) / total
    apart = total * np.log(mean) - (freedoms * np.log(np.maximum(variances, 1e-300))).sum(-1)
    correction = 1 + ((1 / freedoms).sum(-1) - 1 / total) / (3 * (groups - 1))
    return special.chdtrc(groups - 1, apart / correction)


def _log_chi2(ratio: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Log density of the logarithm of a χ²(f)/f."""
    half = freedom / 2
    return half * np.log(half * ratio) - half * ratio - special.gammaln(half)


def _log_f(ratio: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Log density of the logarithm of an F(f, OWN_FREEDOM)."""
    half, odds = freedom / 2, freedom * ratio / OWN_FREEDOM
    return half * np.log(odds) - (OWN_FREEDOM + freedom) / 2 * np.log1p(odds) - special.betaln(half, OWN_FREEDOM / 2)


def error(pooled: CommonAndOwn, rows: np.ndarray, overs: np.ndarray, n: np.ndarray) -> Error:
    """What the error of each difference may be: each of the two rungs has the common spread, or its own.

    The degrees of freedom of a sum of two variances are Satterthwaite's (1946).

    Args:
        rows, overs: (differences,): the rungs that are compared, as numbers.
        n: (differences,): seeds that both have.
    """
    one = pooled.estimate[..., rows] == pooled.estimate[..., overs]
    kinds = ((pooled.common, pooled.common_freedom, 1 - pooled.chance), (pooled.own, pooled.own_freedom, pooled.chance))
    found = []
    for kind, (va, fa, ca) in enumerate(kinds):
        for other, (vb, fb, cb) in enumerate(kinds):
            a, b = va[..., rows], vb[..., overs]
            free = (a + b) ** 2 / (a**2 / fa[..., rows] + b**2 / fb[..., overs])
            if kind == other == 0:
                free = np.where(one, fa[..., rows], free)
            found.append(((a + b) / n, free, ca[..., rows] * cb[..., overs]))
    return Error(*(np.stack(each) for each in zip(*found, strict=True)))


def p_values(means: np.ndarray, errors: Error) -> np.ndarray:
    """Two-sided p that a difference is 0: of each possibility the t-test, averaged by their chances."""
    t = -np.abs(means) / np.sqrt(errors.variance)
    return (errors.chance * 2 * special.stdtr(errors.freedom, t)).sum(0)


def p_beyond(means: np.ndarray, errors: Error, smallest: float) -> np.ndarray:
    """One-sided p that a difference is `smallest` or more, up or down: the larger of two tests (Schuirmann, 1987)."""
    short = smallest - np.abs(means)
    tail = p_values(short, errors) / 2
    return np.where(short > 0, tail, 1 - tail)


def half_widths(errors: Error, level: float | np.ndarray) -> np.ndarray:
    """The difference whose p is `level`: half an interval of 1 - level. By bisection."""
    edge = np.sqrt(errors.variance) * -special.stdtrit(errors.freedom, np.asarray(level) / 2)
    low, high = edge.min(0), edge.max(0)
    for _ in range(50):
        middle = (low + high) / 2
        above = p_values(middle, errors) > level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2
