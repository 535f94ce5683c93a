"""``docs/observability.md`` names what the code counts, and nothing else."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from starlette.types import Receive, Scope, Send

from app import metrics
from app.api.metrics import MeasureRequests

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "observability.md").read_text()
ROW = re.compile(r"^\| `(vecloom_[a-z_]+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
BASE_UNITS = ("_seconds", "_bytes", "_ratio")


def _describe(metric: MetricWrapperBase) -> tuple[str, str, tuple[str, ...]]:
    """Name as it is scraped, type, labels."""
    [family] = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return name, family.type, metric._labelnames  # noqa: SLF001 — nothing public tells the labels of an empty metric


def counted() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Every metric of the code: type and labels by name."""

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None: ...

    middleware = MeasureRequests(nothing, registry=CollectorRegistry(), prefix="")
    owners = (vars(metrics), vars(middleware))
    found = [_describe(value) for owner in owners for value in owner.values() if isinstance(value, MetricWrapperBase)]
    return {name: (kind, labels) for name, kind, labels in found}


def test_every_metric_is_documented_as_it_is() -> None:
    """The table has exactly the metrics there are, with their types and labels."""
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(DOCUMENT)}

    assert documented == counted()


def test_metrics_carry_our_prefix_and_base_units() -> None:
    """Times are seconds, and no name says another unit."""
    names = counted().keys()

    assert all(name.startswith("vecloom_") for name in names)
    assert not [name for name in names if re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent)(_|$)", name)]
    assert {kind for name, (kind, _) in counted().items() if name.endswith(BASE_UNITS)} <= {"histogram", "gauge"}
