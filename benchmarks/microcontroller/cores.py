"""The cores that are measured, and the machines that QEMU has for them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Core:
    """A Cortex-M, as gcc and QEMU name it.

    Attributes:
        name: Short name.
        title: What tables say.
        machine: QEMU's machine.
        flags: gcc's flags, the float ABI among them.
        flash: Bytes for code and constants; an547's tightly coupled memory has 512 KB.
    """

    name: str
    title: str
    machine: str
    flags: tuple[str, ...]
    flash: int = 2**20

    @property
    def computes_floats(self) -> bool:
        """Whether it has an FPU; else the compiler's library computes, fifty times as slowly."""
        return "-mfloat-abi=hard" in self.flags


_CORES = (
    # An M3 executes the M0's instructions, and its board holds what the micro:bit's 16 KB of RAM
    # and 256 KB of flash don't.
    Core("m0", "Cortex-M0", "mps2-an385", ("-mcpu=cortex-m0",)),
    Core("m3", "Cortex-M3", "mps2-an385", ("-mcpu=cortex-m3",)),
    Core("m4", "Cortex-M4F", "mps2-an386", ("-mcpu=cortex-m4", "-mfloat-abi=hard")),
    Core("m7", "Cortex-M7", "mps2-an500", ("-mcpu=cortex-m7", "-mfloat-abi=hard")),
    Core("m55", "Cortex-M55", "mps3-an547", ("-mcpu=cortex-m55", "-mfloat-abi=hard"), 2**19),
)
CORES = {core.name: core for core in _CORES}
