"""Inlines the functions of a file: a node that calls a function becomes the function's nodes.

A damaged file may hold functions that call themselves, or one another so often that no memory
holds what they stand for. Both are found out here, node by node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx

MOST_NODES, MOST_DEPTH = 50_000, 50
Key = tuple[str, str, str]


def inlined(model: Any) -> Any:
    """The model without functions. ValueError for functions that do not end, or whose inputs and
    outputs a call does not fit; NotImplementedError for one of another opset than the file."""
    inliner = _Inliner(model)
    nodes = [inner for node in model.graph.node for inner in inliner.expanded(node, ())]
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.ClearField("functions")
    made.graph.ClearField("node")
    made.graph.node.extend(nodes)
    return made


class _Inliner:
    """The functions of a model, and the names that its values have."""

    def __init__(self, model: Any) -> None:
        self.functions = {_key(f, f.name): f for f in model.functions}
        graph = model.graph
        self.names = {value.name for value in (*graph.input, *graph.initializer)}
        self.names.update(name for node in graph.node for name in (*node.input, *node.output))
        self.count = 0
        self.taken: Counter[str] = Counter()  # how often each name has got a new number
        own = _versions(model)
        for f in model.functions:
            for domain, version in _versions(f).items():
                if domain == "" and own.get(domain, version) != version:
                    raise NotImplementedError(
                        f"md.onnx.load: the function {f.name} is of opset {version}, the file of "
                        f"opset {own[domain]}, which is not supported"
                    )

    def expanded(self, node: Any, calls: tuple[Key, ...]) -> Iterator[Any]:
        """The nodes that a node stands for; `calls` are the functions around it."""
        key = _key(node, node.op_type)
        function = self.functions.get(key)
        if function is None:
            self.count += 1
            if self.count > MOST_NODES:
                raise ValueError(f"its functions stand for more than {MOST_NODES:,} nodes")
            yield node
            return
        if key in calls or len(calls) >= MOST_DEPTH:
            raise ValueError(
                f"the function {function.name} "
                f"{'calls itself' if key in calls else 'is called too deep'}"
            )
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            raise ValueError(
                f"the function {function.name} takes {len(function.input)} and gives "
                f"{len(function.output)} values, not {len(node.input)} and "
                f"{len(node.output)}"
            )
        names = self._bound(node, function)
        given = {a.name: a for a in (*function.attribute_proto, *node.attribute)}
        for inner in function.node:
            yield from self.expanded(self._copied(inner, node, names, given), (*calls, key))
        for name, output in zip(function.output, node.output, strict=False):
            if name in function.input and output:  # no node of the function makes it
                yield onnx.helper.make_node("Identity", [names[name]], [output])

    def _bound(self, node: Any, function: Any) -> dict[str, str]:
        """The names that a function's inputs and outputs have in the node that calls it."""
        names = dict.fromkeys(function.input, "")
        names.update(zip(function.input, node.input, strict=False))
        for name, output in zip(function.output, node.output, strict=False):
            if output and name not in function.input:
                names[name] = output
        return names

    def _copied(self, inner: Any, call: Any, names: dict[str, str], given: dict[str, Any]) -> Any:
        """A copy of a function's node with the names and attributes of a call. Values inside the
        function get names that nothing else in the file has."""
        made = onnx.NodeProto()
        made.CopyFrom(inner)
        made.name = "/".join(filter(None, (call.name, inner.name)))
        for side in (made.input, made.output):
            side[:] = [self._renamed(name, names) for name in side]
        made.ClearField("attribute")
        for attribute in inner.attribute:
            taken = given.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
            if taken is not None:
                made.attribute.add().CopyFrom(taken)
                made.attribute[-1].name = attribute.name
        return made

    def _renamed(self, name: str, names: dict[str, str]) -> str:
        if name and name not in names:
            unused = name
            while unused in self.names:
                self.taken[name] += 1
                unused = f"{name}_{self.taken[name]}"
            self.names.add(unused)
            names[name] = unused
        return names.get(name, "")


def _key(holder: Any, name: str) -> Key:
    return (holder.domain, name, getattr(holder, "overload", ""))


def _versions(holder: Any) -> dict[str, int]:
    """The operator sets of a model or a function, by domain."""
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in holder.opset_import}
