"""A pretend accelerator for torch on a machine without one.

It computes on the CPU and refuses what a GPU refuses: operands on different devices, ``numpy()`` of its tensors. It
counts the operations that a GPU would launch, and what makes the host wait: a number that is read, a shape that
depends on data, a copy between host and device. ``PretendGraph`` records operations with their addresses and runs them
again, as a CUDA graph does.

Its tensors say that they are on the device type "lazy", which torch knows and nothing here uses otherwise: autograd
then runs in the thread of the caller, as for the CPU.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rlkit.agents.core.captured import GRAPHS

NAME = "lazy"  # of torch's device types
aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.equal.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
ALLOCATIONS = {
    aten.empty.memory_format, aten.empty_strided.default, aten.empty_like.default, aten.new_empty.default,
    aten.new_empty_strided.default,
}  # fmt: skip
DYNAMIC = (torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output)


class HostWaits(RuntimeError):
    """Something inside ``forbidding_waits`` made the host wait for the device."""


class Wait(NamedTuple):
    """Something that makes the host wait for the device."""

    what: str
    where: str  # file:line of the package


class PretendTensor(torch.Tensor):
    """A tensor of the pretend device, around the tensor of the CPU that holds its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> PretendTensor:
        """Wrap a tensor of the CPU."""
        made: PretendTensor = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, dtype=held.dtype, layout=held.layout, device=device(), strides=held.stride(),
            storage_offset=held.storage_offset(), requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held
        return made

    def data_ptr(self) -> int:
        """Return the address of the numbers."""
        return self.held.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        """Return the memory of the numbers."""
        return self.held.untyped_storage()

    def tolist(self) -> Any:
        """Read all numbers; the host waits."""
        LOG.wait("tolist")
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Raise as a GPU's tensor does."""
        raise TypeError(f"can't convert {NAME} device type tensor to numpy: use Tensor.cpu() first, at {_where()}")

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"PretendTensor({self.held!r})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on the CPU."""
        return _run(func, args, kwargs or {})


class DeviceLog:
    """The operations and waits of the device since ``clear``."""

    def __init__(self) -> None:
        self.clear()
        self.forbidding = False
        self.recording: list[Operation] | None = None

    def clear(self) -> None:
        """Forget what was counted."""
        self.launches: Counter[str] = Counter()
        self.waits: Counter[Wait] = Counter()

    def wait(self, what: str) -> None:
        """Count something that makes the host wait.

        Raises:
            HostWaits: inside ``forbidding_waits``.
        """
        met = Wait(what, _where())
        self.waits[met] += 1
        if self.forbidding:
            raise HostWaits(f"{what} at {met.where}")


LOG = DeviceLog()


class Operation(NamedTuple):
    """An operation that was run, with the very tensors that it read and wrote."""

    func: Any
    args: Any
    kwargs: Any
    out: Any


