"""Haystack: its converter for many formats, its word splitter, its OpenAI embedder, its in-memory store on the disk."""

from haystack import Pipeline
from haystack.components.converters import MultiFileConverter, TextFileToDocument
from haystack.components.embedders import OpenAIDocumentEmbedder
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils import Secret

from benchmarks.rivals.ingestion import (
    CHUNK_OVERLAP_TOKENS,
    CHUNK_TOKENS,
    MODEL,
    WORDS_PER_TOKEN,
    Job,
    Outcome,
    list_files,
    main,
)

AS_TEXT = frozenset({".json", ".py", ".eml"})
"""Types that its converter for many formats does not take, or only with a schema."""


def ingest(job: Job) -> Outcome:
    """Everything is converted, split and embedded again in every run; a chunk that is stored already is replaced."""
    file = job.state / "documents.json"
    store = InMemoryDocumentStore.load_from_disk(str(file)) if file.exists() else InMemoryDocumentStore()
    pipeline = Pipeline()
    pipeline.add_component("converter", MultiFileConverter())
    pipeline.add_component("text", TextFileToDocument())
    pipeline.add_component("joiner", DocumentJoiner())
    pipeline.add_component(
        "splitter",
        DocumentSplitter(
            split_by="word",
            split_length=round(CHUNK_TOKENS * WORDS_PER_TOKEN),
            split_overlap=round(CHUNK_OVERLAP_TOKENS * WORDS_PER_TOKEN),
        ),
    )
    embedder = OpenAIDocumentEmbedder(
        api_key=Secret.from_token("none"),
        model=MODEL,
        api_base_url=job.url,
        batch_size=job.batch,
        progress_bar=False,
        raise_on_failure=True,
    )
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("writer", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    for source, target in (
        ("converter.documents", "joiner.documents"),
        ("text.documents", "joiner.documents"),
        ("joiner.documents", "splitter.documents"),
        ("splitter.documents", "embedder.documents"),
        ("embedder.documents", "writer.documents"),
    ):
        pipeline.connect(source, target)
    paths = list_files(job.folder)
    pipeline.run(
        {
            "converter": {"sources": [path for path in paths if path.suffix not in AS_TEXT]},
            "text": {"sources": [path for path in paths if path.suffix in AS_TEXT]},
        }
    )
    store.save_to_disk(str(file))
    documents = store.filter_documents()
    return Outcome(documents=len({document.meta["file_path"] for document in documents}), chunks=len(documents))


if __name__ == "__main__":
    main(ingest)
