"""Language models that replace pretraining: imported ones, and those of the package.

A model is a folder `NAME/forwards` or `NAME/backwards` with a checkpoint, its vocabulary and `model.json` (written
last). Imported models are in `imported/` in the home, those of the package in `ulmfit_lab/pretrained/`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulmfit_lab.config.schema import LanguageModelConfig, RunConfig
from ulmfit_lab.data.rules import CAPITAL
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.data.word_lists import read_word_list
from ulmfit_lab.models.sizes import Sizes
from ulmfit_lab.pipeline.store import Stage, StageContext
from ulmfit_lab.utils.errors import ConfigError, DataError, MismatchError, suggest
from ulmfit_lab.utils.files import atomic_write, file_digest, json_text, write_output

if TYPE_CHECKING:
    from ulmfit_lab.models.heads import LanguageModel

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
MODEL, WORDS, FACTS = "model.safetensors", "vocabulary.json", "model.json"
SHIPPED = Path(__file__).resolve().parents[1] / "pretrained"
"""Folder of the package's models."""


@dataclass(frozen=True)
class ImportedModel:
    """A language model to start from: its folder, sizes and digests."""

    folder: Path
    sizes: Sizes
    weights: str
    """Digest of the weights in float32, which can be equal in different files."""
    vocabulary: str
    """Digest of the vocabulary."""
    file: str
    """Digest of the file."""
    language: str = ""
    """Language of its training text; empty if unknown."""
    mark_capitals: bool = False
    """Whether its training text had `xxmaj` before capitalised words."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Origin and quality (see `inference.model_export`); empty for a model imported from fastai."""

    @property
    def name(self) -> str:
        """Value of `imported` that selects it."""
        return self.folder.parent.name

    @property
    def direction(self) -> str:
        """forwards or backwards."""
        return self.folder.name

    @property
    def required_config(self) -> dict[str, Any]:
        """Config fields that a run with it must have."""
        names = ("emb_size", "hidden_size", "n_layers", "tie_weights")
        found = {f"lm.{name}": getattr(self.sizes, name) for name in names}
        if self.sizes.n_layers == 1:  # the only layer has the embedding's size
            del found["lm.hidden_size"]
        return found | {"vocabulary.units": "words", "mark_capitals": self.mark_capitals}


def check_model_name(name: str) -> None:
    """Raise ConfigError for an invalid model name."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a valid model name; use letters, digits, dots, hyphens and underscores.")


def import_fastai(
    weights: Path, vocabulary: Path, name: str, imports: Path, *, backwards: bool = False
) -> ImportedModel:
    """Import a fastai language model under a name; replaces the model of that name and direction.

    Raises DataError and MismatchError for invalid files, and ConfigError for an invalid name.
    """
    from ulmfit_lab.models.fastai import read_fastai  # imports torch, which planning does not need

    check_model_name(name)
    theirs = read_word_list(vocabulary)
    model, words, sizes = read_fastai(weights, theirs)
    folder = imports / name / LanguageModelConfig(backwards=backwards).direction
    return save_model_folder(folder, model, Vocabulary(words), sizes, mark_capitals=CAPITAL in theirs)


def save_model_folder(
    folder: Path,
    model: LanguageModel,
    vocabulary: Vocabulary,
    sizes: Sizes,
    *,
    language: str = "",
    mark_capitals: bool = False,
    card: Mapping[str, Any] | None = None,
    half: bool = False,
) -> ImportedModel:
    """Write a model to the folder `NAME/DIRECTION`, replacing an existing one.

    half: store the weights in float16; runs convert them to float32
    """
    from ulmfit_lab.models.checkpoint import Stamp, save_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)
    stored = copy.deepcopy(model).half() if half else model
    save_checkpoint(folder / MODEL, stored, Stamp("language-model", vocabulary.digest, folder.name))
    vocabulary.save(folder / WORDS)
    weights, file = weights_digest(stored.float()), file_digest(folder / MODEL)
    found = ImportedModel(folder, sizes, weights, vocabulary.digest, file, language, mark_capitals, card or {})
    facts = {name: value for name, value in asdict(found).items() if name != "folder"}
    with atomic_write(folder / FACTS) as temporary:
        temporary.write_text(json_text(facts, indent=1), encoding="utf-8")
    return found


def export_fastai(model: LanguageModel, vocabulary: Vocabulary, path: Path, *, mark_capitals: bool) -> list[Path]:
    """Write a language model as a fastai 2 file, and its words as a pickled list beside it.

    mark_capitals: whether its training text had `xxmaj`; if not, a filler is written in its place

    Raises ConfigError for a model of subwords and DataError if the file cannot be written.
    """
    from ulmfit_lab.models.fastai import UNMARKED, write_fastai

    if vocabulary.merges is not None:
        raise ConfigError("The model reads subwords, which fastai does not support; export a model of words.")
    path_of_words = path.with_name(f"{path.stem}_vocab.pkl")
    words = vocabulary.words if mark_capitals else (*UNMARKED, *vocabulary.words[len(UNMARKED) :])
    write_fastai(model, path)
    with write_output(path_of_words) as temporary:
        temporary.write_bytes(pickle.dumps(list(words), protocol=2))
    return [path, path_of_words]


def weights_digest(model: LanguageModel) -> str:
    """Return 64 hex digits that identify a model's weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def list_models(imports: Path | None) -> Iterator[ImportedModel]:
    """Yield the package's models, then the imported ones; raises DataError for a damaged one."""
    for root in (SHIPPED, imports):
        for facts in sorted(root.glob(f"*/*/{FACTS}")) if root else ():
            yield read_model_folder(facts.parent)


