"""`eulernet gpu-check` as far as it can be checked on a CPU: the reference, the rules, the report, the C interface.

In the kernels' place stands the plain torch version, which must pass, and the same with faults, which must each fail.
"""

import ctypes
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from eulernet.fcam import FCAM
from eulernet.network import RELOCATED, UNUSABLE, NetworkConfig
from eulernet_build.gpu import NoGpuError, find_gpu
from eulernet_build.gpu_check import cases, correctness, judge, kernels, plain, reference, report, sanitizer, speed
from eulernet_build.gpu_check.cases import Case
from eulernet_build.gpu_check.command import gpu_check
from eulernet_build.gpu_check.judge import FAIL, PASS, SKIPPED, Row, Timing
from rich.console import Console
from scipy.signal import lfilter

ROOT = Path(__file__).parents[2]
HEADER = ROOT / "plugins" / "diirf" / "kernels_c.h"
LIBRARY = ROOT / kernels.LIBRARY
GATE = Case("DIIRFGate", 2, 3, 12, 4, 5, 7)
FILTER = Case("DIIRF", 2, 5, 0, 3, 3, 5)
DTYPES = ("fp32", "fp16", "bf16")


def gpu_here() -> bool:
    try:
        find_gpu()
    except NoGpuError:
        return False
    return True


needs_no_gpu = pytest.mark.skipif(gpu_here(), reason="this machine has a GPU")


def test_the_reference_filter_is_scipy_s():
    given = cases.inputs(FILTER)
    zero = np.zeros_like(given["h1"])
    y, h1, h2 = reference.diirf(given["x"], zero, zero, given["coefficients"])
    for k, (b0, b1, b2, a1, a2) in enumerate(given["coefficients"]):
        start = np.zeros((2, 2, 3, 5))  # sequences, then the two states in time's place
        expected, state = lfilter([b0, b1, b2], [1, a1, a2], given["x"][:, :, k], axis=1, zi=start)
        np.testing.assert_allclose(y[:, :, k], expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(np.stack([h1[:, k], h2[:, k]], axis=1), state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("status", [True, False])
def test_the_reference_gate_is_the_network_s_fcam(status):
    case = replace(GATE, status=status)
    given = cases.inputs(case)
    module = FCAM(case.c, case.k).double()
    with torch.no_grad():
        module.compress.weight.copy_(torch.from_numpy(given["weight"])[:, :, None, None])
    fixed = torch.from_numpy(given["coefficients"])
    module.filter.coefficients = lambda: fixed
    flags = torch.from_numpy(given["status"]) if status else None
    usable = None if flags is None else flags < UNUSABLE
    restart = None if flags is None else usable & (flags >= RELOCATED)
    x, h1, h2 = (torch.from_numpy(given[name]) for name in ("x", "h1", "h2"))
    with torch.no_grad():
        expected = module(x, h1, h2, usable, restart)
    got = correctness.expected(case, given)
    for name, want in zip(got, expected, strict=True):
        np.testing.assert_allclose(got[name], want.numpy(), rtol=1e-12, atol=1e-12, err_msg=name)


def test_status_means_what_the_network_says():
    assert (reference.RELOCATED, reference.UNUSABLE) == (plain.RELOCATED, plain.UNUSABLE) == (RELOCATED, UNUSABLE)


def test_the_timed_shapes_are_the_network_s():
    config = NetworkConfig()
    assert tuple(zip(config.widths[1:], config.level_sizes, strict=True)) == cases.LEVELS
    assert config.compressed_channels == cases.MAPS
    assert {case.n * case.t for case in cases.timed_cases()} == {1, cases.FULL_BATCH}


def test_checked_shapes_have_what_kernels_trip_over():
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


def test_inputs_are_what_the_type_holds_and_the_filters_are_stable():
    for dtype in DTYPES:
        given = cases.inputs(replace(GATE, dtype=dtype))
        held = torch.from_numpy(given["x"]).to(plain.DTYPES[dtype]).double().numpy()
        np.testing.assert_array_equal(held, given["x"])
        a1, a2 = given["coefficients"][:, 3:].T
        assert (np.abs(a2) < 1).all()
        assert (np.abs(a1) < 1 + a2).all()
        flags = set(given["status"].ravel().tolist())
        assert flags & {0, 1}
        assert flags & set(range(UNUSABLE, 18))


def test_every_status_occurs():
    given = cases.inputs(replace(GATE, n=18, t=1))
    assert set(given["status"].ravel().tolist()) == set(range(18))


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
def test_a_right_implementation_passes(case, dtype):
    (row,) = rows(right, replace(case, dtype=dtype))
    assert row.outcome == PASS, row
    assert set(row.values) == {"y", "h1_out", "h2_out"}


def test_an_exact_implementation_passes():
    def exact(case, given, outputs):
        made = cases.inputs(case)
        for name, value in correctness.expected(case, made).items():
            outputs[name].copy_(torch.from_numpy(value))

    assert all(row.outcome == PASS for row in rows(exact, *(replace(GATE, dtype=dtype) for dtype in DTYPES)))


def spoilt(change):
    def implementation(case, given, outputs):
        right(case, given, outputs)
        change(case, given, outputs)

    return implementation


def ignore_status(case, given, outputs):
    right(case, {name: value for name, value in given.items() if name != "status"}, outputs)


def swap_maps(case, given, outputs):
    right(case, {**given, "weight": given["weight"].flip(0)}, outputs)


def forget_restart(case, given, outputs):
    right(case, {**given, "status": torch.where(given["status"] < 4, 0, given["status"])}, outputs)


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
        (lambda case, given, outputs: None, "y: 840 of 840 values are NaN or infinite"),
        (unwritten_last, "y: 360 of 2520|y: 120 of 840 values are NaN"),
        (
            spoilt(lambda c, g, o: o["h2_out"].__setitem__((0, 0, 0, 0), math.inf)),
            "h2_out: 1 of 280 values are NaN or inf",
        ),
        (spoilt(lambda c, g, o: o["y"].__setitem__((0, 0, 0, 0), 0.0)), "y: error"),
        (spoilt(lambda c, g, o: o["h1_out"].copy_(g["h1"])), "h1_out: error"),
        (spoilt(lambda c, g, o: o["y"].mul_(1 + 1e-5)), "y: error"),
        (ignore_status, "error"),
        (forget_restart, "error"),
        (swap_maps, "error"),
        (half_state, "h1_out: error"),
        (spoilt(lambda c, g, o: o.pop("h1_out")), "h1_out: missing"),
        (spoilt(lambda c, g, o: o.update(y=o["y"][:1])), r"y: shape \(1, 12, 5, 7\), expected \(6, 12, 5, 7\)"),
    ],
)
def test_a_fault_is_seen(implementation, reason):
    case = replace(GATE, n=2, t=1) if "840" in reason else GATE
    (row,) = rows(implementation, case)
    assert row.outcome == FAIL
    assert re.search(reason, row.figure), row.figure


