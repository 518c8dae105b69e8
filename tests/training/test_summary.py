# SPDX-License-Identifier: Apache-2.0
"""`eulernet summary`: consistent numbers, and the error without PyTorch."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from eulernet.network import NetworkConfig, create
from eulernet.summary import measure, summary


def test_parts_add_up_to_the_total() -> None:
    *parts, total = measure(create())
    assert sum(part.giga_macs for part in parts) == pytest.approx(total.giga_macs)
    assert sum(part.parameters for part in parts) == total.parameters
    assert total.parameters == sum(p.numel() for p in create().parameters())


def test_the_stem_is_counted_by_hand() -> None:
    stem = measure(create(config=NetworkConfig(image_size=64)))[0]
    assert stem.giga_macs == pytest.approx(3 * 3 * 4 * 8 * 32 * 32 / 1e9)
    assert stem.parameters == 3 * 3 * 4 * 8 + 2 * 8


def test_prints_the_network_and_its_peers() -> None:
    result = CliRunner().invoke(summary)
    assert result.exit_code == 0
    total = measure(create())[-1]
    lines = {line.split("  ")[0]: line for line in result.output.splitlines()}
    assert f"{total.giga_macs:.4f}" in lines["EulerNet, 256x256"]
    assert f"{total.parameters:,}" in lines["EulerNet, 256x256"]
    assert "52.6000" in lines["CDCN, 256x256"]
    assert "4.5900" in lines["DeepPixBiS, 224x224"]
    assert {"stem", "stages.0", "fcams.2", "neck", "head"} <= lines.keys()


def test_without_pytorch_the_command_names_the_extra() -> None:
    program = "import sys; sys.modules['torch'] = None; from eulernet_core.command_root import main; main(['summary'])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "torch" in result.stderr
    assert "eulernet[train]" in result.stderr
