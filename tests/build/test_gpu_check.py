# SPDX-License-Identifier: Apache-2.0
"""The checks of `eulernet gpu-check` on a CPU: reference, cases, criteria.

Plain torch replaces the kernels and must pass; variants of it with faults must each fail.
"""

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from eulernet.fcam import FCAM
from eulernet.network import NetworkConfig
from eulernet_build.gpu_check import cases, correctness, judge, kernels, plain, reference
from eulernet_build.gpu_check.cases import Case
from eulernet_build.gpu_check.judge import FAIL, PASS
from eulernet_core.status import NOT_SCORED, Status

GATE = Case("DIIRFGate", 2, 3, 12, 4, 5, 7)
FILTER = Case("DIIRF", 2, 5, 0, 3, 3, 5)
DTYPES = ("fp32", "fp16", "bf16")


def test_the_reference_filter_agrees_with_scipy():
    given = cases.inputs(FILTER)
    zero = np.zeros_like(given["h1"])
    y, h1, h2 = reference.diirf(given["x"], zero, zero, given["coefficients"])
    for k, (b0, b1, b2, a1, a2) in enumerate(given["coefficients"]):
        start = np.zeros((2, 2, 3, 5))  # sequences, states, height, width
        expected, state = lfilter([b0, b1, b2], [1, a1, a2], given["x"][:, :, k], axis=1, zi=start)
        np.testing.assert_allclose(y[:, :, k], expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(np.stack([h1[:, k], h2[:, k]], axis=1), state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("status", [True, False])
def test_the_reference_gate_agrees_with_fcam(status):
    case = replace(GATE, status=status)
    given = cases.inputs(case)
    module = FCAM(case.c, case.k).double()
    with torch.no_grad():
        module.compress.weight.copy_(torch.from_numpy(given["weight"])[:, :, None, None])
    filters, starts = torch.from_numpy(given["coefficients"]).split([5, 2], dim=1)
    module.filter.coefficients, module.filter.start = lambda: filters, lambda: starts
    flags = torch.from_numpy(given["status"]) if status else torch.zeros(case.n, case.t, dtype=torch.int32)
    usable, start = (flags & NOT_SCORED) == 0, (flags & Status.RELOCATED) != 0
    x, h1, h2 = (torch.from_numpy(given[name]) for name in ("x", "h1", "h2"))
    with torch.no_grad():
        gated, _, *states = module(x, h1, h2, usable, start)
    got = correctness.expected(case, given)
    for name, want in zip(got, (gated, *states), strict=True):
        np.testing.assert_allclose(got[name], want.numpy(), rtol=1e-12, atol=1e-12, err_msg=name)


def test_timed_shapes_are_the_networks_levels():
    config = NetworkConfig()
    assert tuple(zip(config.widths[1:], config.level_sizes, strict=True)) == cases.LEVELS
    assert config.compressed_channels == cases.MAPS
    assert {case.n * case.t for case in cases.timed_cases()} == {1, cases.FULL_BATCH}


def test_checked_shapes_include_the_difficult_ones():
    made = cases.checked_cases()
    assert len(set(made)) == len(made)
    assert {case.dtype for case in made} == set(DTYPES)
    for wanted in (
        lambda c: c.n == 1,
        lambda c: c.h * c.w == 1,
        lambda c: c.h * c.w % 32 and c.h * c.w > 256,
        lambda c: c.k == c.c,
        lambda c: c.k == 1 and c.op == "DIIRFGate",
        lambda c: c.channels_last,
        lambda c: not c.status,
        lambda c: c.t > 4,
    ):
        assert any(wanted(case) for case in made)


def test_inputs_are_exact_in_their_type_and_filters_are_stable():
    for dtype in DTYPES:
        given = cases.inputs(replace(GATE, dtype=dtype))
        held = torch.from_numpy(given["x"]).to(plain.DTYPES[dtype]).double().numpy()
        np.testing.assert_array_equal(held, given["x"])
        a1, a2 = given["coefficients"][:, 3:5].T
        assert (np.abs(a2) < 1).all()
        assert (np.abs(a1) < 1 + a2).all()
        assert kinds(given["status"]) == set(itertools.product((False, True), repeat=2))


def kinds(status):
    """Whether a frame is scored, and whether it is a start."""
    return {(not each & NOT_SCORED, bool(each & Status.RELOCATED)) for each in status.ravel().tolist()}


def test_every_flag_occurs():
    given = cases.inputs(replace(GATE, n=18, t=1))
    assert kinds(given["status"]) == set(itertools.product((False, True), repeat=2))
    flags = [flag for flag in Status if flag and (given["status"] & flag).any()]
    assert {Status.SEVERAL_FACES, Status.RELOCATED, Status.NO_FACE, Status.UNDECODABLE, Status.TOO_LARGE} <= set(flags)
    assert max(flags) > Status.SMALL_FACE


def test_traffic_counts_each_tensor_once():
    case = Case("DIIRFGate", 2, 3, 8, 4, 5, 7, "fp16")
    assert case.traffic_bytes == 2 * (6 * 8 * 35) * 2 + 4 * (2 * 4 * 35) * 4


def right(case, given, outputs):
    for name, value in plain.run_plain(case, given).items():
        outputs[name].copy_(value)


def rows(implementation, *some):
    return list(correctness.check_cases(implementation, some, "cpu"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [GATE, replace(GATE, channels_last=True), replace(GATE, status=False), FILTER])
def test_a_correct_implementation_passes(case, dtype):
    (row,) = rows(right, replace(case, dtype=dtype))
    assert row.outcome == PASS, row
    assert set(row.values) == {"y", "h1_out", "h2_out"}


def test_an_exact_implementation_passes():
    def exact(case, given, outputs):
        made = cases.inputs(case)
        for name, value in correctness.expected(case, made).items():
            outputs[name].copy_(torch.from_numpy(value))

    assert all(row.outcome == PASS for row in rows(exact, *(replace(GATE, dtype=dtype) for dtype in DTYPES)))


def with_fault(change):
    def implementation(case, given, outputs):
        right(case, given, outputs)
        change(case, given, outputs)

    return implementation


def ignore_status(case, given, outputs):
    right(case, {name: value for name, value in given.items() if name != "status"}, outputs)


def swap_maps(case, given, outputs):
    right(case, {**given, "weight": given["weight"].flip(0)}, outputs)


def forget_start(case, given, outputs):
    right(case, {**given, "status": given["status"] & ~Status.RELOCATED}, outputs)


def start_from_zero(case, given, outputs):
    coefficients = given["coefficients"].clone()
    coefficients[:, 5:] = 0.0
    right(case, {**given, "coefficients": coefficients}, outputs)


def half_state(case, given, outputs):
    right(case, given, outputs)
    outputs["h1_out"].copy_(outputs["h1_out"].half())


def unwritten_last(case, given, outputs):
    blank = outputs["y"].clone()
    right(case, given, outputs)
    outputs["y"][..., -1] = blank[..., -1]


@pytest.mark.parametrize(
    ("implementation", "reason"),
    [
        (lambda case, given, outputs: None, "y: 840 of 840 .*NaN"),
        (unwritten_last, "y: 360 of 2520 .*NaN|y: 120 of 840 .*NaN"),
        (
            with_fault(lambda c, g, o: o["h2_out"].__setitem__((0, 0, 0, 0), math.inf)),
            "h2_out: 1 of 280 .*inf",
        ),
        (with_fault(lambda c, g, o: o["y"].__setitem__((0, 0, 0, 0), 0.0)), "y: error"),
        (with_fault(lambda c, g, o: o["h1_out"].copy_(g["h1"])), "h1_out: error"),
        (with_fault(lambda c, g, o: o["y"].mul_(1 + 1e-5)), "y: error"),
        (ignore_status, "error"),
        (forget_start, "error"),
        (start_from_zero, "error"),
        (swap_maps, "error"),
        (half_state, "h1_out: error"),
        (with_fault(lambda c, g, o: o.pop("h1_out")), "h1_out: missing"),
        (with_fault(lambda c, g, o: o.update(y=o["y"][:1])), r"y: shape \(1, 12, 5, 7\), expected \(6, 12, 5, 7\)"),
    ],
)
def test_a_fault_is_seen(implementation, reason):
    case = replace(GATE, n=2, t=1) if "840" in reason else GATE
    (row,) = rows(implementation, case)
    assert row.outcome == FAIL
    assert re.search(reason, row.figure), row.figure


def test_a_refused_call_fails_its_row_only():
    def refuse(case, given, outputs):
        if case.op == "DIIRF":
            raise kernels.KernelError("eulernet_diirf: cudaErrorInvalidValue")
        right(case, given, outputs)

    assert [row.outcome for row in rows(refuse, FILTER, GATE)] == [FAIL, PASS]


def test_a_nan_in_the_baseline_fails_the_case():
    ones = {"y": np.ones(3)}
    row = judge.judge_case("a", ones, {"y": np.array([1, math.nan, 1])}, ones, "fp32")
    assert row.outcome == FAIL
    assert re.match("y: plain torch.* 1 of 3 ", row.figure)


def test_twice_the_plain_error_is_the_limit():
    want, plain_error = np.ones(4), 1e-3
    limit = 2 * plain_error + 2.0**-24
    for error, outcome in ((limit * 0.999, PASS), (limit * 1.001, FAIL)):
        row = judge.judge_case("a", {"y": want + error}, {"y": want + plain_error}, {"y": want}, "fp32")
        assert row.outcome == outcome
