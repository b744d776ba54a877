"""The key that the signing keys are sealed with: a file beside the database, the same at every replica."""

from pathlib import Path

from podpass.sealing import Sealer, SealingKeyUnfit, read_key

REPLACE = "`podpass authority rotate --retire-others`"


def sealer_of(sealing: Path | bytes, *, make: bool = False) -> Sealer:
    """Read the sealing key.

    Errors:  SealingKeyUnfit, saying what to do.
    """
    if isinstance(sealing, bytes):
        return Sealer(read_key(sealing, "the sealing key"))
    if not make and not sealing.exists():
        raise SealingKeyUnfit(
            f"{sealing} is missing, and the signing keys in the database are sealed with it",
            hint=f"put the file back; if it is lost, write 32 random bytes to it and run {REPLACE}",
            file=str(sealing),
        )
    return Sealer.from_file(sealing, make=make)
