"""The engine contract: opening and creating a collection by its location."""

from os import PathLike

import numpy as np

from theodolite.engines.registry import engine_for
from theodolite.errors import CollectionNotFoundError, ConfigError, MetricMismatchError
from theodolite.protocols import Engine, Request
from theodolite.settings import CollectionSettings
from theodolite.testing.checks import check
from theodolite.testing.reference import EngineUnderTest
from theodolite.types import Document, EmbedderSpec, Vectors
from theodolite.vectors.prepare import prepare

FIRST = EmbedderSpec("plug-in:first", "0a1b", "float32", "query: ", "")
SECOND = EmbedderSpec("Second", by_name=False)


class OpeningContract(EngineUnderTest):
    """Tests of the class method `open`, for engines that override `location`."""

    def location(self) -> str | PathLike[str] | None:
        """Return a new location, without a collection; None leaves out the tests of opening."""
        return None

    def test_a_missing_collection_is_not_found(self) -> None:
        location = self.location()
        if location is None:
            return
        for create, read_only in ((False, False), (False, True), (True, True)):
            try:
                self._open(location, create=create, read_only=read_only).close()
            except CollectionNotFoundError:
                continue
            raise AssertionError(f"there is no collection, and open(create={create}, read_only={read_only}) finds one")

    def test_the_settings_of_the_first_hold(self) -> None:
        location = self.location()
        if location is None:
            return
        self._open(location, CollectionSettings("dot")).close()
        again = self._open(location, create=False)
        check(again.space.metric == "dot", f"the collection has the metric {again.space.metric} now, not dot")
        again.close()
        try:
            self._open(location, CollectionSettings("l2")).close()
        except MetricMismatchError:
            return
        raise AssertionError("open takes another metric than the collection's")

    def test_k1_and_b_hold(self) -> None:
        """Check that k1 and b are pinned and rank words, or that an engine refuses them."""
        location = self.location()
        if location is None:
            return
        try:
            engine = self._open(location, CollectionSettings(k1=0.0, b=1.0))
        except ConfigError:
            return
        self._add(engine, "short", "lantern")
        self._add(engine, "again", "lantern lantern lantern velvet")
        self._add(engine, "long", "lantern velvet velvet velvet")
        self._check_equal(engine)
        engine.close()
        again = self._open(location, create=False)
        self._check_equal(again)
        again.close()
        try:
            self._open(location, CollectionSettings(k1=1.5)).close()
        except ConfigError:
            return
        raise AssertionError("open takes another k1 than the collection's")

    def test_the_embedder_is_recorded(self) -> None:
        location = self.location()
        if location is None:
            return
        engine = self._open(location, CollectionSettings(embedder=FIRST))
        if not hasattr(engine, "embedder"):
            engine.close()
            return
        check(engine.embedder == FIRST, f"a new collection records {engine.embedder}, not {FIRST}")
        check(engine.info().get("embedder") == FIRST.name, "info() does not name the recorded embedder")
        self._add(engine, "a")
        engine.close()
        other = self._open(location, CollectionSettings(embedder=SECOND))
        self._add(other, "b")
        check(_recorded(other) == FIRST, "a further batch changes the record of the first one's embedder")
        other.delete(["a", "b"])
        self._add(other, "c")
        check(_recorded(other) == SECOND, "documents in an empty collection do not change the record of its embedder")
        other.close()
        again = self._open(location)
        check(_recorded(again) == SECOND, "the record of the embedder is lost when the collection is opened again")
        again.clear()
        self._add(again, "d")
        check(_recorded(again) == SECOND, "a batch without an embedder changes the record")
        again.close()

    def _open(
        self,
        location: str | PathLike[str],
        settings: CollectionSettings | None = None,
        *,
        create: bool = True,
        read_only: bool = False,
    ) -> Engine:
        return engine_for(location, {}).open(settings or CollectionSettings(), create=create, read_only=read_only)

    def _add(self, engine: Engine, name: str, text: str = "text") -> None:
        vectors, space = prepare(np.ones((1, 3), np.float32), engine.space)
        engine.add([Document(text, {}, name)], vectors, space)

    def _check_equal(self, engine: Engine) -> None:
        """Check that neither the repetition of a word nor the length of a text counts: k1 is 0."""
        if "lexical" in self.lacks:
            return
        empty = Vectors(np.empty((1, 0), np.float32))
        (answer,) = engine.search(Request(empty, 3, texts=("lantern",), mode="lexical"))
        scores = set(answer.lexical)
        check(len(answer.documents) == 3, f"{len(answer.documents)} of 3 documents hold the word 'lantern'")
        check(len(scores) == 1, f"with k1=0, documents with a word have the scores {scores}, not one")


def _recorded(engine: Engine) -> EmbedderSpec | None:
    spec: EmbedderSpec | None = getattr(engine, "embedder", None)
    return spec
