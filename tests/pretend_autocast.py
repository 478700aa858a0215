"""Autocast of the pretend device: CUDA's lists of operators, by torch's `autocast_mode.h`.

Only those that a model of text can meet; an operator in no list runs in the type that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import Library, fallthrough_kernel

NAME = "pretend"

# in fp16 or bf16, where matrix units are faster
LOW = """conv1d conv2d convolution addmm addmv addr matmul einsum mm mv linear addbmm baddbmm bmm
    chain_matmul linalg_multi_dot lstm_cell gru_cell prelu scaled_dot_product_attention"""
# in fp32, because they lose precision or overflow
FULL = """acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan
    pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar softplus layer_norm native_layer_norm group_norm
    cosine_similarity cosine_embedding_loss nll_loss kl_div l1_loss smooth_l1_loss huber_loss
    mse_loss margin_ranking_loss hinge_embedding_loss soft_margin_loss
    binary_cross_entropy_with_logits dist cdist renorm logsumexp"""
# give fp32 where no other type is asked for
FULL_RESULT = """prod prod.dim_int softmax.int log_softmax.int cumprod cumsum linalg_vector_norm
    linalg_matrix_norm sum sum.dim_IntList"""
# in the widest type of their arguments
WIDEST = "addcdiv addcmul atan2 bilinear dot index_put tensordot scatter_add"


def eligible(value: Any) -> bool:
    """What autocast casts: floating tensors of the device, but for fp64."""
    return (isinstance(value, Tensor) and value.device.type == NAME and value.is_floating_point()
            and value.dtype is not torch.float64)


def cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, (list, tuple)):
        return [cast(each, dtype) for each in value]
    return value.to(dtype) if eligible(value) else value


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, (list, tuple)):
        return [tensor for each in value for tensor in tensors(each)]
    return [value] if isinstance(value, Tensor) else []


def low(op: Any, args: Any, kwargs: Any) -> torch.dtype | None:
    return torch.get_autocast_dtype(NAME)


def full(op: Any, args: Any, kwargs: Any) -> torch.dtype | None:
    return torch.float32


def full_result(op: Any, args: Any, kwargs: Any) -> torch.dtype | None:
    """fp32, unless the call names a type."""
    names = [argument.name for argument in op._schema.arguments]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return None if given.get("dtype") is not None else torch.float32


def widest(op: Any, args: Any, kwargs: Any) -> torch.dtype | None:
    found = [each.dtype for each in tensors([*args, *kwargs.values()]) if eligible(each)]
    return torch.float32 if torch.float32 in found else next(iter(found), None)


def half(op: Any, args: Any, kwargs: Any) -> torch.dtype | None:
    """cuDNN's recurrent layers run in fp16, whatever type autocast is set to (AutocastRNN.cpp)."""
    return torch.float16


Rule = Callable[[Any, Any, Any], "torch.dtype | None"]


def casting(op: Any, rule: Rule) -> Callable[..., Any]:
    """`op` after its arguments are cast by `rule`, with no autocast inside of it."""
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def run(*args: Any, **kwargs: Any) -> Any:
        dtype = rule(op, args, kwargs)
        with torch._C._ExcludeDispatchKeyGuard(key):
            if dtype is None:
                return op(*args, **kwargs)
            named = {name: cast(each, dtype) for name, each in kwargs.items()}
            return op(*cast(args, dtype), **named)

    return run


def banned(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to "
                       "autocast.")


def register(library: Callable[[str, str], Library]) -> None:
    library("_", "AutocastPrivateUse1").fallback(fallthrough_kernel, "AutocastPrivateUse1")
    own = library("aten", "AutocastPrivateUse1")
    lists: tuple[tuple[str, Rule], ...] = ((LOW, low), (FULL, full), (FULL_RESULT, full_result),
                                           (WIDEST, widest), ("lstm.input", half))
    for names, rule in lists:
        for name in names.split():
            packet, _, overload = name.partition(".")
            op = getattr(getattr(torch.ops.aten, packet), overload or "default")
            own.impl(op, casting(op, rule))
    own.impl("binary_cross_entropy", banned)
