"""The embedder on onnxruntime: faster on a CPU than torch, and a tenth of its size."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders import hub
from theodolite.embedders.batching import Progress, encode_in_batches
from theodolite.embedders.hub import UNLIMITED, Source, UnreachableError
from theodolite.embedders.onnx import export_folder, model_folder
from theodolite.embedders.onnx.session import Session
from theodolite.embedders.prompts import Prompts, choose_prompts
from theodolite.embedders.validate_texts import as_list
from theodolite.errors import ConfigError, UnsupportedError
from theodolite.plugins import installed
from theodolite.types import EmbedderSpec

Precision = Literal["float32", "int8"]
"""The weights as they are, or quantized together with the activations."""


class OnnxEmbedder:
    """A sentence-transformers model, run by onnxruntime without torch.

    The graph is the ONNX file that the model's repository or folder holds. If it holds none, or in int8, the model is
    exported once, which needs torch and takes seconds; later uses find the export by the content of the model's files.
    Every file is verified before it is used. In float32 the vectors equal those of SentenceTransformerEmbedder except
    for rounding.

    Threads may share it and compute at the same time.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "all-MiniLM-L6-v2",
        *,
        precision: Precision = "float32",
        batch_size: int | None = None,
        threads: int | None = None,
        revision: str | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        cache: str | os.PathLike[str] | None = None,
        export: bool = True,
    ) -> None:
        """
        Args:
            model: a name on the hub, a model's folder, or the folder of an export.
            precision: `int8` is smaller and faster, and finds slightly less.
            batch_size: texts in a batch. Default: 8, because larger batches exceed the caches of a CPU. It is always 1
                in int8, where the texts of a batch share one scale and a vector would depend on the other texts.
            threads: CPU threads for a batch. Default: one per core.
            revision: a commit, tag or branch of the model on the hub; the same as `name@revision`.
            query_prompt: put before each query; `""` for none. Default: the prompt in the model's configuration, else
                the one that the model is known to be trained with.
            document_prompt: the same for documents.
            cache: the folder for exported models. Default: the operating system's folder for caches.
            export: whether to export a model that has no ONNX file.

        Warns:
            UserWarning: a prompt that the model was trained with is switched off.

        Raises:
            MissingExtraError: a package of the extra `embed`, or for an export of `onnx`, is not installed.
            ConfigError: the model cannot be loaded, the cache cannot be written, or a setting is invalid.
            UnsupportedError: the model has parts that do not run on onnxruntime, or no ONNX file and is not exported.
            CorruptionError: files of the model or of its export are damaged.
        """
        for setting, number in (("batch_size", batch_size), ("threads", threads)):
            if number is not None and number < 1:
                raise ConfigError(f"{setting} is {number}; it must be at least 1")
        if precision not in get_args(Precision):
            raise ConfigError(f"precision is {precision!r}; expected 'float32' or 'int8'", precision=precision)
        if precision == "int8" and batch_size not in (None, 1):
            raise ConfigError(
                f"batch_size is {batch_size}; int8 computes one text at a time, because a vector would depend on the "
                "other texts of its batch. Leave out batch_size, or pass precision='float32'",
                batch_size=batch_size,
            )
        if not isinstance(model, (str, os.PathLike)):
            raise UnsupportedError(
                f"a loaded {type(model).__name__} cannot be exported. Save it with save_pretrained(folder) and pass "
                "the folder"
            )
        place = Path(cache) if cache else export_folder.cache_folder()
        model = Path(model) if export_folder.is_export(Path(model)) else model
        source = hub.locate(model, revision)
        self._name, self._folder = source.name, _find(source, precision, place, export)
        if export_folder.is_export(self._folder):
            settings = export_folder.read(self._folder, export_folder.Settings)
            self._name, stored = settings.name, settings.precision
        else:
            stored = "float32"
        if stored != precision:
            raise ConfigError(f"{self._folder} is an export in {stored}; pass precision={stored!r}", stored=stored)
        found = model_folder.read(self._folder)
        if precision == "float32":
            model_folder.check_float32(found.graph)
        self._precision, self._max_tokens = precision, found.max_tokens
        self._session = Session(found, threads)
        self._dimension: int | None = None
        recorded = hub.recorded(source)
        name = f"onnx-int8:{recorded.name}" if precision == "int8" else recorded.name
        self.spec = replace(recorded, name=name, query_prompt=query_prompt, document_prompt=document_prompt)
        self._batch_size = batch_size or (1 if precision == "int8" else 8)
        self._prompts = choose_prompts(
            self.name,
            (query_prompt, document_prompt),
            found.prompts,
            complete=True,
            stacklevel=2,
        )

    spec: EmbedderSpec
    """The record that a collection keeps, to make the embedder again. torch gives the same vectors by the same name."""

    @property
    def name(self) -> str:
        """The model's name on the hub, or the name of its folder."""
        return self._name

    @property
    def folder(self) -> Path:
        """The folder of the model. A copy of it can be passed as the model."""
        return self._folder

    @property
    def prompts(self) -> Prompts:
        """The prompts put before each query and each document."""
        return self._prompts

    @property
    def symmetric(self) -> bool:
        """Whether queries and documents have the same vectors, because their prompts are equal."""
        return self._prompts.query == self._prompts.document

    @property
    def precision(self) -> str:
        """`float32` or `int8`."""
        return self._precision

    @property
    def dimension(self) -> int:
        """Number of dimensions of the vectors."""
        if self._dimension is None:
            self._dimension = self._session.vectors(["dimension"]).shape[1]
        return self._dimension

    @property
    def max_tokens(self) -> int | None:
        """Maximum number of tokens of a text, prompt and special tokens included; None for no limit."""
        return self._max_tokens

    def encode_query(self, texts: Sequence[str], /, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return the vectors of queries, (n, dimension), as the model returns them: not always of unit length.

        Args:
            texts: n queries.
            progress: called after each batch with the number of texts in it.

        Raises:
            InputError: `texts` is not a list of strings.
        """
        return self._encode(self._prompts.query, texts, progress)

    def encode_document(self, texts: Sequence[str], /, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return the vectors of documents, like `encode_query`."""
        return self._encode(self._prompts.document, texts, progress)

    def count_tokens(self, texts: Sequence[str], /, *, query: bool = False) -> list[int]:
        """Count the tokens of each document before truncation, prompt and special tokens included.

        Args:
            texts: n documents.
            query: whether the texts are queries, which get the queries' prompt.
        """
        prompt = self._prompts.query if query else self._prompts.document
        return self._session.count([prompt + text for text in as_list(texts)])

    def __repr__(self) -> str:
        return f"<OnnxEmbedder {self.name} {self.precision}>"

    def _encode(self, prompt: str, texts: Sequence[str], progress: Progress | None) -> NDArray[np.float32]:
        given = [prompt + text for text in as_list(texts)]
        if not given:
            return np.zeros((0, self.dimension), np.float32)
        size = self._batch_size
        lengths = None
        if len(given) > 1 and size > 1:
            limit = self._max_tokens or UNLIMITED
            lengths = [min(count, limit) for count in self._session.count(given)]
        return encode_in_batches(given, size, self._session.vectors, name=self.name, progress=progress, lengths=lengths)


def int8(model: str | os.PathLike[str] = "all-MiniLM-L6-v2", **settings: Any) -> OnnxEmbedder:
    """Make the embedder of `embedder="onnx-int8:NAME"`."""
    return OnnxEmbedder(model, precision="int8", **settings)


def _find(source: Source, precision: str, cache: Path, export: bool) -> Path:
    """Return the folder of a model's ONNX graph. Download or export the model if necessary."""
    if source.local and export_folder.is_export(Path(source.place)):
        return Path(source.place)
    if precision == "int8":
        return _export(hub.download(source), precision, cache)
    if source.local:
        place = Path(source.place)
        if model_folder.graph_of(name for name in model_folder.GRAPHS if (place / name).exists()):
            return place
        exported = export_folder.find(cache, source.name, precision, place)
        if exported is not None:
            return exported
        if not source.minilm:
            return _export(source, precision, cache, export)
        # The installed package holds all-MiniLM-L6-v2 without a graph. What needs no network comes first.
        published = source._replace(place=source.repository, local=False)
        found = hub.cached(published, partial(model_folder.all_files, published.name))
        if found is None and installed("sentence_transformers") and (not export or installed("onnx")):
            found = _export(source, precision, cache, export)
        return found or _published(published)
    try:
        return _published(source)
    except (UnreachableError, UnsupportedError) as error:
        weights = hub.cached(source, hub.weights)
        exported = weights and export_folder.find(cache, source.name, precision, weights)
        if exported is not None:
            return exported
        if not export or (weights is None and isinstance(error, UnreachableError)):
            raise
    return _export(hub.download(source), precision, cache)


def _published(source: Source) -> Path:
    """Return the folder of a model on the hub whose repository holds an ONNX graph."""
    everything = partial(model_folder.all_files, source.name)
    found = hub.cached(source, everything)
    if found is None:
        # The settings first: they say whether the graph is of any use.
        settings = hub.fetch(source, partial(model_folder.settings_files, source.name), needed=model_folder.SETTINGS)
        model_folder.read_parts(settings)
        found = hub.fetch(source, everything, needed=model_folder.SETTINGS)
    return found


def _export(source: Source, precision: str, cache: Path, export: bool = True) -> Path:
    """Return the folder of a model's export, exporting the model if there is none."""
    if not export:
        raise UnsupportedError(
            f"the model {source.name!r} has no ONNX file. Pass 'onnx:NAME' to export it with the extra onnx"
        )
    folder = export_folder.folder_for(cache, source.name, precision, Path(source.place))
    if not export_folder.is_export(folder):
        from theodolite.embedders.onnx.export import export as write

        export_folder.write(folder, lambda new: write(source, new, precision))
    return folder
