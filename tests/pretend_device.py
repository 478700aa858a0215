"""A pretend accelerator: what a GPU would refuse, this device refuses, and no GPU is needed.

    import pretend_device as device

    device.install()                          # once a process; it cannot be taken back
    model.to("pretend")                       # or torch.accelerator.current_accelerator()
    with device.watch() as seen:
        model(batch.to("pretend"))
    seen.waits, seen.uploads                  # {"kdbench/train/fit.py:269 item": 1}

A tensor of the device is a tensor of torch's extension device (PrivateUse1) over ordinary memory.
Its storage, its views and its gradients are torch's own. Every operator runs on a CPU tensor over
the same memory. As on CUDA:

    - a CPU tensor beside a device tensor is an error, unless it is a number or an index
    - random numbers come from a state of the device's own, and a CPU generator is refused
    - autocast has CUDA's lists (`pretend_autocast`), and an LSTM computes in fp16 under it
    - the weights of an LSTM lie in one buffer, as cuDNN keeps them
    - memory is counted, and can run out (`memory`)
    - what makes the host wait, and every copy between host and device, is counted by file and line

Not as on CUDA: nothing runs in the background, and an operator is as precise as the CPU's.

torch knows the device by its usual doors: `torch.accelerator.current_accelerator()` names it, and
`torch.get_device_module(device)` gives `Module` below where it gives `torch.cuda` on a GPU. The
functions of `torch.accelerator` that do something (`synchronize`, `empty_cache`) need an allocator
in C++ and fail.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.library import Library
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
ROOT = Path(__file__).resolve().parent.parent
OWN = ("pretend_device.py", "pretend_autocast.py")  # no place of a caller

aten = torch.ops.aten

# ---- one memory, two devices ---------------------------------------------------------------------

# device types of DLPack
CPU, EXTENSION = 1, 12

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def retyped(tensor: Tensor, device_type: int) -> Tensor:
    """A tensor over the same memory under another device type of DLPack.

    A capsule holds a DLTensor, which begins with a pointer to the data and the device's type.
    """
    capsule = torch._C._to_dlpack(tensor)
    place = _pointer(capsule, b"dltensor") + ctypes.sizeof(ctypes.c_void_p)
    ctypes.c_int32.from_address(place).value = device_type
    return torch._C._from_dlpack(capsule)


def on_device(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == NAME


def on_host(tensor: Tensor) -> Tensor:
    """The CPU tensor over a device tensor's memory."""
    if not tensor.numel():  # without memory, and free to grow where it is an output
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    return retyped(tensor.detach() if tensor.requires_grad else tensor, CPU)


def adopted(tensor: Tensor) -> Tensor:
    """A fresh CPU tensor as one of the device, its memory counted as the device's until it dies."""
    size = tensor.untyped_storage().nbytes()
    memory.take(size)
    made = retyped(tensor, EXTENSION)
    storage = made.untyped_storage()
    memory.living[id(storage)] = size, weakref.ref(storage, memory.giver(id(storage)))
    return made


# ---- memory --------------------------------------------------------------------------------------


def no_memory_left(size: int) -> Exception:
    return torch.OutOfMemoryError(f"{NAME} out of memory. Tried to allocate {size} bytes.")


def no_memory_for_cublas(size: int) -> Exception:
    return RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def no_memory_at_driver(size: int) -> Exception:
    return torch.AcceleratorError("CUDA error: out of memory")


@dataclass
class Memory:
    """Bytes of the device's tensors.

    limit     bytes in use that are one too many
    error     what is raised then, given the size asked for
    fails_at  the allocation, counted from 1 by `allocations`, that fails whatever is in use
    """

    allocated: int = 0
    peak: int = 0
    allocations: int = 0
    limit: float = float("inf")
    fails_at: int | None = None
    error: Callable[[int], Exception] = no_memory_left
    living: dict[int, tuple[int, Any]] = field(default_factory=dict)

    def take(self, size: int) -> None:
        self.allocations += 1
        if self.allocated + size > self.limit or self.allocations == self.fails_at:
            raise self.error(size)
        self.allocated += size
        self.peak = max(self.peak, self.allocated)

    def giver(self, key: int) -> Callable[[Any], None]:
        """What a storage's end calls."""

        def give_back(_: Any) -> None:
            size, _storage = self.living.pop(key)
            self.allocated -= size

        return give_back

    @contextlib.contextmanager
    def short(self, *, limit: float = float("inf"), after: int | None = None,
              error: Callable[[int], Exception] = no_memory_left) -> Iterator[None]:
        """Let memory run out at `limit` bytes in use, or once, `after` so many allocations."""
        before = self.limit, self.fails_at, self.error
        self.limit, self.error = limit, error
        self.fails_at = None if after is None else self.allocations + after
        try:
            yield
        finally:
            self.limit, self.fails_at, self.error = before


