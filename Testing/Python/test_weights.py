"""Model files: round trip, checksum, refusal of anything else."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_chest import a_ct
from small_model import SMALL_CONFIG, small_model

from CovidLungQuantLib.anatomy.lobe_weights import LOBE_MODEL_FILE, load_lobe_model
from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.inference import segment_lesions
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.lesions.networks.convlstm_attention import ConvLSTMAttentionNetwork
from CovidLungQuantLib.models import files as model_files
from CovidLungQuantLib.models.registry import (
    CHECKSUM_SUFFIX,
    DEFAULT_MODEL_NAME,
    MODELS_FOLDER,
    SHIPPED_SHA256,
    available_models,
)


@pytest.fixture
def model_file(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "small.pt", ConvLSTMAttentionNetwork(SMALL_CONFIG))
    return tmp_path / "small.pt"


def test_a_saved_model_loads_as_it_was(model_file):
    torch.manual_seed(0)
    original = ConvLSTMAttentionNetwork(SMALL_CONFIG)
    model = load_model(str(model_file))
    assert model.name == "small"
    assert model.config == SMALL_CONFIG
    assert model.sha256 == hashlib.sha256(model_file.read_bytes()).hexdigest()
    assert not model.network.training
    for key, value in original.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[key], value, rtol=0, atol=0)


def test_a_changed_byte_is_noticed(model_file):
    content = bytearray(model_file.read_bytes())
    content[len(content) // 2] ^= 1
    model_file.write_bytes(content)
    with pytest.raises(BadInputError, match="damaged or was changed"):
        load_model(str(model_file))


def test_a_changed_byte_is_noticed_without_a_checksum_file(model_file):
    """The archive has checksums of its own, which torch does not look at."""
    model_file.with_name(f"small{CHECKSUM_SUFFIX}").unlink()
    load_model(str(model_file))
    content = bytearray(model_file.read_bytes())
    with zipfile.ZipFile(model_file) as archive:
        entries = [item for item in archive.infolist() if "/data/" in item.filename]
        weights = archive.read(max(entries, key=lambda item: item.file_size))
    # The lowest bits of a weight.
    content[content.index(weights)] ^= 1
    model_file.write_bytes(content)
    with pytest.raises(BadInputError, match="not a model of this software"):
        load_model(str(model_file))


def test_an_unknown_name_lists_the_models_there_are():
    with pytest.raises(BadInputError, match=DEFAULT_MODEL_NAME):
        load_model("no-such-model")


def test_files_of_other_kinds_are_refused(tmp_path):
    text = tmp_path / "notes.pt"
    text.write_text("not a model")
    foreign = tmp_path / "foreign.pt"
    torch.save({"weights": {}}, foreign)
    for file in (text, foreign):
        with pytest.raises(BadInputError, match="not a model of this software"):
            load_model(str(file))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class RunsCode:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    harmful = tmp_path / "harmful.pt"
    with harmful.open("wb") as file:
        pickle.dump(RunsCode(), file)
    with pytest.raises(BadInputError):
        load_model(str(harmful))
    torch.save({"format": RunsCode()}, harmful)
    with pytest.raises(BadInputError):
        load_model(str(harmful))
    assert not (tmp_path / "ran").exists()


def test_every_shipped_model_has_a_card_a_checksum_and_is_small():
    assert available_models()[0] == DEFAULT_MODEL_NAME
    for name in available_models():
        model = load_model(name)
        assert (MODELS_FOLDER / f"{name}.pt").stat().st_size < 20e6
        card = (MODELS_FOLDER / f"{name}.md").read_text(encoding="utf-8")
        assert model.sha256 in card


def changed(model_file: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """Path of a user's model, without a checksum, whose content was changed."""
    content = torch.load(model_file, weights_only=True)
    change(content)
    target = model_file.with_name("changed.pt")
    torch.save(content, target)
    return str(target)


