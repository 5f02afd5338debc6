"""These tests use absurd sizes: every kernel refuses what does not fit into memory, and ends at
once where there is nothing to do. They run in processes of their own, see tests.support.isolated.
"""

import pytest

from minidl.kernels import FAMILIES
from tests.support.curves import options_of
from tests.support.isolated import table

MEMORY, VALUE, EITHER = "MemoryError", "ValueError", "Errors"
EMPTY = "(1152921504606846976, 0)"  # the shape of an array (2**60, 0)
CASES = {}
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power")


def case(kernel, arguments, expected):
    CASES[f"{kernel}({arguments})"] = (f"K.{kernel}({arguments})", expected)


# Elementwise: as many values as an array can have, and no more.
for name in FAMILIES["elementwise.arithmetic"] + FAMILIES["elementwise.activation"]:
    more = "".join(f", {value}" for value in options_of(name)[0].values())
    two = name.endswith("_backward") or name in BINARY
    case(name, ("z(2**60, 0), " if two else "") + "z(2**60, 0)" + more, EMPTY)
for name in BINARY:
    case(name, "z(2**22, 1), z(1, 2**22)", MEMORY)
case("dropout", "z(2**60, 0), 0.5, 1", EMPTY)
case("to_float", "np.zeros((2**60, 0), np.uint8)", EMPTY)

# Pictures.
for size, expected in (
    ("(2**30, 2**30)", MEMORY),
    ("(2**62, 2**62)", MEMORY),
    ("(2**70, 1)", MEMORY),
    ("(-1, 1)", VALUE),
    ("(0, 2**60)", "(1, 0, 1152921504606846976, 1)"),
):
    case(
        "crop",
        f"z(1, 1, 1, 1), {size}, np.zeros(1, int), np.zeros(1, int), np.zeros(1, np.uint8)",
        expected,
    )
    case("warp", f"z(1, 1, 1, 1), {size}, np.zeros((1, 6))", expected)
case("blend", "z(1, 2**16, 1, 8), np.zeros((1, 2**20), int), z(1, 2**20, 1)", MEMORY)
case(
    "blend", "z(2**56, 0, 1, 1), np.zeros((1, 2), int), z(1, 2, 1)", "(72057594037927936, 0, 2, 1)"
)

# Reductions.
for name in FAMILIES["reduce.reduce"]:
    if name != "deviations":
        results = 2 if name == "moments" else 1
        case(name, "z(2**30, 2**30, 0)", ", ".join(["(1073741824, 0)"] * results))
        case(name, "z(1, 2**60, 0)", ", ".join(["(1, 0)"] * results))
case(
    "deviations",
    "z(2**30, 2**30, 0), np.zeros((2**30, 0)), np.zeros((2**30, 0))",
    "(1073741824, 1073741824, 0)",
)
case("sum", "z(2**46, 0, 1)", MEMORY)
case("sum", "z(2, 0, 1)", "(2, 1)")
case("max", "z(2**46, 0, 1)", VALUE)
case("min", "z(2**46, 0, 1)", VALUE)

# Products.
case("matmul", "z(2**23, 0), z(0, 2**23)", MEMORY)
case("matmul", "z(2**31, 0), z(0, 2**30)", MEMORY)
case("matmul", "z(2**30, 1, 0), z(2**30, 0, 2**29)", MEMORY)
case("matmul", "z(2**22, 1), z(1, 2**22)", MEMORY)
case("matmul", "z(0, 2**59), z(2**59, 0)", "(0, 0)")
case("matmul", "z(2**59, 0), z(0, 0)", "(576460752303423488, 0)")
case("matmul", "z(70, 0), z(0, 50)", "(70, 50)")
case("matmul_panels", "z(0, 2**60)", "(0,)")
case("matmul_panels", "z(0, 2**60), True", "(0,)")

