"""Which models there are, and where their files lie; needs no PyTorch.

A shipped model is three files in `resources/models`: NAME.pt, NAME.pt.sha256 and NAME.md, its card.
Its hash stands here too, so that a model exchanged together with its checksum is noticed. The
user's own lie in a folder of the user's. Any other model is given by the path of its .pt file.
"""

from __future__ import annotations

import os
from pathlib import Path

from CovidLungQuantLib.errors import BadInputError

MODELS_FOLDER = Path(__file__).resolve().parent.parent / "resources" / "models"
MODEL_SUFFIX = ".pt"
CHECKSUM_SUFFIX = ".pt.sha256"
DEFAULT_MODEL_NAME = "convlstm-attention-4"
USER_MODELS_VARIABLE = "COVIDLUNGQUANT_MODELS"
# SHA-256 of every shipped model's .pt file, the networks for lungs and lobes included.
SHIPPED_SHA256 = {
    "convlstm-attention-4": "16a13b91812a93f86ef0573a8a2d44dd79d7364daca14877468f25abcdd930c4",
    "unet-1": "f517bdc94a1153552003e2be61fdb6318498a5d2cfe6bf78cea016c71d72e54d",
    "lungs-2": "d03af19b9739a4b87b2f8c25337a59589e3a7fa62b564400bfac4791b892ac43",
    "lobes-from-shape-1": "9b9b1dc3c8faaca4c3a7284ba02f4f09f862bce9fb835c3a2879c10cdadc4f21",
}


def user_models_folder() -> Path:
    """Where the user's own models lie; may not exist yet.

    The folder that the environment variable COVIDLUNGQUANT_MODELS names, else one in the home.

    Raises:
        BadInputError: the variable names none, and there is no home.
    """
    named = os.environ.get(USER_MODELS_VARIABLE)
    try:
        return Path(named).expanduser() if named else Path.home() / ".covidlungquant" / "models"
    except RuntimeError:
        raise BadInputError(
            "There is no home folder to keep your models in; name a folder for them in the "
            f"environment variable {USER_MODELS_VARIABLE}."
        ) from None


def available_models() -> list[str]:
    """Names of the shipped models, the default first, then of the user's own."""
    shipped = sorted(_names_in(MODELS_FOLDER), key=lambda name: name != DEFAULT_MODEL_NAME)
    own = [name for folder in _users_folders() for name in _names_in(folder)]
    return [*shipped, *(name for name in own if name not in shipped)]


def model_path(name_or_path: str | None) -> Path:
    """File of a shipped model or of one of the user's by name, or of any model by path.

    None is the default model. A shipped model comes before one of the user's of the same name.

    Raises:
        BadInputError: there is no such model.
    """
    name = name_or_path or DEFAULT_MODEL_NAME
    if Path(name).name == name:
        for folder in (MODELS_FOLDER, *_users_folders()):
            file = folder / f"{name}{MODEL_SUFFIX}"
            if _is_file(file):
                return file
    if _is_file(Path(name)):
        return Path(name)
    raise BadInputError(
        f"There is no model “{name}”; choose one of {', '.join(available_models())} "
        "or give the path of a model file."
    )


def _users_folders() -> list[Path]:
    """The folder of the user's own models, or none for a user without a home."""
    try:
        return [user_models_folder()]
    except BadInputError:
        return []


def _is_file(path: Path) -> bool:
    """Whether there is such a file; not where its name is none or it may not be looked at."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _names_in(folder: Path) -> list[str]:
    return sorted(file.name[: -len(MODEL_SUFFIX)] for file in folder.glob(f"*{MODEL_SUFFIX}"))