memory = Memory()

# ---- what the host waits for, and what it copies -------------------------------------------------


@dataclass
class Seen:
    """What happened on the device, each counter by "file:line what".

    waits      operators after which the host has to wait for the device
    uploads    copies to the device, from pinned or from pageable memory
    downloads  copies to the host
    casts      copies on the device into another type
    operators  by name alone
    """

    waits: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    downloads: Counter[str] = field(default_factory=Counter)
    casts: Counter[str] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)

    @property
    def pageable(self) -> Counter[str]:
        return Counter({key: n for key, n in self.uploads.items() if key.endswith("pageable")})

    def stalls(self) -> str:
        """Waits and pageable copies, one a line, the most frequent first; empty where none is."""
        lines = [f"{count:4} x {place}" for place, count in (self.waits + self.pageable).most_common()]
        return "\n".join(lines)


_watching: list[Seen] = []


@contextlib.contextmanager
def watch() -> Iterator[Seen]:
    """Count what happens on the device meanwhile."""
    seen = Seen()
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)


def note(counter: str, what: str) -> None:
    if _watching:
        key = f"{place()} {what}"
        for seen in _watching:
            getattr(seen, counter)[key] += 1


def place() -> str:
    """The innermost line of the project, and of the library that it calls where there is one."""
    library = ""
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if "site-packages" in path.parts:
            parts = path.parts[path.parts.index("site-packages") + 1:]
            if not library and parts[0] != "torch":
                library = f" via {'/'.join(parts)}:{frame.f_lineno}"
        elif path.is_relative_to(ROOT) and path.name not in OWN:
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}{library}"
        frame = frame.f_back
    # the backward pass runs in a thread of its own, which has no line of Python
    node = torch._C._current_autograd_node()
    return f"backward of {node.name()}" if node is not None else f"elsewhere{library}"


# storages of the host that a GPU can copy from while the host goes on
_pinned: weakref.WeakSet[Any] = weakref.WeakSet()


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """In place of `Tensor.pin_memory`, which asks CUDA for the memory."""
    copy = self.clone()
    _pinned.add(copy.untyped_storage())
    return copy


def is_pinned(self: Tensor, device: Any = None) -> bool:
    return self.device.type == "cpu" and self.untyped_storage() in _pinned


# ---- operators -----------------------------------------------------------------------------------

INDEXING = {"aten::index", "aten::_unsafe_index", "aten::index_put", "aten::index_put_",
            "aten::_index_put_impl_"}
# their result's shape, or a Python value, depends on what the device has computed
WAITING = {"aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2", "aten::bincount",
           "aten::unique_consecutive", "aten::unique_dim", "aten::repeat_interleave"}