# Convolutions: output, padded images, kernels, phases.
P0 = "((0, 0), (0, 0))"
PBIG = "((BIG, BIG), (BIG, BIG))"
for name, x, w in (
    ("conv", "z(1, 1, 1, 1)", "z(3, 3, 1, 1)"),
    ("depthwise_conv", "z(1, 1, 1, 16)", "z(3, 3, 1, 16)"),
):
    bias = ", None" if name == "conv" else ""
    case(name, f"{x}, {w}{bias}, (1, 1), {PBIG}", MEMORY)
    case(name, f"{x}, {w}{bias}, (HUGE, 1), {PBIG}", VALUE)
    case(name, f"{x}, {w}{bias}, (1, 1), {PBIG}, (2**31, 1)", VALUE)
    case(name, f"{x}, {w}{bias}, (1, 1), ((2**62, 2**62), (1, 1))", VALUE)
    case(name, f"{x}, {w}{bias}, (-1, 1), {PBIG}", VALUE)
case("conv", f"z(1, 1, 1, 1), z(3, 3, 1, 1), None, (1, 1), {PBIG}, (BIG, BIG)", "(1, 1, 1, 1)")
# The taps are apart, and all of them are used.
FAR = "(2**30, 2**30), ((2**30, 2**30), (2**30, 2**30)), (2**30, 2**30)"
case("conv", f"z(1, 1, 1, 1), z(2, 2, 1, 1), None, {FAR}", MEMORY)
case("conv_weight_grad", f"z(1, 1, 1, 1), z(1, 2, 2, 1), (2, 2), {FAR}", MEMORY)
case("conv", "z(1, 1, 1, 1), z(3, 3, 1, 1), None, (BIG, BIG), ((1, 1), (1, 1))", "(1, 1, 1, 1)")
case("conv", "z(1, 1, 1, 1), z(1, 1, 1, 1), None, (1, 1), ((0, 0), (0, 0)), (1, 1), HUGE", VALUE)
case("conv", "z(0, BIG, 2**29, 1), z(1, 1, 1, 1)", f"(0, {2**31 - 1}, {2**29}, 1)")
case("conv", "z(2**59, 0, 0, 1), z(1, 1, 1, 1), None, (1, 1), ((1, 1), (1, 1))", MEMORY)
case(
    "depthwise_conv", f"z(1, 1, 1, 16), z(3, 3, 1, 16), (1, 1), {PBIG}, (BIG, BIG)", "(1, 1, 1, 16)"
)
case("conv_input_grad", "z(1, 1, 1, 1), z(3, 3, 1, 1), (1, 8, 8, 1), (BIG, BIG)", "(1, 8, 8, 1)")
case(
    "conv_input_grad",
    "z(1, 1, 1, 1), z(3, 3, 1, 1), (1, 8, 8, 1), (4096, 4096), ((1, 1), (1, 1))",
    "(1, 8, 8, 1)",
)
case("conv_input_grad", "z(1, 1, 1, 1), z(1, 1, 1, 1), (1, BIG, BIG, 1), (BIG, BIG)", MEMORY)
case("conv_input_grad", "z(1, 1, 1, 1), z(1, 1, 1, 1), (1, HUGE, 1, 1), (BIG, BIG)", VALUE)
case(
    "conv_input_grad",
    f"z(1, 1, 1, 1), z(3, 3, 1, 1), (1, 1, 1, 1), (1, 1), {PBIG}, (BIG, BIG)",
    "(1, 1, 1, 1)",
)
case("conv_weight_grad", "z(1, 1, 1, 1), z(1, 1, 1, 1), (BIG, BIG)", VALUE)
case("conv_weight_grad", "z(1, 1, 1, 1), z(1, 1, 1, 1), (HUGE, 1)", VALUE)
case(
    "conv_weight_grad",
    f"z(1, 1, 1, 1), z(1, 1, 1, 1), (3, 3), (1, 1), {PBIG}, (BIG, BIG)",
    "(3, 3, 1, 1)",
)
case(
    "depthwise_input_grad",
    "z(1, 1, 1, 16), z(3, 3, 1, 16), (1, 8, 8, 16), (BIG, BIG)",
    "(1, 8, 8, 16)",
)
case(
    "depthwise_input_grad",
    "z(1, 1, 1, 16), z(1, 1, 1, 16), (1, BIG, 0, 16), (BIG, BIG), ((0, 0), (0, 1))",
    f"(1, {2**31 - 1}, 0, 16)",
)
case(
    "depthwise_input_grad", "z(1, 1, 1, 16), z(1, 1, 1, 16), (1, BIG, BIG, 16), (BIG, BIG)", MEMORY
)
case("depthwise_weight_grad", "z(1, 1, 1, 16), z(1, 1, 1, 16), (HUGE, 1)", VALUE)
case("depthwise_weight_grad", "z(1, 1, 1, 16), z(1, 1, 1, 16), (9, 9)", VALUE)
case(
    "depthwise_backward",
    f"z(1, 1, 1, 16), z(1, 1, 1, 16), z(3, 3, 1, 16), (1, 1), {PBIG}, (BIG, BIG)",
    "(1, 1, 1, 16), (3, 3, 1, 16), (2, 16)",
)
case("depthwise_backward", "z(1, 1, 1, 16), z(1, 1, 1, 16), z(3, 3, 1, 16), (1, HUGE)", VALUE)
case("pointwise_conv", "z(2**50, 0, 1, 16), z(1, 1, 16, 16)", f"({2**50}, 0, 1, 16)")
case(
    "pointwise_backward",
    "z(2**50, 0, 1, 16), z(2**50, 0, 1, 16), z(1, 1, 16, 16)",
    f"({2**50}, 0, 1, 16), (1, 1, 16, 16), (2, 16)",
)
case("winograd_weights", "z(3, 3, 0, 16)", VALUE)
case("winograd_weights", "z(3, 3, 16, 0)", VALUE)
case("winograd_conv", f"z(1, 1, 1, 16), z(3, 3, 16, 16), {PBIG}", MEMORY)
case("winograd_conv", "z(1, 1, 1, 16), z(3, 3, 16, 16), ((HUGE, 1), (1, 1))", VALUE)
case("winograd_conv_pool", f"z(1, 1, 1, 16), z(3, 3, 16, 16), {PBIG}", MEMORY)
case("winograd_conv_pool", "z(1, 1, 1, 16), z(3, 3, 16, 16), ((HUGE, 1), (1, 1))", VALUE)
case("winograd_input_grad", f"z(1, 1, 1, 16), z(3, 3, 16, 16), (1, BIG, BIG, 16), {P0}", VALUE)
case("winograd_input_grad", "z(1, 1, 1, 16), z(3, 3, 16, 16), (1, HUGE, 3, 16)", VALUE)
case("winograd_weight_grad", f"z(1, 1, 1, 16), z(1, 1, 1, 16), {PBIG}", VALUE)

