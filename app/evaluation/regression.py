"""Whether searches have become worse, or only seem so by chance."""

from dataclasses import dataclass
from math import exp, lgamma

from app.domain.searches import SearchCounts

NEGLIGIBLE = 1e-16


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionRule:
    """What it takes to call searches worse.

    Attributes:
        fewest: searches that each side must have.
        rise: by how much a rate must be higher, as a share of the searches.
        chance: how probable such a rise may be at most if nothing has changed. The same switch is looked at again and
            again, for two reasons, so it is far below what one look would need.
    """

    fewest: int = 50
    rise: float = 0.05
    chance: float = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """What a comparison of searches came to.

    Attributes:
        is_worse: whether searches have become worse.
        is_known: whether there were enough of them to tell.
        words: the numbers, for a person.
    """

    is_worse: bool
    is_known: bool
    words: str


DEFAULT_RULE = RegressionRule()


def judge_searches(before: SearchCounts, after: SearchCounts, rule: RegressionRule = DEFAULT_RULE) -> Regression:
    """Whether a larger share of searches fails, or finds nothing, than before.

    Failures are a share of all searches, empty answers one of the answers. Where more searches find something than
    before, nothing is worse.
    """
    if min(before.searches, after.searches) < rule.fewest:
        words = f"too few searches to tell: {before.searches} before, {after.searches} since, of {rule.fewest} each"
        return Regression(is_worse=False, is_known=False, words=words)
    rates = (
        _Rates(name="failures", old=(before.failed, before.searches), new=(after.failed, after.searches)),
        _Rates(name="empty answers", old=(before.empty, before.answered), new=(after.empty, after.answered)),
    )
    finds_more = after.with_hits * before.searches >= before.with_hits * after.searches
    worse = [] if finds_more else [rate.words for rate in rates if rate.is_worse(rule)]
    words = "; ".join(worse or [rate.words for rate in rates])
    return Regression(is_worse=bool(worse), is_known=True, words=words)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    """How many of how many there were before, and are now."""

    name: str
    old: tuple[int, int]
    new: tuple[int, int]

    def is_worse(self, rule: RegressionRule) -> bool:
        """Whether the rate rose by more than chance and by more than is small."""
        if min(self.old[1], self.new[1]) < rule.fewest:
            return False
        rose = self.new[0] / self.new[1] - self.old[0] / self.old[1]
        return rose >= rule.rise and chance_of_rise(self.old, self.new) <= rule.chance

    @property
    def words(self) -> str:
        """The numbers, for a person."""
        return f"{self.name}: {_percent(self.old)} before, {_percent(self.new)} since"


def _percent(part: tuple[int, int]) -> str:
    share = part[0] / part[1] if part[1] else 0.0
    return f"{share:.1%} ({part[0]} of {part[1]})"


def chance_of_rise(old: tuple[int, int], new: tuple[int, int]) -> float:
    """How probable it is that chance gives the new side as many or more; one-sided, Fisher's exact test.

    Args:
        old: how many of how many.
        new: the same, of the new side.
    """
    (old_hits, old_all), (new_hits, new_all) = old, new
    hits, total = old_hits + new_hits, old_all + new_all
    if new_hits * total <= hits * new_all:
        # not above what is expected: nothing to be explained, and the terms below would not fall
        return 1.0
    term = exp(_log_choose(new_all, new_hits) + _log_choose(old_all, old_hits) - _log_choose(total, hits))
    chance = 0.0
    for more in range(new_hits, min(hits, new_all) + 1):
        chance += term
        # the next one is a fixed multiple of this one, and above the expected number each is smaller than the last
        term *= (new_all - more) * (hits - more) / ((more + 1) * (old_all - hits + more + 1))
        if term <= chance * NEGLIGIBLE:
            break
    return min(1.0, chance)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