class PretendGraph:
    """Operations recorded once and run again at the same addresses, as a ``torch.cuda.CUDAGraph`` runs them.

    What Python computed is not computed again: a number of the host that went into an operation stays as it was.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def capture(self, work: Callable[[], None]) -> None:
        """Do the work once and record it.

        Raises:
            HostWaits: the work makes the host wait.
        """
        assert LOG.recording is None, "graphs are recorded one at a time"
        LOG.recording = self.operations
        try:
            with forbidding_waits():
                work()
        finally:
            LOG.recording = None

    def replay(self) -> None:
        """Do the recorded work again."""
        with torch.no_grad():
            for func, args, kwargs, out in self.operations:
                again = func(*args, **kwargs)
                for old, new in zip(_leaves(out), _leaves(again), strict=True):
                    if _storage(old) != _storage(new):
                        old.copy_(new)


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees operations without a tensor of the device among their operands, such as ``torch.zeros(3, device=...)``."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave out the wrapper of torch's compiler, whose import takes seconds and which nothing here needs."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def device() -> torch.device:
    """Return the pretend device."""
    return torch.device(NAME, 0)


@contextmanager
def pretending() -> Iterator[DeviceLog]:
    """Have a device ``NAME`` and its graphs in the context; yields the log, which is cleared."""
    LOG.clear()
    GRAPHS[NAME] = lambda: PretendGraph
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with _Mode():  # type: ignore[no-untyped-call]
            yield LOG
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        GRAPHS.pop(NAME, None)


@contextmanager
def forbidding_waits() -> Iterator[None]:
    """Raise where something makes the host wait for the device, as ``set_sync_debug_mode("error")`` does."""
    before, LOG.forbidding = LOG.forbidding, True
    try:
        yield
    finally:
        LOG.forbidding = before


@contextmanager
def allowing_waits() -> Iterator[None]:
    """Undo ``forbidding_waits`` in a part of it."""
    before, LOG.forbidding = LOG.forbidding, False
    try:
        yield
    finally:
        LOG.forbidding = before


def _where() -> str:
    """Return the line of the package that is being executed."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        path = frame.f_code.co_filename.replace("\\", "/")
        if not path.endswith("pretend_device.py") and "site-packages" not in path and "/rlkit/" in path:
            return f"{path.rpartition('/rlkit/')[2]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "outside the package"


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on the tensors held, and put its result on the device where it belongs."""
    given: list[Tensor] = []
    held_args = [_held(leaf, given) for leaf in args]
    held_kwargs = {name: _held(leaf, given) for name, leaf in kwargs.items()}
    pretended = [tensor for tensor in given if isinstance(tensor, PretendTensor)]
    asked = kwargs.get("device")
    on_device = bool(pretended) if asked is None else torch.device(asked).type == NAME
    if not pretended and not on_device:
        return func(*args, **kwargs)
    _verify(func, args, given, pretended, on_device)
    out = func(*held_args, **held_kwargs)
    if not on_device:
        return out
    kind = _kind(func)
    if LOG.recording is not None:
        LOG.recording.append(Operation(func, held_args, held_kwargs, out))
    if kind.computes and (kind.writes or not _is_view(out, pretended)):
        LOG.launches[str(func)] += 1
    wrapped = {id(tensor.held): tensor for tensor in pretended}
    return _wrapped(out, wrapped)


def _held(leaf: Any, given: list[Tensor]) -> Any:
    """Replace what is on the device by what is on the CPU, and note every tensor met."""
    if isinstance(leaf, Tensor):
        given.append(leaf)
        return leaf.held if isinstance(leaf, PretendTensor) else leaf
    if isinstance(leaf, list | tuple):
        return [_held(each, given) for each in leaf]
    return torch.device("cpu") if isinstance(leaf, torch.device) and leaf.type == NAME else leaf


def _wrapped(out: Any, known: dict[int, PretendTensor]) -> Any:
    """Put the result of an operation on the device; an operand that is returned stays the same object."""
    if isinstance(out, Tensor):
        return known[id(out)] if id(out) in known else PretendTensor(out)
    return type(out)(_wrapped(each, known) for each in out) if isinstance(out, list | tuple) else out


class _Kind(NamedTuple):
    """What is known of an operation whatever its operands are."""

    computes: bool
    writes: bool  # into an operand
    copies: bool
    indexes: bool
    depends_on_data: bool


@cache
def _kind(func: Any) -> _Kind:
    return _Kind(
        computes=func not in ALLOCATIONS,
        writes=func._schema.is_mutable,
        copies=func in (aten._to_copy.default, aten.copy_.default),
        indexes=func in INDEXING,
        depends_on_data=any(tag in func.tags for tag in DYNAMIC),
    )


def _verify(func: Any, args: Any, given: list[Tensor], pretended: list[PretendTensor], on_device: bool) -> None:
    """Refuse mixed devices; count what the host waits for."""
    kind, mixed = _kind(func), 0 < len(pretended) < len(given)
    if mixed and not kind.copies and any(tensor.dim() > 0 for tensor in given if not isinstance(tensor, PretendTensor)):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found {NAME} and cpu in {func} at {_where()}"
        )
    if func in READS:
        LOG.wait(f"a read by {func}")
    elif (pretended and not on_device) or (mixed and kind.copies and not isinstance(args[0], PretendTensor)):
        LOG.wait(f"a copy to the host by {func}")
    elif (given and not pretended) or (mixed and kind.copies):
        LOG.wait(f"a copy from the host by {func}")
    elif kind.indexes:
        if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
            LOG.wait(f"an index that is a mask, whose count the host must know, by {func}")
    elif kind.depends_on_data:
        LOG.wait(f"a shape or number that depends on data, by {func}")


def _is_view(out: Any, pretended: list[PretendTensor]) -> bool:
    """Return whether an operation that writes nothing gives other views of its operands and computes nothing."""
    made = {_storage(leaf) for leaf in _leaves(out)}
    return made <= {_storage(tensor.held) for tensor in pretended}


def _leaves(out: Any) -> list[Tensor]:
    """Return the tensors of an operation's result."""
    if isinstance(out, Tensor):
        return [out]
    return [leaf for each in out for leaf in _leaves(each)] if isinstance(out, list | tuple) else []
