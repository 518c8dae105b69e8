# SPDX-License-Identifier: Apache-2.0
"""The report of `eulernet precision` as text and as JSON."""

import json
from dataclasses import asdict, dataclass

from eulernet.evaluation.report_tables import marked
from eulernet_build.precision.cost import Cost
from eulernet_build.precision.runtime_speed import Speed
from eulernet_build.precision.variants import FOR_CPU
from eulernet_serving.cpu_precision import MOST_ACER_LOSS


@dataclass(frozen=True)
class Report:
    """The measurements of one network's variants on one data set.

    Attributes:
        weights, parameters_sha256: of the network.
        data, simulated, protocol, fold: the data set of the test clips; protocol is None for a manifest.
        clips_a_video: test clips per video.
        calibration_clips: number of training clips that determine int8's ranges.
        threshold: from fp32's development scores, for all variants.
        costs: errors of each variant, fp32 first.
        processor: of the measured speeds.
        speeds: by batch, the served graph first; empty if not measured.
    """

    weights: str
    parameters_sha256: str
    data: str
    simulated: bool
    protocol: int | None
    fold: int | None
    clips_a_video: int
    calibration_clips: int
    threshold: float
    costs: tuple[Cost, ...]
    processor: str
    speeds: tuple[Speed, ...]

    @property
    def int8_pays(self) -> bool | None:
        """Whether int8.cpu may replace fp32 on this processor; None if not measured."""
        ratios = [each.ratio for each in self.speeds if each.name == FOR_CPU]
        losses = [each.acer_change for each in self.costs if each.precision == FOR_CPU]
        return min(ratios) > 1.0 and max(losses) <= MOST_ACER_LOSS if ratios and losses else None

    def to_json(self) -> str:
        """The report as JSON, with `int8_pays`."""
        return json.dumps({**asdict(self), "int8_pays": self.int8_pays}, indent=2, ensure_ascii=False) + "\n"

    def text(self) -> str:
        """The report as tables for a terminal."""
        part = "" if self.protocol is None else f", protocol {self.protocol}"
        part += "" if self.fold is None else f" fold {self.fold}"
        verdict = {True: "may replace fp32", False: "should not replace fp32"}
        rule = f"faster than the served fp32 graph, ACER at most {100 * MOST_ACER_LOSS:g} % higher"
        pays = self.int8_pays
        return "\n".join(
            [
                f"weights: {self.weights}",
                marked(f"test clips of {self.data}{part}", self.simulated),
                *self._costs(),
                *self._speeds(),
                *([] if pays is None else [f"{FOR_CPU} {verdict[pays]} on this processor (rule: {rule})"]),
            ]
        )

    def _costs(self) -> list[str]:
        header = f"  {'':<18}{'liveness error':>20}{'largest':>10}{'APCER':>10}{'BPCER':>10}{'ACER':>10}{'change':>10}"
        rows = [
            f"  {each.precision:<18}{each.mean:>20.5f}{each.largest:>10.4f}"
            + "".join(f"{100 * rate:>8.2f} %" for rate in (each.apcer, each.bpcer, each.acer))
            + f"{100 * each.acer_change:>+8.2f} %"
            for each in self.costs
        ]
        first = self.costs[0]
        threshold = f"threshold {self.threshold:.4f} from fp32's development scores"
        note = f"  {first.videos} videos, {first.clips} clips, {threshold}"
        return [header, *rows, f"{note}; int8 calibrated on {self.calibration_clips} training clips"]

    def _speeds(self) -> list[str]:
        if not self.speeds:
            return []
        rows = [f"  {each.name:<18}batch {each.batch}{each.fps:>13.1f}{each.ratio:>10.2f}" for each in self.speeds]
        return [f"one thread of {self.processor}", f"  {'':<25}{'frames/s':>13}{'times':>10}", *rows]
