"""Which models there are, and where their files lie; needs no PyTorch.

A shipped model is three files in `resources/models`: NAME.pt, NAME.pt.sha256 and NAME.md, its card.
Any other model is given by the path of its .pt file.
"""

from __future__ import annotations

from pathlib import Path

from CovidLungQuantLib.errors import BadInputError

MODELS_FOLDER = Path(__file__).resolve().parent.parent / "resources" / "models"
MODEL_SUFFIX = ".pt"
CHECKSUM_SUFFIX = ".pt.sha256"
DEFAULT_MODEL_NAME = "convlstm-attention-2"


def available_models() -> list[str]:
    """Names of the shipped models, the default first."""
    names = sorted(file.name[: -len(MODEL_SUFFIX)] for file in MODELS_FOLDER.glob("*.pt"))
    return sorted(names, key=lambda name: name != DEFAULT_MODEL_NAME)


def model_path(name_or_path: str | None) -> Path:
    """File of a shipped model by name, or of any model by path; None is the default model.

    Raises:
        BadInputError: there is no such model.
    """
    name = name_or_path or DEFAULT_MODEL_NAME
    shipped = MODELS_FOLDER / f"{name}{MODEL_SUFFIX}"
    if Path(name).name == name and shipped.is_file():
        return shipped
    if Path(name).is_file():
        return Path(name)
    raise BadInputError(
        f"There is no model “{name}”; choose one of {', '.join(available_models())} "
        "or give the path of a model file."
    )
