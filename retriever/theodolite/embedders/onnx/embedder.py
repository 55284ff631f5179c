"""Models of the sentence-transformers library on onnxruntime: faster on a CPU, and without torch once exported."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders import model_loading
from theodolite.embedders.batching import Progress, encode_in_batches
from theodolite.embedders.model_loading import Source
from theodolite.embedders.onnx import export_folder
from theodolite.embedders.onnx.session import Session
from theodolite.embedders.prompts import Prompts, chosen
from theodolite.embedders.validate_texts import as_list
from theodolite.errors import ConfigError, UnsupportedError
from theodolite.plugins import optional

Precision = Literal["float32", "int8"]
"""What the weights are stored in: as they are, or quantised, with what is computed in between."""


class OnnxEmbedder:
    """A sentence-transformers model, exported once and then computed by onnxruntime.

    The first use of a model exports it, which needs torch and takes seconds; the folder that this makes is found
    again by the content of the model's files, verified by its hashes, and run with onnxruntime and tokenizers
    alone. In float32 the vectors are those of SentenceTransformerEmbedder, but for rounding.

    Threads may share it; they compute at the same time.
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
    ) -> None:
        """
        Args:
            model: a name on the hub, a folder with a model, or a folder that this class has exported.
            precision: `int8` is smaller and faster, and finds a little less.
            batch_size: texts computed at once. None means 8: more of them do not fit into the caches of a CPU. In
                int8 it is always 1, because the texts of a batch share one scale: a vector would depend on its batch.
            threads: for one batch; None for one per core.
            revision: a commit, tag or branch of the model on the hub; `name@revision` says the same.
            query_prompt: what to put before each question; `""` for nothing, None for the model's own prompt
                or, for a model known to need one that its own configuration lacks, that one.
            document_prompt: the same for passages.
            cache: the folder for exported models; None for the system's place for caches.

        Warns:
            UserWarning: a prompt that the model is known to need is switched off.

        Raises:
            MissingExtraError: a package of the extra `onnx` is not installed.
            ConfigError: the model cannot be loaded, the cache not be written, or a setting does not fit.
            UnsupportedError: the model has parts that cannot be exported.
            CorruptionError: files of the model or of its export are damaged.
        """
        for what, number in (("batch_size", batch_size), ("threads", threads)):
            if number is not None and number < 1:
                raise ConfigError(f"{what} is {number}; it must be at least 1")
        if precision not in get_args(Precision):
            raise ConfigError(f"precision is {precision!r}; expected 'float32' or 'int8'", precision=precision)
        if precision == "int8" and batch_size not in (None, 1):
            raise ConfigError(
                f"batch_size is {batch_size}; int8 computes one text at a time, because vectors would depend on which "
                "texts share a batch. Leave batch_size out, or pass precision='float32'",
                batch_size=batch_size,
            )
        if not isinstance(model, (str, os.PathLike)):
            raise UnsupportedError(
                f"a loaded {type(model).__name__} is not exported. Save it, with save_pretrained(folder), and pass "
                "the folder"
            )
        self._folder = _exported(model, precision, revision, Path(cache) if cache else export_folder.cache_folder())
        self._settings = export_folder.read(self._folder, export_folder.Settings)
        if self._settings.precision != precision:
            stored = self._settings.precision
            raise ConfigError(f"{self._folder} holds an export in {stored}; pass precision={stored!r}", stored=stored)
        self._session = Session(self._folder, self._settings.inputs, threads)
        self._batch_size = batch_size or (1 if precision == "int8" else 8)
        self._prompts = chosen(
            self.name,
            (query_prompt, document_prompt),
            Prompts(self._settings.query_prompt, self._settings.document_prompt),
            complete=True,
            stacklevel=2,
        )

    @property
    def name(self) -> str:
        """What the model is called: its name on the hub, or that of its folder."""
        return self._settings.name

    @property
    def folder(self) -> Path:
        """Where the exported model is. It may be copied, and passed as the model."""
        return self._folder

    @property
    def prompts(self) -> Prompts:
        """What is put before each question and each passage."""
        return self._prompts

    @property
    def precision(self) -> str:
        """`float32` or `int8`."""
        return self._settings.precision

    @property
    def identity(self) -> dict[str, Any]:
        """What the vectors depend on, as JSON values: to be written down, and compared."""
        return {
            "name": self.name,
            "query_prompt": self._prompts.query,
            "document_prompt": self._prompts.document,
            "precision": self.precision,
            "dimension": self.dimension,
            "max_tokens": self.max_tokens,
        }

    @property
    def dimension(self) -> int:
        """The vectors' length."""
        return self._settings.dimension

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the model reads, prompt and special ones included; None without a limit."""
        return self._settings.max_tokens

    def encode_query(self, texts: Sequence[str], /, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Vectors of questions, shape (n, dimension), as the model gives them: not always of unit length.

        Args:
            texts: n questions.
            progress: called after each batch with the number of texts done in it.

        Raises:
            InputError: what is not a list of texts.
        """
        return self._encode(self._prompts.query, texts, progress)

    def encode_document(self, texts: Sequence[str], /, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Vectors of passages, as `encode_query`."""
        return self._encode(self._prompts.document, texts, progress)

    def count_tokens(self, texts: Sequence[str], /, *, query: bool = False) -> list[int]:
        """How many tokens each passage has, with the prompt and special tokens, before truncation.

        Args:
            texts: n passages.
            query: they are questions, and so get the prompt of those.
        """
        prompt = self._prompts.query if query else self._prompts.document
        return self._session.count([prompt + text for text in as_list(texts)])

    def __repr__(self) -> str:
        return f"<OnnxEmbedder {self.name} {self.precision}>"

    def _encode(self, prompt: str, texts: Sequence[str], progress: Progress | None) -> NDArray[np.float32]:
        given = [prompt + text for text in as_list(texts)]
        if not given:
            return np.zeros((0, self.dimension), np.float32)
        return encode_in_batches(given, self._batch_size, self._session.vectors, name=self.name, progress=progress)


def int8(model: str | os.PathLike[str] = "all-MiniLM-L6-v2") -> OnnxEmbedder:
    """A model in int8: what `embedder="onnx-int8:NAME"` means."""
    return OnnxEmbedder(model, precision="int8")


def _exported(model: str | os.PathLike[str], precision: str, revision: str | None, cache: Path) -> Path:
    """The folder with the export of a model, which is made if it is not there."""
    if export_folder.is_export(Path(model)):
        return Path(model)
    source = on_disk(model_loading.locate(model, revision))
    folder = export_folder.place(cache, source.name, precision, Path(source.place))
    if not export_folder.is_export(folder):
        from theodolite.embedders.onnx.export import export

        export_folder.write(folder, lambda made: export(source, made, precision))
    return folder


def on_disk(source: Source) -> Source:
    """The same model in a folder: what the hub has is downloaded, if it is not in the hub's own cache."""
    if source.local:
        return source
    with optional("onnx"):
        from huggingface_hub import snapshot_download
    name = source.place if "/" in source.place else f"sentence-transformers/{source.place}"
    files = export_folder.source_patterns()
    for known in (True, False):
        try:
            folder = snapshot_download(
                name,
                revision=source.revision,
                local_files_only=known,
                allow_patterns=files[0],
                ignore_patterns=files[1],
            )
            export_folder.source_files(Path(folder))  # the cache may hold a part of the model only
        except Exception as error:  # the hub's client and those beneath it have errors of their own
            if not known:
                raise ConfigError(
                    f"the model {source.name!r} cannot be had from the hub. {type(error).__name__}: {error}",
                    model=source.name,
                ) from error
        else:
            break
    return source._replace(place=folder, local=True)