class Call:
    """One operator call on its way to the CPU and back."""

    def __init__(self, op: Any):
        self.name = op._schema.name
        self.random = torch.Tag.nondeterministic_seeded in op.tags
        self.lent: dict[int, tuple[Tensor, Tensor]] = {}  # of each device tensor its CPU tensor

    def down(self, value: Any) -> Any:
        """An argument as the CPU takes it; refuses what CUDA would refuse."""
        if isinstance(value, Tensor):
            return self.lend(value) if on_device(value) else self.number(value)
        if isinstance(value, (list, tuple)):
            return [self.down(each) for each in value]
        if isinstance(value, torch.Generator):
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found "
                               f"'{value.device.type}' ({self.name}, at {place()})")
        return torch.device("cpu") if isinstance(value, torch.device) else value

    def lend(self, tensor: Tensor) -> Tensor:
        lent = on_host(tensor)
        self.lent[id(lent)] = lent, tensor
        return lent

    def number(self, tensor: Tensor) -> Tensor:
        if tensor.dim():
            raise RuntimeError("Expected all tensors to be on the same device, but found at least two "
                               f"devices, {NAME}:0 and {tensor.device}! ({self.name}, at {place()})")
        return tensor

    def indices(self, given: Any) -> list[Tensor | None]:
        """Indices may lie on the CPU, from where they are copied; a mask is counted first."""
        made: list[Tensor | None] = []
        for index in given:
            if index is None:
                made.append(None)
                continue
            if not on_device(index):
                note("uploads", f"{self.name} by an index on the CPU, pageable")
                note("waits", f"{self.name} by an index on the CPU")
            elif index.dtype in (torch.bool, torch.uint8):
                note("waits", f"{self.name} by a mask")
            made.append(self.lend(index) if on_device(index) else index)
        return made

    def up(self, value: Any) -> Any:
        """A result as the device gives it: the tensor that was lent, or a new one."""
        if isinstance(value, Tensor):
            return self.lent[id(value)][1] if id(value) in self.lent else adopted(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self.up(each) for each in value)
        return value

    def settle(self) -> None:
        """Give outputs that have grown on the CPU their memory."""
        for lent, tensor in self.lent.values():
            if lent.shape != tensor.shape:
                aten.set_.source_Tensor._op_dk(torch._C.DispatchKey.CPU, tensor, adopted(lent))