def test_every_shipped_model_is_pinned_in_the_code():
    files = sorted(MODELS_FOLDER.rglob("*.pt"))
    assert {file.stem for file in files} == set(SHIPPED_SHA256)
    for file in files:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        assert SHIPPED_SHA256[file.stem] == sha256
        checksum = file.with_name(file.stem + CHECKSUM_SUFFIX).read_text().split()[0]
        assert checksum == sha256


def test_a_shipped_model_exchanged_with_its_checksum_is_refused(model_file, monkeypatch):
    """The other weights are sound and agree with the checksum beside them."""
    monkeypatch.setattr(model_files, "MODELS_FOLDER", model_file.parent)
    shipped = model_file.with_name(f"{DEFAULT_MODEL_NAME}.pt")
    for suffix in (".pt", CHECKSUM_SUFFIX):
        source = model_file.with_name(f"small{suffix}")
        shutil.copy(source, shipped.with_name(shipped.stem + suffix))
    with pytest.raises(BadInputError, match="not the one of the model that was shipped"):
        load_model(str(shipped))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(model_file, value):
    def change(content):
        weights = next(tensor for tensor in content["weights"].values() if tensor.ndim == 4)
        weights[0, 0, 0, 0] = value

    with pytest.raises(BadInputError, match="changed holds weights that are not finite"):
        load_model(changed(model_file, change))


def test_lobe_weights_that_are_not_finite_are_refused(tmp_path):
    content = torch.load(LOBE_MODEL_FILE, weights_only=True)
    next(iter(content["weights"].values())).view(-1)[0] = float("nan")
    torch.save(content, tmp_path / "lobes.pt")
    with pytest.raises(BadInputError, match="not finite"):
        load_lobe_model(tmp_path / "lobes.pt")


def test_answers_that_are_not_finite_are_refused():
    """A variance below zero is finite; what comes out is not."""
    model = small_model()
    for name, value in model.network.state_dict().items():
        if name.endswith("running_var"):
            value.fill_(-1.0)
    ct = a_ct()
    box = np.zeros(ct.hu.shape, bool)
    box[1:-1, 1:-1, 1:-1] = True
    anatomy = LungAnatomy(box.astype(np.uint8), np.ones_like(box), np.zeros_like(box), ())
    with pytest.raises(BadInputError, match="model small answers with numbers that are not finite"):
        segment_lesions(ct.hu, ct.geometry.spacing_mm, anatomy, model, "cpu")


WRONG_CONFIGS = {
    "text for a number": {"attention_channels": "many"},
    "a fraction": {"working_size": 64.5},
    "a truth": {"dense_layers": True},
    "nothing": {"growth": None},
    "not a number": {"window_step_mm": float("nan")},
    "too large a picture": {"working_size": 1_000_000},
    "no multiple of 16": {"working_size": 65},
    "too wide": {"growth": 10**12},
    "wide within bounds": {"level_channels": (4096, 4096, 4096, 4096)},
    "too short a tuple": {"level_channels": (4, 8)},
    "a window the wrong way round": {"hu_window": (600.0, -1024.0)},
    "an unknown crop": {"crop": "head"},
    "an even window": {"window_length": 10},
    "an unknown entry": {"colour": 1},
    "another network": {"architecture": "transformer"},
    "an architecture that is no text": {"architecture": [1]},
}


@pytest.mark.parametrize("values", WRONG_CONFIGS.values(), ids=WRONG_CONFIGS.keys())
def test_a_configuration_that_makes_no_sense_is_refused(model_file, values):
    with pytest.raises(BadInputError, match="not a model of this software"):
        load_model(changed(model_file, lambda content: content["network_config"].update(values)))


