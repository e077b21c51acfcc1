"""Model files: round trip, checksum, refusal of anything else."""

from __future__ import annotations

import hashlib
import pickle

import pytest
import torch
from small_model import SMALL_CONFIG

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.lesions.networks.convlstm_attention import ConvLSTMAttentionNetwork
from CovidLungQuantLib.models.registry import DEFAULT_MODEL_NAME, MODELS_FOLDER, available_models


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