def run_on_host(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Any operator of the device: on CPU tensors over the same memory."""
    call = Call(op)
    for seen in _watching:
        seen.operators[call.name] += 1
    if call.name in WAITING:
        note("waits", call.name)
    given = list(args)
    if call.name in INDEXING:
        given[1] = call.indices(args[1])
        given = [given[1] if number == 1 else call.down(each) for number, each in enumerate(given)]
    else:
        given = [call.down(each) for each in given]
    named = {name: call.down(each) for name, each in kwargs.items()}
    with module.drawing() if call.random else contextlib.nullcontext():
        found = op(*given, **named)
    call.settle()
    return call.up(found)


def copy_(self: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """`self.copy_(source)`, where one of the two is on the device or both are."""
    for seen in _watching:
        seen.operators["aten::copy_"] += 1
    if not on_device(source):
        kind = "pinned" if is_pinned(source) else "pageable"
        note("uploads", f"copy to the device, {kind}")
        if not non_blocking:
            note("waits", "blocking copy to the device")
    elif not on_device(self):
        note("downloads", "copy to the host")
        note("waits", "copy to the host")
    elif self.dtype is not source.dtype:
        note("casts", f"{source.dtype} to {self.dtype}")
    (on_host(self) if on_device(self) else self).copy_(
        on_host(source) if on_device(source) else source)
    return self


def copy_from(source: Tensor, into: Tensor, non_blocking: bool = False) -> Tensor:
    return copy_(into, source, non_blocking)


def item(self: Tensor) -> Any:
    note("waits", "item")
    return on_host(self).item()


def resize_(self: Tensor, size: list[int], memory_format: Any = None) -> Tensor:
    if list(self.shape) != list(size):
        grown = torch.empty(size, dtype=self.dtype)
        kept = min(grown.numel(), self.numel())
        if kept:
            grown.view(-1)[:kept] = on_host(self).reshape(-1)[:kept]
        aten.set_.source_Tensor._op_dk(torch._C.DispatchKey.CPU, self, adopted(grown))
    return self


def convolution(*args: Any) -> Any:
    return run_on_host(aten.convolution.default, *args)


def convolution_backward(gradient: Tensor, inputs: Tensor, weight: Tensor, *args: Any) -> Any:
    return run_on_host(aten.convolution_backward.default, gradient, inputs, weight,
                       weight.shape[:1], *args)


def takes_data_of(self: Tensor, other: Tensor) -> bool:
    """Whether `self.data = other` may move a tensor to the device of `other`.

    It may between the CPU and CUDA, so that `module.to(device)` keeps each parameter and its ties.
    Of extension devices torch says no, and makes new parameters, one a name.
    """
    return True


def empty(op: Any) -> Callable[..., Tensor]:
    def make(*args: Any, device: Any = None, pin_memory: Any = None, **kwargs: Any) -> Tensor:
        return adopted(op(*args, **kwargs))

    return make


def without_memory(op: Any) -> Callable[..., Tensor]:
    """Operators that change shapes and strides alone: the CPU's know of no device."""

    def run(*args: Any, **kwargs: Any) -> Tensor:
        return op._op_dk(torch._C.DispatchKey.CPU, *args, **kwargs)

    return run


# ---- LSTM, as cuDNN has it -----------------------------------------------------------------------


class FusedLSTM(torch.autograd.Function):
    """An LSTM as one operator, computed in fp32 at least; backward computes it once more."""

    @staticmethod
    def on_host(tensors: tuple[Tensor, ...], count: int, facts: tuple[Any, ...]) -> Any:
        inputs, *states = tensors[:1 + count]
        return torch._VF.lstm(inputs, tuple(states), list(tensors[1 + count:]), *facts)

    @staticmethod
    def wide(tensor: Tensor) -> Tensor:
        low = tensor.dtype in (torch.float16, torch.bfloat16)
        return on_host(tensor).to(torch.float32 if low else tensor.dtype)

    @staticmethod
    def forward(ctx: Any, count: int, facts: tuple[Any, ...], *tensors: Tensor) -> Any:
        for seen in _watching:
            seen.operators["aten::_cudnn_rnn"] += 1
        ctx.save_for_backward(*tensors)
        ctx.count, ctx.facts = count, facts
        wide = tuple(map(FusedLSTM.wide, tensors))
        with torch.no_grad():
            found = FusedLSTM.on_host(wide, count, facts)
        return tuple(adopted(each.to(tensors[0].dtype)) for each in found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        tensors = ctx.saved_tensors
        wide = [FusedLSTM.wide(each).detach().requires_grad_() for each in tensors]
        with torch.enable_grad():
            found = FusedLSTM.on_host(tuple(wide), ctx.count, ctx.facts)
        given = [FusedLSTM.wide(each) for each in gradients]
        made = torch.autograd.grad(found, wide, given, allow_unused=True)
        narrow = [each if each is None else adopted(each.to(tensor.dtype))
                  for each, tensor in zip(made, tensors, strict=True)]
        return None, None, *narrow


def lstm(inputs: Tensor, states: list[Tensor], weights: list[Tensor], *facts: Any) -> Any:
    """`aten::lstm.input`; `facts`: has_biases, num_layers, dropout, train, ..."""
    _biases, layers, dropout, training = facts[:4]
    if dropout and training and layers > 1:
        raise RuntimeError("this device has no dropout between the layers of one LSTM")
    devices = {each.device.type for each in (inputs, *states, *weights)}
    if devices != {NAME}:
        raise RuntimeError("Input and parameter tensors are not at the same device, found "
                           f"{sorted(devices)} (lstm, at {place()})")
    return FusedLSTM.apply(len(states), facts, inputs, *states, *weights)


def flatten_parameters(self: torch.nn.RNNBase) -> None:
    """In place of `RNNBase.flatten_parameters`: weights on the device become parts of one buffer."""
    weights = self._flat_weights
    whole = len(weights) == len(self._flat_weights_names) and all(map(on_device, weights))
    if not whole or len({weight.dtype for weight in weights}) > 1:
        return
    with torch.no_grad():
        buffer = torch.cat([weight.detach().reshape(-1) for weight in weights])
        start = 0
        for weight in weights:
            weight.data = buffer[start:start + weight.numel()].view_as(weight)
            start += weight.numel()


def clone_storage(self: torch.UntypedStorage, own: Any = torch.UntypedStorage.clone) -> Any:
    """In place of `UntypedStorage.clone`, by which a tensor is deep-copied; torch's own wants an
    allocator.
    """
    if self.device.type != NAME:
        return own(self)
    whole = torch.empty(0, dtype=torch.uint8, device=NAME).set_(self)
    return adopted(on_host(whole).clone()).untyped_storage()


# ---- the device's module -------------------------------------------------------------------------


class Event:
    """`torch.cuda.Event`: a moment on the device, which has no time of its own here."""

    def __init__(self, enable_timing: bool = False):
        self.at = 0.0

    def record(self, stream: Any = None) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        note("waits", "synchronize an event")

    def elapsed_time(self, other: Event) -> float:
        return 1000 * (other.at - self.at)


class Module:
    """`torch.pretend`: of `torch.cuda` what a program may ask for.

    bf16   whether bf16 is native; without it the device is a T4, which emulates it
    state  of its random numbers, apart from the CPU's
    """

    Event = Event

    def __init__(self) -> None:
        self.bf16 = True
        self.state = torch.Generator().manual_seed(0).get_state()

    # --- what there is ---

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_device_name(self, device: Any = None) -> str:
        return "Pretend T4" if not self.bf16 else "Pretend accelerator"

    def get_device_capability(self, device: Any = None) -> tuple[int, int]:
        return (8, 0) if self.bf16 else (7, 5)

    def is_bf16_supported(self, including_emulation: bool = True) -> bool:
        return self.bf16 or including_emulation

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    # --- random numbers ---

    def manual_seed_all(self, seed: int) -> None:
        self.state = torch.Generator().manual_seed(seed).get_state()

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.state.clone()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.state = state.clone()

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """Let the CPU's operators draw from the device's state."""
        own = torch.get_rng_state()
        torch.set_rng_state(self.state)
        try:
            yield
        finally:
            self.state = torch.get_rng_state()
            torch.set_rng_state(own)

    # --- memory and time ---

    def empty_cache(self) -> None:
        """Nothing is kept."""

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        """Free bytes and all of them; a GPU of 1 GB where no limit is set."""
        most = int(min(memory.limit, 2**30))
        return max(most - memory.allocated, 0), most

    def memory_allocated(self, device: Any = None) -> int:
        return memory.allocated

    def max_memory_allocated(self, device: Any = None) -> int:
        return memory.peak

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        memory.peak = memory.allocated

    def synchronize(self, device: Any = None) -> None:
        note("waits", "synchronize")


module = Module()

# ---- registration --------------------------------------------------------------------------------

_libraries: list[Library] = []  # what is registered ends with its library


def library(namespace: str, key: str) -> Library:
    made = Library(namespace, "IMPL", key)
    _libraries.append(made)
    return made


def install() -> None:
    """Make the device known to torch; twice is once."""
    if _libraries:
        return
    _setup_privateuseone_for_python_backend(NAME, module)
    library("_", "PrivateUse1").fallback(run_on_host, "PrivateUse1")
    register_operators(library("aten", "PrivateUse1"))
    library("aten", "AutogradPrivateUse1").impl("lstm.input", lstm)
    torch.UntypedStorage.clone = clone_storage
    torch.Tensor.pin_memory, torch.Tensor.is_pinned = pin_memory, is_pinned
    torch.nn.RNNBase.flatten_parameters = flatten_parameters
    import pretend_autocast

    pretend_autocast.register(library)


def register_operators(own: Library) -> None:
    for op in (aten.as_strided.default, aten.view.default, aten._reshape_alias.default,
               aten.unfold.default, aten.set_.source_Tensor, aten.set_.source_Storage,
               aten.set_.source_Storage_storage_offset):
        own.impl(op, without_memory(op))
    for op in (aten.empty.memory_format, aten.empty_strided.default):
        own.impl(op, empty(op))
    for name, function in (("copy_", copy_), ("_copy_from", copy_from), ("resize_", resize_),
                           ("_local_scalar_dense", item), ("lstm.input", lstm),
                           ("_has_compatible_shallow_copy_type", takes_data_of),
                           ("convolution_overrideable", convolution),
                           ("convolution_backward_overrideable", convolution_backward)):
        own.impl(name, function)


def known_to_libraries() -> None:
    """Let two libraries take the device that ask for each vendor's by name, and not for
    `torch.accelerator`: `accelerate.Accelerator()` chooses it, and safetensors loads to it.
    """
    import safetensors.torch
    from accelerate.state import PartialState

    PartialState.default_device = property(lambda self: torch.device(NAME))
    own = safetensors.torch.load_file

    def load_file(filename: Any, device: Any = "cpu", **more: Any) -> dict[str, Tensor]:
        if torch.device(device).type != NAME:
            return own(filename, device, **more)
        return {name: tensor.to(NAME) for name, tensor in own(filename, **more).items()}

    safetensors.torch.load_file = load_file