def test_a_refused_call_is_a_failed_row_and_the_others_go_on():
    def refuse(case, given, outputs):
        if case.op == "DIIRF":
            raise kernels.KernelError("eulernet_diirf: cudaErrorInvalidValue")
        right(case, given, outputs)

    assert [row.outcome for row in rows(refuse, FILTER, GATE)] == [FAIL, PASS]


def test_a_plain_version_that_is_no_number_lets_nothing_pass():
    ones = {"y": np.ones(3)}
    row = judge.judge_case("a", ones, {"y": np.array([1, math.nan, 1])}, ones, "fp32")
    assert (row.outcome, row.figure) == (FAIL, "y: the plain version's 1 of 3 values are NaN or infinite")


def test_twice_the_plain_error_is_the_limit():
    want, plain_error = np.ones(4), 1e-3
    limit = 2 * plain_error + 2.0**-24
    for error, outcome in ((limit * 0.999, PASS), (limit * 1.001, FAIL)):
        row = judge.judge_case("a", {"y": want + error}, {"y": want + plain_error}, {"y": want}, "fp32")
        assert row.outcome == outcome


@pytest.mark.parametrize(
    ("changes", "full", "outcome", "missed"),
    [
        ({}, True, PASS, ""),
        ({"copy_bytes_per_s": 1.2e12}, True, FAIL, "share of copy 0.83 < 0.85"),
        ({"eager_s": 2.9e-3}, True, FAIL, "times eager 2.90 < 3"),
        ({"compiled_s": 1.4e-3}, True, FAIL, "times compiled 1.40 < 1.5"),
        ({"compiled_s": 1.0e-3, "eager_s": 1e-3}, False, PASS, ""),
        ({"eager_s": math.nan}, True, FAIL, "times eager nan"),
    ],
)
def test_speed_is_held_against_the_targets_at_full_batches(changes, full, outcome, missed):
    timing = replace(Timing(1e-3, 3.5e-3, 1.6e-3, 10**9, 1.1e12), **changes)
    row = judge.judge_timing("a", timing, full)
    assert row.outcome == outcome
    assert missed in row.figure
    assert "1000.0 us, 1000 GB/s" in row.figure