# Pools: windows, paddings, no channels.
NONE = "z(1024, 2**20, 2**20, 0)"
for name in ("max_pool", "avg_pool"):
    two = 2 if name == "max_pool" else 1
    shape = ", ".join([f"(1024, {2**20}, {2**20}, 0)"] * two)
    case(name, f"{NONE}, (1, 1), (1, 1)", shape)
    case(name, "z(1, 4, 4, 1), (2**62, 2**62), (1, 1), ((2**62, 2**62), (2**62, 2**62))", VALUE)
    case(name, "z(1, 4, 4, 1), (2, 2), (HUGE, 1)", VALUE)
    case(name, "z(1, 4, 4, 1), (2, 2), (BIG, BIG)", ", ".join(["(1, 1, 1, 1)"] * two))
    case(
        name,
        "z(1, 4, 4, 1), (BIG, BIG), (1, 1), ((2**30 - 1,) * 2, (2**30 - 1,) * 2)",
        VALUE if name == "max_pool" else "(1, 4, 4, 1)",
    )
    case(name, f"z(1, 1, 1, 1), (2, 2), (1, 1), {PBIG}, (BIG, BIG)", VALUE)
    case(
        name,
        f"z(1, 1, 1, 1), (3, 3), (1, 1), {PBIG}, (BIG, BIG)",
        ", ".join(["(1, 1, 1, 1)"] * two),
    )
    case(
        name,
        "z(1, 1, 1, 1), (2, 1), (2, 1), ((BIG, 0), (0, 0)), (BIG, 1)",
        ", ".join(["(1, 1, 1, 1)"] * two),
    )
    argmax = "np.zeros((1024, 2**20, 2**20, 0), np.uint8), " if name == "max_pool" else ""
    case(
        f"{name}_backward",
        f"{NONE}, {argmax}(1024, 2**20, 2**20, 0), (1, 1), (1, 1)",
        f"(1024, {2**20}, {2**20}, 0)",
    )
    argmax = "np.zeros((1, 1, 1, 1), np.uint8), " if name == "max_pool" else ""
    case(f"{name}_backward", f"z(1, 1, 1, 1), {argmax}(1, BIG, BIG, 1), (1, 1), (BIG, BIG)", MEMORY)
    case(f"{name}_backward", f"z(1, 1, 1, 1), {argmax}(1, HUGE, 1, 1), (1, 1), (BIG, BIG)", VALUE)