WRONG_WEIGHTS = {
    "none": {},
    "a list": [1.0],
    "text": "weights",
    "one of another shape": {"convlstm.input_to_gates.bias": torch.zeros(3)},
    "a number for a tensor": {"convlstm.input_to_gates.bias": 1.0},
    "complex": {"convlstm.input_to_gates.bias": torch.zeros(16, dtype=torch.complex64)},
    "sparse": {"convlstm.input_to_gates.bias": torch.zeros(16).to_sparse()},
    "huge without bytes": {"convlstm.input_to_gates.bias": torch.zeros(1).expand(10**12)},
}


@pytest.mark.parametrize("weights", WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS.keys())
def test_weights_of_another_kind_are_refused(model_file, weights):
    def change(content):
        # All others are right.
        if isinstance(weights, dict) and weights:
            content["weights"].update(weights)
        else:
            content["weights"] = weights

    with pytest.raises(BadInputError, match="not a model of this software"):
        load_model(changed(model_file, change))


@pytest.mark.parametrize("content", [None, 7, [], "text", {"format": 3}, {}])
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(BadInputError, match="not a model of this software"):
        load_model(str(tmp_path / "other.pt"))


def test_a_file_cut_anywhere_is_refused(model_file):
    whole = model_file.read_bytes()
    cut = model_file.with_name("cut.pt")
    for length in (0, 1, 3, 30, 1000, len(whole) // 2, len(whole) - 1000, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(BadInputError, match="not a model of this software"):
            load_model(str(cut))


def test_a_packed_archive_is_refused_unread(model_file):
    packed = model_file.with_name("packed.pt")
    with zipfile.ZipFile(model_file) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(BadInputError, match="not a model of this software"):
        load_model(str(packed))


def test_an_old_unzipped_file_is_refused(model_file):
    old = model_file.with_name("old.pt")
    content = torch.load(model_file, weights_only=True)
    torch.save(content, old, _use_new_zipfile_serialization=False)
    with pytest.raises(BadInputError, match="not a model of this software"):
        load_model(str(old))


@pytest.mark.parametrize("checksum", [b"", b"\n \n", b"\xff\xfe\x00garbage", b"abc"])
def test_a_checksum_file_that_states_no_hash_is_refused(model_file, checksum):
    model_file.with_name("small.pt.sha256").write_bytes(checksum)
    with pytest.raises(BadInputError, match="damaged or was changed"):
        load_model(str(model_file))


def test_what_is_no_regular_file_is_refused(tmp_path):
    (tmp_path / "folder.pt").mkdir()
    os.mkfifo(tmp_path / "pipe.pt")
    for name in ("folder.pt", "pipe.pt", "missing.pt"):
        with pytest.raises(BadInputError):
            load_model(str(tmp_path / name))
        with pytest.raises(BadInputError):
            load_lobe_model(tmp_path / name)


def test_a_file_too_large_for_a_model_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read"))
    with (tmp_path / "huge.pt").open("wb") as file:
        file.truncate(model_files.LARGEST_MODEL_BYTES + 1)
    with pytest.raises(BadInputError, match="not a model of this software"):
        load_model(str(tmp_path / "huge.pt"))


def test_a_damaged_model_says_so_or_is_unchanged(model_file):
    """Bytes flipped anywhere: refused in one sentence, or finite weights."""
    generator = np.random.default_rng(12)
    whole = np.frombuffer(model_file.read_bytes(), np.uint8)
    flipped = model_file.with_name("flipped.pt")
    for _ in range(60):
        data = whole.copy()
        places = generator.integers(0, len(data), 5)
        data[places] = generator.integers(0, 256, 5)
        flipped.write_bytes(data.tobytes())
        try:
            model = load_model(str(flipped))
        except BadInputError:
            continue
        assert all(torch.isfinite(value).all() for value in model.network.state_dict().values())


def test_the_bytes_of_a_model_are_read_once(model_file, monkeypatch):
    """What was hashed is what is loaded."""
    read = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda file, **kw: read.append(file) or load(file, **kw))
    load_model(str(model_file))
    assert isinstance(read[0], io.BytesIO)