@pytest.mark.parametrize(
    ("traffic", "l2", "sets"), [(1 << 30, 50 << 20, 2), (10 << 20, 50 << 20, 20), (1000, 50 << 20, 64)]
)
def test_buffers_are_four_times_the_cache(traffic, l2, sets):
    assert speed.buffer_sets(traffic, l2) == sets


def test_the_baseline_compiles_as_one_graph():
    """Without a break and without dynamic shapes, or the timing would flatter the kernel."""
    given = plain.tensors(GATE, cases.inputs(GATE), "cpu")
    arguments = [given[name] for name in ("x", "weight", "h1", "h2", "coefficients", "status")]
    compiled = torch.compile(plain.diirf_gate, dynamic=False, fullgraph=True, backend="eager")
    for got, want in zip(compiled(*arguments), plain.diirf_gate(*arguments), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("status", "output", "outcome"),
    [
        (0, "========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n", PASS),
        (77, "========= Invalid __global__ write of size 4\n========= ERROR SUMMARY: 3 errors\n", FAIL),
        (1, "Traceback\nImportError: no torch\n", FAIL),
        (0, "", FAIL),
    ],
)
def test_the_sanitizer_s_word_is_taken_only_if_it_gave_one(status, output, outcome):
    row = sanitizer.judge("memcheck", status, output)
    assert row.outcome == outcome