case("global_avg_pool", "z(2**60, 1, 0)", EMPTY)
case("global_avg_pool", "z(2**30, 0, 2**30)", MEMORY)
case("global_avg_pool_backward", "z(2, 3), (2, 2**40, 2**40, 3)", MEMORY)
case("global_avg_pool_backward", "z(2, 3), (2, HUGE, 3)", MEMORY)
case("global_avg_pool_backward", "z(2**60, 0), (2**60, 1, 0)", "(1152921504606846976, 1, 0)")

# Normalizations: no channels, no rows.
D = "np.zeros(0), np.zeros(0)"
case("batch_stats", "z(2**60, 0)", VALUE)
case("batch_stats", "z(0, 2**60)", VALUE)
case("batch_norm_factors", f"{D}, None, None, 0.1, np.float32", "(5, 0)")
case("batch_norm_apply", "z(2**60, 0), z(5, 0)", EMPTY)
case("batch_norm_backward", "z(2**60, 0), z(2**60, 0), z(5, 0)", f"{EMPTY}, (0,), (0,), None")
case("batch_norm_sums", "z(2**60, 0), z(2**60, 0), z(5, 0)", "(2, 0), None")
case(
    "running_update", "np.zeros(0), np.zeros(0), None, np.zeros(0), np.zeros(0), 0.5, 1e300", "None"
)
case("batch_norm_finish", "np.zeros((2, 0)), z(5, 0), 1e30", "(0,), (0,), (2, 0)")
case("batch_norm_input_grad", "z(2**60, 0), z(2**60, 0), z(5, 0)", EMPTY)
case("masked_stats", "z(2**60, 0), np.zeros(0, bool)", "(0,), (0,), 0")
case("masked_stats", "z(0, 2**60), np.zeros(0, bool)", MEMORY)
case("masked_norm_apply", "z(2**60, 0), np.zeros(0, bool), z(5, 0)", EMPTY)
case(
    "masked_norm_backward",
    "z(2**60, 0), z(2**60, 0), np.zeros(0, bool), z(5, 0)",
    f"{EMPTY}, (0,), (0,), None",
)
case("batch_norm_activation", "z(2**60, 0), z(5, 0), ('gelu', False)", EMPTY)
case(
    "batch_norm_activation_backward",
    "z(2**60, 0), z(2**60, 0), z(5, 0), ('gelu', False)",
    f"{EMPTY}, (0,), (0,)",
)
case("batch_norm_pool", f"z(0, {2**29}, 2**20, 16), z(5, 16)", f"(0, {2**28}, {2**19}, 16)")
case(
    "batch_norm_pool_backward",
    f"z(0, {2**28}, {2**19}, 16), z(0, {2**29}, 2**20, 16), z(5, 16)",
    f"(0, {2**29}, {2**20}, 16), (16,), (16,)",
)
case("layer_norm", "z(2**60, 0), None, None, 0.1", VALUE)
case("layer_norm", "z(0, 2**60), None, None, 0.1", f"(0, {2**60}), (0,), (0,)")
case("layer_norm_backward", f"z(0, 2**60), z(0, 2**60), None, {D}", MEMORY)
case("group_norm", "z(2**58, 0, 4), None, None, 2, 0.1", VALUE)
case("group_norm", "z(0, 1, 2**58), None, None, 2**58, 0.1", EITHER)
case("group_norm_backward", "z(0, 1, 2**58), z(0, 1, 2**58), None, z(0, 5, 2**56), 1", EITHER)

