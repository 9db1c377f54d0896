"""Options that several commands share."""

from enum import StrEnum

DEVICE_HELP = (
    "Where windows are run for the DER; `cuda` emulates the low-bit modes. RTF is always measured on the CPU, and a "
    "study keeps to one device."
)


class DeviceOption(StrEnum):
    """Where windows are run for the errors."""

    cpu = "cpu"
    cuda = "cuda"