def test_without_a_sanitizer_its_part_is_skipped_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(sanitizer, "PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    (row,) = sanitizer.check(LIBRARY)
    assert row.outcome == SKIPPED
    assert "cuda-sanitizer" in row.figure


ROWS = [
    Row("kernels", "DIIRF n1", PASS, "y: error 1e-7", {"y": {"error": 1e-7}}),
    Row("kernels", "DIIRF n2", PASS, "y: error 1e-7", {}),
    Row("kernels", "DIIRFGate n1 [odd]", FAIL, "y: 3 of 4 values are NaN or infinite", {}),
    Row("engines", "eulernet", SKIPPED, "tensorrt is not installed", {}),
]


def test_the_table_shows_what_failed_and_counts_what_passed():
    console = Console(width=140, file=io.StringIO())
    console.print(report.table(ROWS))
    text = console.file.getvalue().replace("│", " ")
    assert re.search(r"kernels +2 shapes and types +pass", text)
    assert re.search(r"kernels +DIIRFGate n1 \[odd\] +fail +y: 3 of 4", text)
    assert re.search(r"engines +eulernet +skipped +tensorrt is not installed", text)
    assert report.summary(ROWS) == "2 passed, 1 failed, 1 skipped"


@pytest.mark.parametrize(
    ("some", "failed"), [(ROWS, True), (ROWS[:2], False), ([*ROWS[:2], ROWS[3]], False), (ROWS[3:], True), ([], True)]
)
def test_nothing_checked_is_no_success(some, failed):
    assert report.failed(some) == failed


def test_the_report_as_json(tmp_path):
    path = tmp_path / "a" / "gpu_check.json"
    report.write_json(path, {"name": "a GPU"}, ROWS)
    content = json.loads(path.read_text())
    assert content["machine"] == {"name": "a GPU"}
    assert content["failed"] is True
    assert [row["outcome"] for row in content["rows"]] == [PASS, PASS, FAIL, SKIPPED]
    assert content["rows"][0]["values"] == {"y": {"error": 1e-7}}


def test_ctypes_takes_the_header_s_arguments():
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    declared = dict(re.findall(r"int (eulernet_\w+)\(([^)]*)\)", text))
    assert set(declared) == set(kernels.SIGNATURES)
    for name, arguments in declared.items():
        kinds = [ctypes.c_void_p if "*" in argument else ctypes.c_int for argument in arguments.split(",")]
        assert kinds == kernels.SIGNATURES[name], name
    codes = dict(re.findall(r"#define EULERNET_(\w+) (\d)", text))
    assert {name.lower(): int(code) for name, code in codes.items()} == kernels.DTYPE_CODES


def test_arguments_are_in_the_header_s_order():
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    for case in (GATE, replace(GATE, channels_last=True, dtype="bf16"), replace(GATE, status=False), FILTER):
        given = plain.tensors(case, cases.inputs(case), "cpu")
        outputs = correctness.blank_outputs(given)
        name, arguments = kernels.arguments(case, given, outputs, stream=7)
        (parameters,) = re.findall(rf"int {name}\(([^)]*)\)", text)
        names = [parameter.split()[-1].lstrip("*") for parameter in parameters.split(",")]
        called = dict(zip(names, arguments, strict=True))
        pointers = {key: value.data_ptr() for key, value in {**given, **outputs}.items()}
        sizes = {key: getattr(case, key) for key in "ntckhw" if key in called}
        expected = {**pointers, **sizes, "dtype": kernels.DTYPE_CODES[case.dtype], "stream": 7}
        if case.op == "DIIRFGate":
            expected |= {"channels_last": int(case.channels_last), "status": pointers.get("status")}
        assert called == expected


def test_a_library_that_is_not_there_is_named():
    with pytest.raises(kernels.KernelError, match=r"/nowhere/lib\.so can't be loaded .*make plugin"):
        kernels.Kernels(Path("/nowhere/lib.so"))


@pytest.mark.skipif(not LIBRARY.is_file(), reason=f"{LIBRARY} is not built (make plugin)")
@needs_no_gpu
def test_the_built_library_says_that_there_is_no_gpu():
    """In a process of its own, for CUDA keeps what it found out."""
    script = (
        "from eulernet_build.gpu_check import cases, correctness, kernels, plain\n"
        f"library = kernels.Kernels(kernels.Path({str(LIBRARY)!r}))\n"
        "assert library.error_string(1).startswith('cudaErrorInvalidValue'), library.error_string(1)\n"
        "case = cases.Case('DIIRFGate', 1, 1, 8, 4, 5, 7)\n"
        "given = plain.tensors(case, cases.inputs(case), 'cpu')\n"
        "for wanted in (case, kernels.Case('DIIRFGate', 1, 1, 7, 4, 5, 7)):\n"
        "    try:\n"
        "        library.run(wanted, given, correctness.blank_outputs(given))\n"
        "    except kernels.KernelError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    no_gpu, bad_shape = done.stdout.splitlines()
    assert re.match(r"eulernet_diirf_gate: cudaError(NoDevice|InsufficientDriver)", no_gpu)
    assert bad_shape.startswith("eulernet_diirf_gate: cudaErrorInvalidValue")


def test_polygraphy_compares_two_runners():
    """The same graph twice in ONNX Runtime, then one with another bias: the calls are those that compare TensorRT."""
    from eulernet_build.gpu_check import engines
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx

    def runner(bias, name):
        x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 2]) for n in "xy")
        constant = onnx.helper.make_tensor("b", onnx.TensorProto.FLOAT, [2], [bias, 0.0])
        node = onnx.helper.make_node("Add", ["x", "b"], ["y"])
        graph = onnx.helper.make_graph([node], "g", [x], [y], [constant])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        return OnnxrtRunner(SessionFromOnnx(model.SerializeToString(), providers=["cpu"]), name=name)

    given = {"x": np.ones((3, 2), np.float32)}
    same = engines.compare("small", [runner(1.0, "A"), runner(1.0, "B")], given, "fp32")
    assert (same.outcome, same.figure) == (PASS, "A and B agree within 0.0001")
    other = engines.compare("small", [runner(1.0, "A"), runner(1.01, "B")], given, "fp32")
    assert (other.outcome, other.figure) == (FAIL, "A and B differ by more than 0.0001, see the log")
    assert engines.compare("small", [runner(1.0, "A"), runner(1.001, "B")], given, "fp16").outcome == PASS
    nan = engines.compare("small", [runner(1.0, "A"), runner(math.nan, "B")], given, "fp32")
    assert nan.outcome == FAIL


@needs_no_gpu
def test_without_a_gpu_the_command_says_so_and_ends_with_1(tmp_path):
    result = CliRunner().invoke(gpu_check, ["--json", str(tmp_path / "gpu.json")])
    assert result.exit_code == 1
    assert "NVIDIA GPU" in result.output
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_here(), reason="no NVIDIA GPU")
@pytest.mark.skipif(not LIBRARY.is_file(), reason=f"{LIBRARY} is not built (make plugin)")
def test_on_a_gpu_the_kernels_pass(tmp_path):
    path = tmp_path / "gpu.json"
    result = CliRunner().invoke(gpu_check, ["--json", str(path), "--skip", "speed", "--skip", "engines"])
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text())["failed"] is False
