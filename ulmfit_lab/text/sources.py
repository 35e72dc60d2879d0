"""Where documents come from: the user's own files, or a named set.

`read_documents`, `source_digest` and `source_bytes` all start from `find_texts`, which looks up what a source
names: the user's files, or a named set in the data folder, an installed package or the Hugging Face hub.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from ulmfit_lab.config import Source
from ulmfit_lab.errors import ConfigError, DataError, nearest
from ulmfit_lab.text.formats import (
    Columns,
    Document,
    parquet_text_bytes,
    read_articles,
    read_csv,
    read_jsonl,
    read_lines,
    read_parquet,
    read_trec,
    read_whole,
)
from ulmfit_lab.text.named_sets import NAMED_SETS, Texts, find_named

__all__ = ["Document", "find_texts", "has_split", "read_documents", "source_bytes", "source_digest"]

READING = 1
"""Version of all readers together; raised when a change to one can change a document."""
