"""Sources are identified by their path: moves are followed, other folders of the same name are rejected."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.syncing import Embedder, counts, paragraphs, stored

from theodolite import ConfigError, CorruptionError, Document, EmbedderOptions, InputError, Retriever
from theodolite.files.readers import Options
from theodolite.files.sync import Relocated, sync
from theodolite.files.sync.sources import same, way_below
from theodolite.guards.notes import keep_note, read_note


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def kb(embedder: Embedder, tmp_path: Path) -> Iterator[Retriever]:
    with Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(embedder, canary="off"), create=True) as opened:
        yield opened


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return fill(tmp_path / "a" / "docs")


def fill(folder: Path, *names: str) -> Path:
    for name in names or ("a.txt", "b.txt", "sub/c.txt", "sub/d.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"File {name} says this.\n\nAnd {name} says that, which is more.")
    return folder


def forget_sources(kb: Retriever) -> None:
    """As collections were before sources were recorded."""
    keep_note(kb._engine, "sources", None)


def refused(kb: Retriever, *paths: Path, remove: bool = True, remove_all: bool = False) -> str:
    """The message of a refusal that changes nothing."""
    before, note = list(kb.documents()), read_note(kb._engine, "sources")
    with pytest.raises(ConfigError) as error:
        sync(kb, paths, remove=remove, remove_all=remove_all)
    assert list(kb.documents()) == before
    assert read_note(kb._engine, "sources") == note
    return str(error.value)


def test_another_folder_of_the_same_name(kb: Retriever, docs: Path, tmp_path: Path) -> None:
    sync(kb, [docs])
    other = fill(tmp_path / "b" / "docs", "a.txt", "x.txt")
    for remove, remove_all in ((True, False), (False, False), (True, True)):
        message = refused(kb, other, remove=remove, remove_all=remove_all)
        assert f"{other} is not the folder that 'docs' was indexed from: {docs} is still there, with 4 files" in message
        assert "--source" in message
    shutil.copytree(docs, tmp_path / "c" / "docs")  # the same content, and the first is still there
    refused(kb, tmp_path / "c" / "docs")
    before = stored(kb)
    assert counts(sync(kb, [other], source="other")) == {"added": 2, "moved": 2}
    assert {name for name in stored(kb) if name not in before} == {
        *("other/a.txt", "other/a.txt#2", "other/x.txt", "other/x.txt#2")
    }
    assert sync(kb, [docs, other]).unchanged == len(kb)


def test_a_folder_that_has_moved_is_followed(kb: Retriever, embedder: Embedder, docs: Path, tmp_path: Path) -> None:
    sync(kb, [docs])
    before, embedder.asked = stored(kb), []
    there = tmp_path / "elsewhere" / "docs"
    there.parent.mkdir()
    docs.rename(there)
    (there / "a.txt").write_text(paragraphs("new"))
    report = sync(kb, [there])
    assert report.relocated == (Relocated("docs", str(docs), str(there)),)
    assert embedder.asked == [paragraphs("new")]
    assert stored(kb).keys() == before.keys() - {"docs/a.txt#2"} | {"docs/a.txt"}
    assert sync(kb, [there]).relocated == ()
    fill(docs)  # something is at the old place again
    refused(kb, docs)


def test_a_mount_point_that_is_left_empty_counts_as_gone(kb: Retriever, docs: Path, tmp_path: Path) -> None:
    sync(kb, [docs])
    shutil.copytree(docs, tmp_path / "mnt" / "docs")
    shutil.rmtree(docs)
    docs.mkdir()
    assert sync(kb, [tmp_path / "mnt" / "docs"]).relocated


def test_a_folder_that_is_gone_and_not_found_again(kb: Retriever, docs: Path, tmp_path: Path) -> None:
    sync(kb, [docs])
    shutil.rmtree(docs)
    other = fill(tmp_path / "b" / "docs", "a.txt", "x.txt", "y.txt")  # one of four is the same
    message = refused(kb, other)
    assert f"{docs} is gone, and 1 of its 4 files are found here; at least half are expected" in message
    fill(other, "b.txt")
    assert sync(kb, [other]).relocated
    assert {document.metadata["path"] for document in kb.documents()} == {f"docs/{n}.txt" for n in "abxy"}


def test_a_collection_that_travels_with_its_sources(embedder: Embedder, tmp_path: Path) -> None:
    """By the way from one to the other, whatever has changed meanwhile."""
    project = tmp_path / "project"
    docs = fill(project / "docs")
    with Retriever.open(project / "kb", embedder=EmbedderOptions(embedder, canary="off")) as kb:
        sync(kb, [docs])
    moved = project.rename(tmp_path / "moved")
    fill(moved / "docs", "new.txt")
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        (moved / "docs" / name).write_text(f"Wholly other in {name}.")
    with Retriever.open(moved / "kb", embedder=EmbedderOptions(embedder, canary="off")) as kb:
        assert sync(kb, [moved / "docs"]).relocated == (Relocated("docs", str(docs), str(moved / "docs")),)
        assert len({document.metadata["path"] for document in kb.documents()}) == 5
    # Neither the place nor anything in it is the same.
    shutil.copytree(moved / "kb", tmp_path / "stranger" / "kb")
    fill(tmp_path / "stranger" / "docs", "x.txt", "y.txt")
    hidden = (moved / "docs").rename(moved / "hidden")
    with Retriever.open(tmp_path / "stranger" / "kb", embedder=EmbedderOptions(embedder, canary="off")) as kb:
        assert "0 of its 5 files are found here" in refused(kb, tmp_path / "stranger" / "docs")
    hidden.rename(moved / "docs")
    # A second checkout beside the first: the same way, and both are there.
    shutil.copytree(moved, tmp_path / "second")
    with Retriever.open(tmp_path / "second" / "kb", embedder=EmbedderOptions(embedder, canary="off")) as kb:
        assert sync(kb, [tmp_path / "second" / "docs"]).relocated
    shutil.rmtree(tmp_path / "second" / "docs")
    fill(tmp_path / "second" / "docs", "x.txt", "y.txt")
    shutil.copytree(tmp_path / "second", tmp_path / "third")
    with Retriever.open(tmp_path / "third" / "kb", embedder=EmbedderOptions(embedder, canary="off")) as kb:
        refused(kb, tmp_path / "third" / "docs")


def test_a_renamed_folder_keeps_its_vectors(kb: Retriever, embedder: Embedder, docs: Path) -> None:
    sync(kb, [docs])
    size, embedder.asked = len(kb), []
    guide = docs.rename(docs.with_name("guide"))
    (guide / "new.txt").write_text(paragraphs("new"))
    (guide / "b.txt").write_bytes(b"\0\1\2\3 now binary")
    report = sync(kb, [guide])
    assert embedder.asked == [paragraphs("new")]
    assert report.relocated == (Relocated("docs", str(docs), str(guide)),)
    kept = [name for name in stored(kb) if name.startswith("docs/")]
    assert {name.partition("#")[0] for name in kept} == {"docs/b.txt"}  # which cannot be read now
    assert (report.removed, report.moved) == (size - len(kept), size - len(kept))
    fill(guide, "b.txt")
    sync(kb, [guide])
    assert not [name for name in stored(kb) if name.startswith("docs/")]
    with Retriever.open(embedder=EmbedderOptions(Embedder(), canary="off")) as fresh:
        sync(fresh, [guide])
        assert stored(kb) == stored(fresh)
    assert list(json.loads(read_note(kb._engine, "sources") or "")) == ["guide"]


def test_a_copy_under_another_name_is_another_source(kb: Retriever, embedder: Embedder, docs: Path) -> None:
    sync(kb, [docs])
    size, embedder.asked = len(kb), []
    shutil.copytree(docs, docs.with_name("guide"))
    assert counts(sync(kb, [docs.with_name("guide")])) == {"moved": size}
    assert (len(kb), embedder.asked) == (2 * size, [])
    assert sync(kb, [docs]).unchanged == size
    refused(kb, fill(docs.parent.parent / "x" / "guide"))


def test_a_part_of_a_source(kb: Retriever, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(kb, [docs])
    before = stored(kb)
    for part in (docs / "sub", docs / "sub" / "c.txt", docs / "a.txt"):
        report = sync(kb, [part])
        way = f"docs/{part.relative_to(docs).as_posix()}"
        assert report.unchanged == report.passages == len([name for name in before if name.startswith(way)])
        assert stored(kb) == before
    for name in ("a.txt", "sub/c.txt"):
        (docs / name).unlink()
    fill(docs, "sub/e.txt", "f.txt")
    monkeypatch.chdir(docs / "sub")
    report = sync(kb, ["."])
    assert report.removed == len([name for name in before if "sub/c.txt" in name])
    paths = {document.metadata["path"] for document in kb.documents()}
    assert paths == {"docs/a.txt", "docs/b.txt", "docs/sub/d.txt", "docs/sub/e.txt"}
    sync(kb, [docs])
    assert {document.metadata["path"] for document in kb.documents()} == paths - {"docs/a.txt"} | {"docs/f.txt"}


def test_a_folder_above_a_source(kb: Retriever, docs: Path) -> None:
    """Known sources below it keep their names."""
    sync(kb, [docs])
    sync(kb, [docs.parent / "docs" / "sub"], source="section")
    notes = fill(docs.parent, "notes.txt")
    before = stored(kb)
    report = sync(kb, [notes])
    assert report.unchanged == len({name for name in before if not name.startswith("docs/sub/")})
    names = {document.metadata["path"] for document in kb.documents()}
    assert names == {"docs/a.txt", "docs/b.txt", "section/c.txt", "section/d.txt", "a/notes.txt"}
    assert sync(kb, [docs]).unchanged == len(kb) - len([name for name in stored(kb) if name.startswith("a/")])
    shutil.rmtree(docs)
    sync(kb, [notes])
    assert {document.metadata["path"] for document in kb.documents()} == {"a/notes.txt"}


def test_a_source_renamed_below_a_folder(kb: Retriever, embedder: Embedder, docs: Path) -> None:
    sync(kb, [docs])
    embedder.asked = []
    docs.rename(docs.with_name("guide"))
    sync(kb, [docs.parent])
    assert embedder.asked == []
    assert {document.metadata["path"].rpartition("/")[0] for document in kb.documents()} == {"a/guide", "a/guide/sub"}


def test_a_single_file(kb: Retriever, embedder: Embedder, tmp_path: Path) -> None:
    first = fill(tmp_path / "a", "notes.txt") / "notes.txt"
    sync(kb, [first])
    second = fill(tmp_path / "b", "notes.txt") / "notes.txt"
    second.write_text("Quite other notes.")
    assert str(first) in refused(kb, second)
    sync(kb, [second], source="b-notes")
    assert sorted(stored(kb))[0] == "b-notes"
    before, embedder.asked = stored(kb), []
    first.rename(first.with_name("moved.txt"))
    sync(kb, [first.with_name("moved.txt")])
    assert embedder.asked == []
    assert {name.partition("#")[0] for name in stored(kb)} == {"b-notes", "moved.txt"}
    assert len(stored(kb)) == len(before)


def test_ways_of_writing_a_path(kb: Retriever, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(kb, [docs])
    size = len(kb)
    (tmp_path / "link").symlink_to(docs)
    (tmp_path / "up").symlink_to(docs.parent)
    monkeypatch.chdir(docs)
    ways: list[str | Path] = [".", "../docs", f"{docs}/", f"{docs}//", f"{docs}/sub/..", os.path.relpath(docs)]
    ways += [tmp_path / "link", tmp_path / "up" / "docs", f"{tmp_path}/up/../a/docs"]
    for way in ways:
        assert sync(kb, [way]).unchanged == size, way
    monkeypatch.chdir(docs.parent.parent)
    assert sync(kb, ["a/docs"]).unchanged == size
    assert sync(kb, ["link/sub"]).files == 2
    assert sync(kb, [docs, tmp_path / "link"]).unchanged == size  # once
    assert len(kb) == size
    with pytest.raises(ConfigError, match="lies in"):
        sync(kb, [docs, tmp_path / "link" / "sub"])


def test_a_link_that_leads_elsewhere_now_is_the_same_source(kb: Retriever, embedder: Embedder, tmp_path: Path) -> None:
    for release in ("1", "2"):
        fill(tmp_path / release)
    (tmp_path / "2" / "b.txt").unlink()
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "1")
    sync(kb, [current])
    current.unlink()
    current.symlink_to(tmp_path / "2")
    embedder.asked = []
    assert sync(kb, [current]).removed > 0
    assert embedder.asked == []
    assert {document.metadata["path"] for document in kb.documents()} == {
        f"current/{name}" for name in ("a.txt", "sub/c.txt", "sub/d.txt")
    }


def test_names_are_what_is_the_same_where_letters_of_either_case_are(tmp_path: Path) -> None:
    """On such a file system both spellings lead to one folder, as two links do here."""
    folder = fill(tmp_path / "Docs")
    (tmp_path / "docs").symlink_to(folder)
    assert same(str(tmp_path / "docs"), str(folder))
    assert way_below(folder / "sub", str(tmp_path / "docs")) == "sub"
    assert way_below(tmp_path / "docs" / "sub" / "c.txt", str(folder)) == "sub/c.txt"
    assert way_below(folder, str(folder)) is None
    assert way_below(folder / ".git" / "x", str(folder)) is None
    assert not same("C:\\docs", str(folder))
    assert not same(str(tmp_path / "nothing"), str(folder))


def test_a_root_of_another_operating_system_is_gone(kb: Retriever, docs: Path) -> None:
    sync(kb, [docs])
    keep_note(kb._engine, "sources", json.dumps({"docs": {"root": "C:\\Users\\me\\docs", "alias": None}}))
    assert sync(kb, [docs]).relocated == (Relocated("docs", "C:\\Users\\me\\docs", str(docs)),)


def test_a_collection_made_before_sources_were_recorded(kb: Retriever, docs: Path, tmp_path: Path) -> None:
    sync(kb, [docs])
    size = len(kb)
    other = fill(tmp_path / "b" / "docs", "a.txt", "x.txt")
    forget_sources(kb)
    message = refused(kb, other)
    assert "of the 4 files stored under that name, 1 are found there" in message
    assert sync(kb, [docs / "sub"]).files == 2  # recognized as a part
    assert sync(kb, [docs]).unchanged == size
    refused(kb, other)
    forget_sources(kb)
    for name in ("a.txt", "b.txt"):
        (docs / name).write_text("All of it is new.")
    assert sync(kb, [docs]).replaced == 2
    forget_sources(kb)
    (tmp_path / "link").symlink_to(docs)
    assert sync(kb, [tmp_path / "link"]).unchanged == len(kb)


def test_a_name_that_is_fixed(kb: Retriever, embedder: Embedder, docs: Path, tmp_path: Path) -> None:
    sync(kb, [docs], source="handbook")
    assert all(name.startswith("handbook/") for name in stored(kb))
    assert sync(kb, [docs]).unchanged == sync(kb, [docs / "sub"]).unchanged * 2 == len(kb)
    other = fill(tmp_path / "release-2" / "html", "a.txt", "new.txt")
    report = sync(kb, [other], source="handbook")
    assert report.relocated == (Relocated("handbook", str(docs), str(other)),)
    assert {document.metadata["path"] for document in kb.documents()} == {"handbook/a.txt", "handbook/new.txt"}
    embedder.asked = []
    sync(kb, [other], source="manual")  # another name for the same folder
    assert embedder.asked == []
    assert {document.metadata["path"] for document in kb.documents()} == {"manual/a.txt", "manual/new.txt"}
    with pytest.raises(ConfigError, match="already stored as 'manual'"):
        sync(kb, [other], source="x", remove=False)
    for wrong in ("", " ", "a/b", "a\0", "\udcff"):
        with pytest.raises(InputError, match="source is"):
            sync(kb, [other], source=wrong)
    with pytest.raises(InputError, match="can name one folder"):
        sync(kb, [docs, other], source="x")


def test_two_of_one_name_are_fine_once_they_have_names(kb: Retriever, docs: Path, tmp_path: Path) -> None:
    other = fill(tmp_path / "b" / "docs")
    assert "have the same name, 'docs'" in refused(kb, docs, other)
    sync(kb, [other], source="other")
    assert sync(kb, [docs, other]).files == 8


@pytest.mark.parametrize("left", ["nothing", "a picture", "a folder"])
def test_a_folder_that_is_suddenly_empty(kb: Retriever, docs: Path, left: str) -> None:
    sync(kb, [docs])
    shutil.rmtree(docs)
    with pytest.raises(InputError, match="does not exist"):
        sync(kb, [docs])
    docs.mkdir()
    match left:
        case "a picture":
            (docs / "x.jpg").write_bytes(b"\xff")
        case "a folder":
            (docs / "lost+found").mkdir()
    message = refused(kb, docs)
    assert f"{docs} has no files left, but 4 are stored from it, first docs/a.txt" in message
    assert sync(kb, [docs], remove=False).removed == 0
    assert sync(kb, [docs], remove_all=True).removed > 0
    assert len(kb) == 0
    sync(kb, [docs])  # there is nothing to lose


def test_an_empty_folder_of_a_new_collection(kb: Retriever, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert sync(kb, [tmp_path / "empty"]).files == 0


def test_an_empty_part_is_refused_and_an_empty_folder_in_a_whole_is_not(kb: Retriever, docs: Path) -> None:
    sync(kb, [docs])
    for name in ("c.txt", "d.txt"):
        (docs / "sub" / name).unlink()
    refused(kb, docs / "sub")
    assert sync(kb, [docs]).removed > 0


def test_everything_replaced_in_the_same_place(kb: Retriever, docs: Path) -> None:
    sync(kb, [docs])
    shutil.rmtree(docs)
    fill(docs, "x.txt")
    sync(kb, [docs])
    assert {document.metadata["path"] for document in kb.documents()} == {"docs/x.txt"}


def test_an_id_stays_with_the_file_that_has_it(kb: Retriever, tmp_path: Path) -> None:
    """Records of two tables often have the same numbers."""
    faq, goods = tmp_path / "faq.csv", tmp_path / "goods.csv"
    faq.write_text("id,text\n1,Refunds take five days.\n2,We open at nine.\n")
    goods.write_text("id,text\n1,A stove.\n3,A lamp.\n")
    sync(kb, [faq])
    for _ in range(2):
        report = sync(kb, [goods])
        (item,) = report.skipped
        assert item.source == "goods.csv"
        assert item.reason.startswith("the id '1' belongs to faq.csv, which is still there; --map FILE:id=FIELD")
    assert stored(kb) == {"1": "Refunds take five days.", "2": "We open at nine.", "3": "A lamp."}
    sync(kb, [goods], remove=False)  # add: the same id replaces
    assert stored(kb)["1"] == "A stove."
    sync(kb, [faq, goods])
    faq.unlink()
    sync(kb, [goods])
    assert stored(kb)["1"] == "A stove."


def test_what_links_lead_to_outside_is_kept(kb: Retriever, docs: Path, tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside")
    (docs / "notes.txt").symlink_to(outside / "a.txt")
    (docs / "more").symlink_to(outside)
    report = sync(kb, [docs])
    assert [item.source for item in report.skipped] == ["docs/more", "docs/notes.txt"]
    assert not any("notes" in name or "more" in name for name in stored(kb))
    sync(kb, [docs], options=Options(follow_links=True))
    before = stored(kb)
    assert {"docs/notes.txt", "docs/more/a.txt"} <= before.keys()
    report = sync(kb, [docs])
    assert (report.removed, stored(kb)) == (0, before)
    assert report.kept == len([name for name in before if "notes" in name or "more" in name])


def test_partitions_have_sources_of_their_own(embedder: Embedder, docs: Path, tmp_path: Path) -> None:
    other = fill(tmp_path / "b" / "docs", "x.txt")
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off"), partition="tenant") as kb:
        acme, bolt = kb.scoped(tenant="acme"), kb.scoped(tenant="bolt")
        sync(acme, [docs])
        sync(bolt, [other])
        with pytest.raises(ConfigError, match="is still there"):
            sync(acme, [other])
        with pytest.raises(ConfigError, match="is still there"):
            sync(bolt, [docs])
        assert sync(acme, [docs]).unchanged == len(acme)
        with pytest.raises(InputError, match="partitioned by"):
            sync(kb, [docs])
        assert read_note(kb._engine, "sources") is None


@pytest.fixture
def readable_by_some() -> Iterator[Path]:
    """A folder of a user who may not read everything, as root may; the test runs as that user."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    folder = Path(tempfile.mkdtemp())
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    for path in folder.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_what_may_not_be_read_is_kept(readable_by_some: Path) -> None:
    docs = fill(readable_by_some / "docs")
    with Retriever.open(embedder=EmbedderOptions(Embedder(), canary="off")) as kb:
        sync(kb, [docs])
        before = stored(kb)
        (docs / "sub").chmod(0)
        (docs / "b.txt").chmod(0)
        (docs / "a.txt").unlink()
        report = sync(kb, [docs])
        assert {item.source: item.reason for item in report.skipped} == {
            "docs/sub": "the folder cannot be read: Permission denied",
            "docs/b.txt": "cannot be read: Permission denied",
        }
        assert (report.removed, report.kept) == (2, 6)
        assert stored(kb).keys() == {name for name in before if "a.txt" not in name}
        docs.chmod(0)
        report = sync(kb, [docs])
        assert (report.removed, report.kept, [item.source for item in report.skipped]) == (0, 6, ["docs"])
        docs.chmod(0o700)
        (docs / "sub").chmod(0o700)
        other = docs.with_name("other")
        docs.rename(other)
        (other / "sub").chmod(0)
        sync(kb, [other])
        assert {name.rpartition("/")[0] for name in stored(kb)} == {"docs", "docs/sub"}  # nothing of it can be read
        (other / "b.txt").chmod(0o700)
        (other / "sub").chmod(0o700)
        sync(kb, [other])
        assert {name.rpartition("/")[0] for name in stored(kb)} == {"other", "other/sub"}


