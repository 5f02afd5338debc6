"""These tests check the block of a profile: the memory that is held in it, how it ends, threads,
and blocks inside each other.
"""

import gc
import json
import threading
import weakref

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.profiler.recorder import SMALL
from minidl.tracers import profilers
from tests.support.profiles import images, rows

pytestmark = pytest.mark.usefixtures("nothing_is_left_on")


def small_net():
    return nn.Sequential(
        nn.Conv(8, 8, 3, padding=1, bias=False),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Conv(8, 8, 3),
        nn.Flatten(),
        nn.Dense(128, 3),
    )


# -------------------------------------------------------------------------------------- memory


def test_memory_held_at_the_peak():
    x = md.ones((512, 512))  # older than the block, so its 1 MiB is not counted
    dense = nn.Dense(512, 256, bias=False)
    with md.profile() as p, md.no_grad():
        y = md.exp(x)  # 1 MiB
        z = md.exp(y)  # 2 MiB
        del y
        w = dense(z)  # 1.5 MiB
        del z, w
    assert p.summary.held == 2 * 2**20
    assert rows(p)["Exp", "forward"].held == 2 * 2**20
    assert rows(p, "layers")["Dense", "forward"].held == 0


def test_memory_of_gradients_and_of_what_numpy_makes():
    x = md.tensor(np.ones((512, 512), np.float32), requires_grad=True)
    with md.profile() as p:
        y = md.transpose(x)
        (y * 3.0).sum().backward()
    found = rows(p)
    assert found["Transpose", "forward"].held == 2**20
    assert p.summary.held >= 2 * 2**20
    assert sum(row.held for row in found.values()) == p.summary.held


def test_memory_that_is_used_again():
    """A later array may use the memory of an earlier one, and have its id."""
    x = md.ones((64, 64))
    with md.profile() as p, md.no_grad():
        for _ in range(5):
            y = md.exp(x)
            y.data.sum()
            del y
    assert p.summary.held == x.data.nbytes


def test_arrays_that_live_on_hold_no_recorder_and_no_model(tmp_path):
    net = small_net()
    with md.profile() as p, md.no_grad():
        array = md.exp(net(images(400))).data
        recorder, model = weakref.ref(profilers[threading.get_ident()]), weakref.ref(net)
    assert p.summary.held >= array.nbytes >= SMALL
    del net
    gc.collect()
    assert recorder() is None and model() is None
    p.trace(tmp_path / "trace.json")
    before = (tmp_path / "trace.json").read_bytes()
    del array
    p.trace(tmp_path / "trace.json")
    assert (tmp_path / "trace.json").read_bytes() == before


# ------------------------------------------------------------------------------------- the block


def test_an_exception_in_the_block():
    with pytest.raises(ValueError, match="matmul"), md.profile() as p:
        md.exp(images())
        nn.Dense(8, 3)(md.randn(2, 8))
        md.ones((2, 3)) @ md.ones((2, 3))
    assert rows(p)["Exp", "forward"].calls == 1
    assert rows(p, "layers")["Dense", "forward"].calls == 1


def test_a_layer_that_fails():
    def failing(x):
        md.exp(x)
        raise KeyError("x")

    net = nn.Sequential(nn.Dense(8, 8), nn.Lambda(failing))
    with md.profile() as p:
        with pytest.raises(KeyError):
            net(md.randn(2, 8))
        md.log(md.ones(3))
    found = rows(p, "layers")
    assert found["1", "forward"].calls == 1
    assert found["outside of layers", "forward"].calls == 1  # md.log


def test_profiles_inside_each_other():
    net, x = small_net(), images()
    with md.profile() as outer:
        net(x)
        with md.profile() as inner:
            loss = net(x).sum()
        loss.backward()
    assert rows(inner)["Conv", "forward"].calls == 2
    assert not any(phase == "backward" for _, phase in rows(inner))
    assert rows(outer)["Conv", "forward"].calls == 4
    assert rows(outer)["Conv", "backward"].calls == 2
    assert inner.summary.seconds < outer.summary.seconds
    for p in (inner, outer):
        assert sum(row.seconds for row in p.summary.operations) == pytest.approx(p.summary.seconds)


def test_a_profile_within_a_layer():
    inside = []

    def measured(x):
        with md.profile() as p:
            y = md.exp(x)
        inside.append(p)
        return y

    with md.profile() as p:
        nn.Sequential(nn.Lambda(measured))(images())
    assert rows(inside[0])["Exp", "forward"].calls == 1
    assert rows(p, "layers")["0", "forward"].calls == 1


def test_each_thread_has_its_own():
    barrier = threading.Barrier(3)
    found = {}

    def work(name, function):
        x = images()
        barrier.wait()
        if function is None:
            for _ in range(20):
                md.tanh(x)
        else:
            with md.profile() as p:
                for _ in range(20):
                    function(x)
            found[name] = p
        barrier.wait()

    threads = [
        threading.Thread(target=work, args=pair)
        for pair in (("exp", md.exp), ("sigmoid", md.sigmoid), ("none", None))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, operation in (("exp", "Exp"), ("sigmoid", "Sigmoid")):
        assert set(rows(found[name])) == {(operation, "forward"), ("Python and other", "")}
        assert rows(found[name])[operation, "forward"].calls == 20


def test_a_running_profile_has_no_rows():
    p = md.profile()
    for ask in (lambda: p.summary, p.table, lambda: p.trace("trace.json")):
        with pytest.raises(RuntimeError, match="only after the end of the block"):
            ask()
    with p:
        assert repr(p) == "Profile(in its block)"
        with pytest.raises(RuntimeError, match="one block only"):
            p.__enter__()
    assert "rows" in repr(p)
    with pytest.raises(RuntimeError, match="one block only"), p:
        pass


def test_an_empty_block():
    with md.profile() as p:
        pass
    assert [row.name for row in p.summary.operations] == ["Python and other"]
    assert "100.0%" in p.table()


def test_the_summary_is_plain_data():
    net = small_net()
    with md.profile() as p:
        net(images()).sum().backward()
    found = json.loads(json.dumps(p.summary.as_dict()))
    assert found["steps"] == 0 and found["seconds"] == p.summary.seconds
    assert len(found["layers"]) == len(p.summary.layers)
    conv = next(row for row in found["operations"] if row["name"] == "Conv")
    assert conv["calls"] == 2 and conv["flops"] > 0
    row = rows(p)["Conv", "forward"]
    assert row.gflops == pytest.approx(row.flops / row.seconds / 1e9)
    assert row.gbytes == pytest.approx(row.bytes / row.seconds / 1e9)
