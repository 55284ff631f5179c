"""Ingest the sample handbook with a LlamaIndex IngestionPipeline. A second run embeds only changed documents.

python examples/llama_index_ingest.py --to kb-llama-index "How long do refunds take?"
"""

import argparse
import json
import sys
from pathlib import Path

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document
from llama_index.core.storage.docstore import SimpleDocumentStore

from llama_index_theodolite import TheodoliteEmbedding, TheodoliteRetriever, TheodoliteVectorStore
from models import embedder_name
from theodolite import Latest, TheodoliteError

HANDBOOK = Path(__file__).parent / "data" / "handbook.jsonl"


def fill(store: TheodoliteVectorStore, embed_model: BaseEmbedding, seen: Path, handbook: Path = HANDBOOK) -> str:
    """Bring the store up to date with the handbook. The file `seen` records the ingested documents."""
    entries = [json.loads(line) for line in handbook.read_text(encoding="utf-8").splitlines()]
    documents = [Document(id_=entry["id"], text=entry["text"], metadata=entry["metadata"]) for entry in entries]
    # Ignore the file if the store is empty.
    known = seen.exists() and len(store.kb) > 0
    docstore = SimpleDocumentStore.from_persist_path(str(seen)) if known else SimpleDocumentStore()
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=512), embed_model],
        vector_store=store,
        docstore=docstore,
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    written = pipeline.run(documents=documents)
    docstore.persist(str(seen))
    return f"{len(written)} passages embedded; there are {len(store.kb)}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Ingest the handbook of an invented company, and ask it a question.")
    parser.add_argument("question", nargs="?", default="How long do refunds take?")
    parser.add_argument("--to", default="kb-llama-index", metavar="FOLDER", help="where to (default: %(default)s)")
    options = parser.parse_args()
    folder = Path(options.to)
    try:
        embed_model = TheodoliteEmbedding(embedder_name())
        with TheodoliteVectorStore(folder / "passages", embed_model) as store:
            print(f"{fill(store, embed_model, folder / 'seen.json')}.\n")
            in_force = Latest(per="policy_id", by="effective_from")
            retriever = TheodoliteRetriever.from_store(store, similarity_top_k=3, versions=in_force)
            for found in retriever.retrieve(options.question):
                print(f"{found.score:.3f} {found.node.ref_doc_id}: {found.node.get_content()[:80]}")
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