# Recurrent cells, tables, losses, parameters.
case("lstm_cell", "z(2**60, 0), z(2**60, 0), z(2**60, 0)", ", ".join([EMPTY] * 3))
case("lstm_cell_backward", ", ".join(["z(2**60, 0)"] * 5), ", ".join([EMPTY] * 2))
case("gru_cell", "z(2**60, 0), z(2**60, 0), z(0), z(2**60, 0)", ", ".join([EMPTY] * 2))
case(
    "gru_cell_backward",
    "z(2**60, 0), z(2**60, 0), z(2**60, 0), z(0), z(2**60, 0)",
    f"{EMPTY}, {EMPTY}, (0,), {EMPTY}",
)
IDS = "np.zeros({}, np.int64)"
case("embedding", f"z(0, 2**60), {IDS.format(0)}", f"(0, {2**60})")
case("embedding", f"z(1, 2**20), {IDS.format(2**24)}", MEMORY)
case("embedding_backward", f"z(0, 2**60), {IDS.format(0)}, 0", f"(0, {2**60})")
case("embedding_backward", f"z(0, 2**30), {IDS.format(0)}, 2**40", MEMORY)
case("embedding_backward", f"z(0, 2), {IDS.format(0)}, HUGE", MEMORY)
case("embedding_backward", f"z(3, 0), {IDS.format(3)}, 2**60", EMPTY)
for name in FAMILIES["reduce.loss"][:4]:
    case(name, "z(2**60, 0)" + (", z(2**60, 0)" if "backward" in name else ""), EMPTY)
case("cross_entropy", f"z(0, 2**60), {IDS.format(0)}", f"(0,), (0, {2**60})")
case("cross_entropy_backward", f"z(0), z(0, 2**60), {IDS.format(0)}", f"(0, {2**60})")
ABSURD = "[z(2**60, 0)]"
case("sgd_update", f"{ABSURD}, {ABSURD}, None, 0.1", "None")
case(
    "adam_update",
    f"{ABSURD}, {ABSURD}, {ABSURD}, {ABSURD}, 0.1, 0.9, 0.9, 1e-8, 0.0, True, 1",
    "None",
)
case("rmsprop_update", f"{ABSURD}, {ABSURD}, {ABSURD}, None, None, 0.1, 0.9, 1e-8", "None")
case("adagrad_update", f"{ABSURD}, {ABSURD}, {ABSURD}, 0.1, 1e-8", "None")
case("lars_update", f"{ABSURD}, {ABSURD}, None, 0.1, 0.9, 0.1, 1e-8", "None")
case("square_sum", ABSURD, "0.0")

# The pool itself.
case("empty", "(2**60, 0)", EMPTY)
case("empty", "(HUGE, 0)", MEMORY)
case("empty", "(2**32, 2**32)", MEMORY)
case("empty", "2**45", MEMORY)
case("empty", "(2**63 - 1,), np.uint8", MEMORY)
case("check_shape", "'f', (2**32, 2**32)", MEMORY)
case("check_shape", "'f', (-1, 3)", VALUE)
case("check_shape", "'f', (2**60, 0)", "None")

check = table(CASES)


@pytest.mark.parametrize("name", CASES, ids=str)
def test_kernels(name):
    check(name)


def test_no_kernel_is_left_out():
    assert {name for names in FAMILIES.values() for name in names} <= {
        name.partition("(")[0] for name in CASES
    }