@pytest.mark.parametrize("note", ["nonsense", "[]", '{"docs": 3}', '{"docs": {}}'])
def test_a_record_that_cannot_be_read(kb: Retriever, docs: Path, note: str) -> None:
    keep_note(kb._engine, "sources", note)
    with pytest.raises(CorruptionError, match="record of sources"):
        sync(kb, [docs])


def test_a_cleared_collection_has_no_sources_to_protect(kb: Retriever, docs: Path, tmp_path: Path) -> None:
    sync(kb, [docs])
    kb.clear()
    sync(kb, [fill(tmp_path / "b" / "docs", "x.txt")])
    assert {document.metadata["path"] for document in kb.documents()} == {"docs/x.txt"}


def test_documents_of_programs_are_not_touched(kb: Retriever, docs: Path) -> None:
    kb.add([Document("Mine.", {"path": "elsewhere/x"}, "mine"), Document("Other.", {}, "other")])
    sync(kb, [docs])
    shutil.rmtree(docs / "sub")
    sync(kb, [docs])
    assert {"mine", "other"} <= stored(kb).keys()


@pytest.mark.parametrize("wrong", [b"docs", 3, None, "a\0b", "", "x" * 5000])
def test_what_is_no_path(kb: Retriever, wrong: object) -> None:
    with pytest.raises(InputError):
        sync(kb, [wrong])  # type: ignore[list-item]  # that is the question
    assert read_note(kb._engine, "sources") is None


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_not_text(kb: Retriever, tmp_path: Path) -> None:
    try:
        strange = fill(tmp_path / "\udcff" / "docs")
    except OSError:
        pytest.skip("the file system takes only text")
    assert sync(kb, [strange]).files == 4  # only its own name counts
    assert sync(kb, [strange]).unchanged == len(kb)
    with pytest.raises(InputError, match=r"the name of '\\\\udcff' is not text"):
        sync(kb, [strange.parent])
