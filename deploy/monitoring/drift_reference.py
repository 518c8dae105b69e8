# SPDX-License-Identifier: Apache-2.0
"""The reference that drift is measured against: the scores and STATUS of a server that has seen a known data set.

It is read from the metrics pages of that server, so that it holds exactly the figures that the rules compare later.

    python -m deploy.monitoring.drift_reference --metrics localhost:8002 --metrics localhost:8003 \\
        --origin "simulated: …" --out training/weights/drift_reference.json
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from prometheus_client.parser import text_string_to_metric_families

from eulernet_core.shipped import weights as shipped_weights
from eulernet_core.whole_files import write_whole_text
from eulernet_serving.metric_catalog import FRAMES, LIVENESS, LIVENESS_BUCKETS, MODEL_INFO

FEWEST_SCORES = 100  # of a model; fewer make the reference itself noise
NAME = "drift_reference.json"
TIMEOUT_S = 10.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DriftReferenceError(ValueError):
    """A reference can't be made or read; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class DriftReference:
    """What was seen.

    Attributes:
        origin: the data set; "simulated" is part of it for simulated data.
        weights, sha256, precision: of the server, as its metric `eulernet_model_info` names them.
        liveness: by model, the number of scores up to each of LIVENESS_BUCKETS and above the one before.
        status: by model, the number of frames of each STATUS.
    """

    origin: str
    weights: str
    sha256: str
    precision: str
    liveness: Mapping[str, Sequence[int]]
    status: Mapping[str, Mapping[str, int]]

    def write(self, path: Path) -> None:
        """Writes the file whole. Raises: OSError."""
        write_whole_text(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> DriftReference:
        """Raises: DriftReferenceError."""
        try:
            found = cls(**json.loads(path.read_text()))
            counts = [
                *(list(each) for each in found.liveness.values()),
                *(each.values() for each in found.status.values()),
            ]
            valid = all(isinstance(count, int) and count >= 0 for each in counts for count in each)
            valid &= all(len(each) == len(LIVENESS_BUCKETS) for each in found.liveness.values())
        except (OSError, TypeError, ValueError, AttributeError) as error:
            raise DriftReferenceError(f"{path}: is no reference ({error}); make it again") from error
        if not valid:
            raise DriftReferenceError(f"{path}: its counts don't match the buckets of {LIVENESS.name}; make it again")
        return found


def make_reference(pages: Sequence[str], origin: str) -> DriftReference:
    """The reference from metrics pages in Prometheus' text format, Triton's and the supervisor's of each server.

    Raises:
        DriftReferenceError: the pages are not of one model, or hold too few scores.
    """
    models: set[tuple[str, ...]] = set()
    liveness: dict[str, Counter[float]] = defaultdict(Counter)
    status: dict[str, Counter[str]] = defaultdict(Counter)
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                labels = sample.labels
                if sample.name == MODEL_INFO.name:
                    models.add(tuple(labels[each] for each in MODEL_INFO.labels))
                elif sample.name == f"{LIVENESS.name}_bucket":
                    liveness[labels["model"]][float(labels["le"])] += int(sample.value)
                elif sample.name == FRAMES.name:
                    status[labels["model"]][labels["status"]] += int(sample.value)
    if len(models) != 1:
        found = ", ".join(" ".join(each) for each in sorted(models)) or "none"
        raise DriftReferenceError(f"{MODEL_INFO.name}: {found}; give the pages of both ports of servers of one model")
    seen = {model: _per_bucket(model, cumulative) for model, cumulative in sorted(liveness.items())}
    seen = {model: counts for model, counts in seen.items() if sum(counts)}
    for model, counts in seen.items() or {"no model": []}.items():
        if sum(counts) < FEWEST_SCORES:
            raise DriftReferenceError(f"{model}: {sum(counts)} scores; a reference needs at least {FEWEST_SCORES}")
    frames = {model: dict(sorted(status[model].items())) for model in seen}
    weights, sha256, precision = models.pop()
    return DriftReference(origin, weights, sha256, precision, seen, frames)


def _per_bucket(model: str, cumulative: Mapping[float, int]) -> list[int]:
    """Scores in each bucket, from the counts of all scores up to its bound."""
    bounds = sorted(cumulative)[:-1]
    if tuple(round(each, 6) for each in bounds) != LIVENESS_BUCKETS:
        raise DriftReferenceError(f"{model}: other buckets than {LIVENESS.name} has here; use servers of this version")
    totals = [cumulative[each] for each in bounds]
    return [after - before for before, after in zip([0, *totals], totals, strict=False)]


def read_page(address: str) -> str:
    """The metrics page of a port. Raises: DriftReferenceError."""
    try:
        with _OPENER.open(f"http://{address}/metrics", timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode()
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise DriftReferenceError(f"{address}: no metrics page ({error}); give HOST:PORT") from error
    return text


@click.command()
@click.option("--metrics", multiple=True, required=True, metavar="HOST:PORT", help="A port of a server with metrics.")
@click.option("--origin", required=True, help="The data that the server has scored since its start.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file. [default: beside the weights]")
def main(metrics: Sequence[str], origin: str, out: Path | None) -> None:
    """Write the reference of the scores that servers have given since their start."""
    out = out or shipped_weights().with_name(NAME)
    try:
        reference = make_reference([read_page(address) for address in metrics], origin)
        reference.write(out)
    except (DriftReferenceError, OSError) as error:
        raise click.ClickException(str(error)) from error
    counts = ", ".join(f"{sum(counts):,} scores of {model}" for model, counts in reference.liveness.items())
    click.echo(f"{out}: {counts}; {reference.weights} ({reference.sha256})")


if __name__ == "__main__":
    main()
