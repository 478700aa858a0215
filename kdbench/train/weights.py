"""Weights on disk, written from copies in the CPU's memory.

On a GPU cuDNN keeps the weights of an LSTM as parts of one buffer, which safetensors refuses.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def memory_of(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor lies and how it is read there; the same for two names of tied weights."""
    return tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def cpu_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict as copies in the CPU's memory: tied weights share one copy, all others have
    their own.
    """
    copies: dict[object, Tensor] = {}
    state = {}
    for name, tensor in module.state_dict().items():
        key = memory_of(tensor) if tensor.numel() else name
        if key not in copies:
            copies[key] = tensor.detach().to("cpu", copy=True).contiguous()
        state[name] = copies[key]
    return state


def without_doubles(state: dict[str, Tensor],
                    encoder: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A state dict with one name of tied weights, and by each other name the one that is there.

    encoder  what the names of an encoder's weights begin with. They are kept, as a model with
             another head has them too
    """
    names: dict[object, str] = {}
    doubles = {}
    for name in sorted(state, key=lambda name: (not name.startswith(encoder), name)):
        key = memory_of(state[name]) if state[name].numel() else name
        if key in names:
            doubles[name] = names[key]
        names.setdefault(key, name)
    return {name: state[name] for name in state if name not in doubles}, doubles


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's weights, the same file for the same weights.

    safetensors lists the names of tied weights in the order of a hash map, and a model that is
    trained further is known by its files. So the header is written again, sorted.
    """
    encoder = f"{getattr(module, 'base_model_prefix', '')}."
    tensors, doubles = without_doubles(cpu_state(module), encoder)
    save_file(tensors, str(path), metadata=doubles or None)
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
            stream.seek(8)
            stream.write(text.encode().ljust(length))


def load_weights(module: nn.Module, path: Path) -> None:
    """Load what `save_weights` wrote; of tied weights the file has one.

    Raises `RuntimeError` where the file lacks weights or has others.
    """
    if wrong := misfit(module, path):
        raise RuntimeError(wrong)
    module.load_state_dict(load_file(path), strict=False)


def misfit(module: nn.Module, path: Path) -> str:
    """Why the weights in a file are not those of `module`, by their names and shapes; empty where
    they are. Of tied weights the file has one.
    """
    state = module.state_dict()
    with safe_open(path, "pt") as stored:
        shapes = {name: list(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    loaded = {memory_of(state[name]) for name in shapes if name in state}
    missing = [name for name, own in state.items()
               if name not in shapes and memory_of(own) not in loaded]
    unexpected = [name for name in shapes if name not in state]
    if missing or unexpected:
        return f"{path.name}: lacks {missing}, and has {unexpected} too much"
    other = [name for name, shape in shapes.items() if list(state[name].shape) != shape]
    return f"{path.name}: {other[0]} has another shape" if other else ""
