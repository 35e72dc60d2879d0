"""Language models of others in the lab's home, and the stages that take the place of pretraining.

Below the home, `imported/NAME/forwards` and `imported/NAME/backwards` hold a checkpoint, its vocabulary and what is
known of both (`model.json`, written last).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.data.word_lists import read_word_list
from ulmfit_lab.models.checkpoint import Stamp, save_checkpoint
from ulmfit_lab.models.fastai import Sizes, read_fastai, write_fastai
from ulmfit_lab.models.heads import LanguageModel
from ulmfit_lab.pipeline.store import Stage, StageContext
from ulmfit_lab.utils.errors import ConfigError, DataError, MismatchError, suggest
from ulmfit_lab.utils.files import atomic_write, file_digest

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
MODEL, WORDS, FACTS = "model.safetensors", "vocabulary.json", "model.json"


@dataclass(frozen=True)
class ImportedModel:
    """A language model of others: where it lies, its sizes, and what stands for its content."""

    folder: Path
    sizes: Sizes
    weights: str
    """Digest of the weights; that of a file with the same weights may be another one."""
    vocabulary: str
    """Digest of the vocabulary."""
    file: str
    """Digest of the file's bytes."""

    @property
    def required_config(self) -> dict[str, Any]:
        """The config fields that a run with it must have."""
        names = ("emb_size", "hidden_size", "n_layers", "tie_weights")
        found = {f"lm.{name}": getattr(self.sizes, name) for name in names}
        if self.sizes.n_layers == 1:  # no layer but the last, whose size is the embedding's
            del found["lm.hidden_size"]
        return found | {"vocabulary.units": "words"}


def import_fastai(
    weights: Path, vocabulary: Path, name: str, imports: Path, *, backwards: bool = False
) -> ImportedModel:
    """Read a language model of fastai's and keep it under a name; one of that name and direction is replaced.

    Raises DataError and MismatchError for files that do not hold one, ConfigError for a name that is no file name.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for a model; use letters, digits, dots, hyphens and underscores.")
    model, words, sizes = read_fastai(weights, read_word_list(vocabulary))
    known = Vocabulary(words)
    direction = _direction(backwards)
    folder = imports / name / direction
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)
    save_checkpoint(folder / MODEL, model, Stamp("language-model", known.digest, direction))
    known.save(folder / WORDS)
    found = ImportedModel(folder, sizes, weights_digest(model), known.digest, file_digest(folder / MODEL))
    facts = {name: value for name, value in asdict(found).items() if name != "folder"}
    with atomic_write(folder / FACTS) as temporary:
        temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return found


def export_fastai(model: LanguageModel, vocabulary: Vocabulary, path: Path) -> list[Path]:
    """Write a language model as fastai 2 does, and beside it its words, as the pickled list that fastai reads.

    Raises ConfigError for a model of subwords, which fastai has no place for, and DataError for a bad place.
    """
    if vocabulary.merges is not None:
        raise ConfigError("The model reads subwords, whose merges fastai has no place for; export a model of words.")
    words = path.with_name(f"{path.stem}_vocab.pkl")
    try:
        write_fastai(model, path)
        with atomic_write(words) as temporary:
            temporary.write_bytes(pickle.dumps(list(vocabulary.words), protocol=2))
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path} cannot be written ({error}); name a file in a folder that exists.") from error
    return [path, words]


def weights_digest(model: LanguageModel) -> str:
    """64 hex digits that stand for a model's weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def find_import(config: RunConfig, imports: Path | None) -> ImportedModel:
    """The language model that a config names; raises ConfigError where there is none, or it has other sizes."""
    name = config.imported
    known = {path.parent.parent.name for path in imports.glob(f"*/*/{FACTS}")} if imports else set()
    if not imports or name not in known:
        raise ConfigError(
            f"imported = {name!r}: no model of that name was imported here (see ulmfit-lab import-fastai). "
            f"{suggest(name, known)}"
        )
    folder = imports / name / _direction(config.lm.backwards)
    if not (folder / FACTS).is_file():
        option = " --backwards" if config.lm.backwards else ""
        raise ConfigError(
            f"imported = {name!r} does not read {folder.name}; import such a model: "
            f"ulmfit-lab import-fastai --name {name}{option} ..."
        )
    found = _read_facts(folder)
    differing = {path: value for path, value in found.required_config.items() if _value(config, path) != value}
    if differing:
        options = " ".join(model_option(path, value) for path, value in differing.items())
        raise ConfigError(f"imported = {name!r} has other sizes than this run; add {options}")
    return found


def model_option(path: str, value: Any) -> str:
    """How the command line sets a field."""
    group, dot, field = path.replace("_", "-").rpartition(".")
    if isinstance(value, bool):
        return f"--{group}{dot}{'' if value else 'no-'}{field}"
    return f"--{group}{dot}{field} {value}"


def imported_stage(found: ImportedModel) -> Stage:
    """The stage that stands where a pretrained language model would; its words are a stage of their own."""
    words_key = {"imported": found.vocabulary}
    words = Stage("vocabulary", words_key, {}, _taking(found, WORDS), 0)
    key = {"model": "imported", "weights": found.weights, "direction": found.folder.name}
    return Stage("pretrained", key, {"vocabulary": words}, _taking(found, MODEL, WORDS), 0)


def _taking(found: ImportedModel, *names: str) -> Callable[[StageContext], dict[str, Any]]:
    """Copies an import's files into a stage."""

    def compute(work: StageContext) -> dict[str, Any]:
        for name in names:
            shutil.copyfile(found.folder / name, work.folder / name)
        vocabulary = Vocabulary.load(work.folder / WORDS)
        torn = MODEL in names and file_digest(work.folder / MODEL) != found.file
        if torn or vocabulary.digest != found.vocabulary:
            raise MismatchError(f"{found.folder} has changed since it was imported; import it again.")
        return {"words": len(vocabulary), "digest": vocabulary.digest, "final": {}, "best": {}}

    return compute


def _read_facts(folder: Path) -> ImportedModel:
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return ImportedModel(folder, **{**facts, "sizes": Sizes(**facts["sizes"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / FACTS} is damaged; import the model again.") from error


def _value(config: RunConfig, path: str) -> Any:
    group, _, field = path.partition(".")
    return getattr(getattr(config, group), field)


def _direction(backwards: bool) -> str:
    return "backwards" if backwards else "forwards"
