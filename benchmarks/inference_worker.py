"""This program is one side of a comparison of inference: a process that runs models in one runtime
(see serve.py).

    python -m benchmarks.inference_worker SIDE THREADS

Each side has a function that takes a `Work` and returns what to time: a call that ends with the
logits as a NumPy array. Each runtime gets what suits it: images in its own layout, weights folded
and packed as it likes, fixed shapes, and inputs and outputs that are bound once where it can do
that. A side imports only its own runtime, so that the threads of the others are not in its process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .serve import serve

Run = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Work:
    """A model of the benchmarks, whose files are in a folder (see inference.write), and a batch
    size.
    """

    folder: Path
    name: str
    batch: int
    threads: int

    def images(self, layout: str) -> np.ndarray:
        x = np.load(self.folder / f"{self.name}-images.npy")[: self.batch]
        return x if layout == "NHWC" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights by minidl's names, in its layouts."""
        with np.load(self.folder / f"{self.name}.npz") as file:
            return {name: file[name] for name in file.files}

    def onnx(self) -> str:
        """Return the path of the ONNX file of the model that takes (N, C, H, W)."""
        return str(self.folder / f"{self.name}.onnx")


def minidl_model(work: Work) -> Any:
    import minidl as md

    from .workloads import WORKLOADS

    md.set_num_threads(work.threads)
    model = WORKLOADS[work.name][0]()
    model.load_state_dict(work.weights())
    return model.eval()


def minidl(work: Work) -> Run:
    from minidl.compiled import compile

    x = work.images("NHWC")
    compiled = compile(minidl_model(work), x)
    return lambda: compiled(x)


def evaluation_mode(work: Work) -> Run:
    import minidl as md

    x, model = work.images("NHWC"), minidl_model(work)

    def run() -> np.ndarray:
        with md.no_grad():
            return model(x).data

    return run


def onnxruntime(work: Work) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = work.threads, 1
    options.add_free_dimension_override_by_name("N", work.batch)
    session = ort.InferenceSession(work.onnx(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input(
        session.get_inputs()[0].name, ort.OrtValue.ortvalue_from_numpy(work.images("NCHW"))
    )
    binding.bind_output(session.get_outputs()[0].name)

    def run() -> np.ndarray:
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()

    return run


def openvino(work: Work, precision: str = "f32") -> Run:
    import openvino as ov

    x, core = work.images("NCHW"), ov.Core()
    model = core.read_model(work.onnx())
    model.reshape(list(x.shape))
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": work.threads,
            "INFERENCE_PRECISION_HINT": precision,
        },
    )
    request, tensor = compiled.create_infer_request(), ov.Tensor(x, shared_memory=True)

    def run() -> np.ndarray:
        request.set_input_tensor(tensor)
        request.infer()
        return request.get_output_tensor().data

    return run


def torch_run(work: Work, prepared: Callable[[Any, Any], Any]) -> Run:
    """Return a call of PyTorch's channels-last model as `prepared(module, images)` makes it."""
    import torch

    from . import torch_models

    torch.set_num_threads(work.threads)
    module = torch_models.MODELS[work.name]()
    torch_models.load(module, work.weights())
    module = module.eval().to(memory_format=torch.channels_last)
    x = torch.from_numpy(work.images("NCHW")).to(memory_format=torch.channels_last)
    with torch.no_grad():
        f = prepared(module, x)

    def run() -> np.ndarray:
        with torch.no_grad():
            return f(x).numpy()

    return run


def torch_frozen(work: Work) -> Run:
    import torch

    return torch_run(
        work,
        lambda module, x: torch.jit.optimize_for_inference(
            torch.jit.freeze(torch.jit.trace(module, x))
        ),
    )


def torch_compiled(work: Work) -> Run:
    import torch
    from torch._inductor import config

    config.freezing = True  # weights are constants, which are folded and packed
    torch._dynamo.reset()  # without this, it compiles one program for batches of any size
    return torch_run(work, lambda module, x: torch.compile(module))


# Each side's name has its function, and the package that it runs.
SIDES: dict[str, tuple[Callable[[Work], Run], str]] = {
    "minidl": (minidl, "minidl"),
    "evaluation mode": (evaluation_mode, "minidl"),
    "ONNX Runtime": (onnxruntime, "onnxruntime"),
    "OpenVINO": (openvino, "openvino"),
    "OpenVINO bfloat16": (lambda work: openvino(work, "bf16"), "openvino"),
    "PyTorch frozen": (torch_frozen, "torch"),
    "PyTorch compiled": (torch_compiled, "torch"),
}


def outputs(folder: Path, name: str, batch: int, side: str) -> Path:
    """Return the path where a side leaves its logits."""
    return folder / f"{name}-{batch}-{side}.npy"


def main(side: str, threads: int) -> None:
    make_run, package = SIDES[side]

    def make(kind: str, arguments: list[Any]) -> Run:
        folder, name, batch = arguments
        run = make_run(Work(Path(folder), name, batch, threads))
        np.save(outputs(Path(folder), name, batch, side), run())
        return run

    version = __import__(package).__version__
    count_threads = None
    if package == "minidl":  # its threads give way to other processes
        from minidl_ext.runtime.threads import thread_count as count_threads
    serve(make, {package: version, "threads": threads}, count_threads)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
