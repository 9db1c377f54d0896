"""The one door to torchao: importing it logs at length about the GPU extensions that it could not load."""

import logging

logging.getLogger("torchao").setLevel(logging.ERROR)  # of extensions that this machine has no use for
_pytree = logging.getLogger("torch.utils._pytree")
_level = _pytree.level
_pytree.setLevel(logging.ERROR)  # a deprecation between torch and torchao that no user can mend

from torchao import __version__  # noqa: E402 — after the loggers were quietened
from torchao.quantization.quant_primitives import (  # noqa: E402 — what comes before must come before
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
