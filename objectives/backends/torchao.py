"""The single point of import for torchao, which logs at length about GPU extensions that it could not load."""

import logging

logging.getLogger("torchao").setLevel(logging.ERROR)  # about extensions that are not needed
_pytree = logging.getLogger("torch.utils._pytree")
_level = _pytree.level
_pytree.setLevel(logging.ERROR)  # a deprecation between torch and torchao that users cannot fix

from torchao import __version__  # noqa: E402 — after the loggers are silenced
from torchao.quantization.quant_primitives import (  # noqa: E402 — after the loggers are silenced
    MappingType,
    choose_qparams_affine,
    choose_qparams_affine_with_min_max,
    quantize_affine,
)

_pytree.setLevel(_level)

__all__ = [
    "MappingType",
    "__version__",
    "choose_qparams_affine",
    "choose_qparams_affine_with_min_max",
    "quantize_affine",
]