def find_import(config: RunConfig, imports: Path | None) -> ImportedModel:
    """Return the model that `imported` names: an imported one, else the package's.

    Raises ConfigError if it does not exist in this direction, or has another language, other sizes or other marks.
    """
    name, direction = config.imported, config.lm.direction
    roots = [root for root in (imports, SHIPPED) if root]
    known = {path.parent.parent.name for root in roots for path in root.glob(f"*/*/{FACTS}")}
    if name not in known:
        raise ConfigError(f"imported = {name!r}: no such model (see ulmfit-lab models). {suggest(name, known)}")
    folders = [root / name / direction for root in roots if (root / name / direction / FACTS).is_file()]
    if not folders:
        option = " --backwards" if config.lm.backwards else ""
        raise ConfigError(
            f"imported = {name!r} has no model that reads {direction}; import one: "
            f"ulmfit-lab import-fastai --name {name}{option} ..."
        )
    found = read_model_folder(folders[0])
    if found.language and found.language != config.language:
        raise ConfigError(
            f"imported = {name!r} is a model of language {found.language!r}, but this run's language is "
            f"{config.language!r}. Pretrain on other text (--imported '' --general.path TEXTS), or import a "
            "model of that language (ulmfit-lab import-fastai)."
        )
    differing = {path: value for path, value in found.required_config.items() if attrgetter(path)(config) != value}
    if differing:
        options = " ".join(model_option(path, value) for path, value in differing.items())
        what = "marks capitals differently" if set(differing) == {"mark_capitals"} else "has other sizes than this run"
        raise ConfigError(f"imported = {name!r} {what}; add {options}")
    return found


def model_option(path: str, value: Any) -> str:
    """Return the command line option that sets a field."""
    group, dot, field = path.replace("_", "-").rpartition(".")
    if isinstance(value, bool):
        return f"--{group}{dot}{'' if value else 'no-'}{field}"
    return f"--{group}{dot}{field} {value}"


def imported_stage(found: ImportedModel) -> Stage:
    """Return the stage of an imported model, which replaces pretraining."""
    words_key = {"imported": found.vocabulary}
    words = Stage("vocabulary", words_key, {}, _taking(found, WORDS))
    key = {"model": "imported", "weights": found.weights, "direction": found.direction}
    return Stage("pretrained", key, {"vocabulary": words}, _taking(found, MODEL, WORDS))


def _taking(found: ImportedModel, *names: str) -> Callable[[StageContext], dict[str, Any]]:
    """Return a computation that copies a model's files to a stage and converts its weights to float32."""

    def compute(work: StageContext) -> dict[str, Any]:
        from ulmfit_lab.models.checkpoint import convert_to_float32

        for name in names:
            shutil.copyfile(found.folder / name, work.folder / name)
        vocabulary = Vocabulary.load(work.folder / WORDS)
        torn = MODEL in names and file_digest(work.folder / MODEL) != found.file
        if torn or vocabulary.digest != found.vocabulary:
            raise MismatchError(f"{found.folder} has changed since its import; import it again.")
        if MODEL in names:
            convert_to_float32(work.folder / MODEL)
        return {"words": len(vocabulary), "digest": vocabulary.digest, "final": {}, "best": {}}

    return compute


def read_model_folder(folder: Path) -> ImportedModel:
    """Read `model.json` in a model's folder; raises DataError if it is missing or damaged."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return ImportedModel(folder, **{**facts, "sizes": Sizes(**facts["sizes"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / FACTS} is damaged; import the model again.") from error
