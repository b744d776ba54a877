"""Create the key folder of an issuer."""

from pathlib import Path

from podpass import files
from podpass.assertion.publishing import config as config_file
from podpass.assertion.publishing import entra_rules
from podpass.assertion.publishing.config import IssuerConfig
from podpass.assertion.publishing.key_folder import KeyFolder, read_clock
from podpass.assertion.publishing.model import IssuerError, IssuerKey, IssuerState


def create(
    folder: Path, config: IssuerConfig, *, imported: Path | None, bits: int, now: float
) -> IssuerKey:
    """Create a key folder with its settings and its first key, which is new or imported.

    Raises IssuerError if the folder has an issuer already, or the issuer is not one that Entra accepts.
    """
    problems = entra_rules.check_issuer(config.issuer)
    if problems:
        raise IssuerError("; ".join(problems), hint="correct --issuer")
    # The same checks as for the file, so that the file can be read again.
    config_file.parse(config_file.document(config), "issuer keygen", hint="correct the options")
    keys = KeyFolder(folder)
    with keys.reporting_errors():
        keys.prepare()
    with keys.lock():
        if keys.state_path.exists():
            raise IssuerError(
                f"{folder} has an issuer already",
                hint="replace its key with `podpass issuer rotate`, or name another folder with --dir",
            )
        key = keys.create_key(bits, now) if imported is None else keys.import_key(imported, now)
        try:
            files.write_private(folder / config_file.FILE, config_file.encode(config))
            state = IssuerState(keys=(key,), clock=read_clock(now)).with_key(
                key.kid, loaded=now, signs=now, confirmed=now
            )
            keys.write_state(state)
        except BaseException:
            # No state names this key, so no later command would delete it.
            keys.delete_private(key.kid)
            raise
        keys.write_api_server_files(state)
    return key
