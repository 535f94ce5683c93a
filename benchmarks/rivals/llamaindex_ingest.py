"""LlamaIndex: its directory reader with a process for each core, its ingestion pipeline with a docstore for upserts."""

import asyncio
import os

from llama_index.core import SimpleDirectoryReader
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

from benchmarks.rivals.ingestion import CHUNK_OVERLAP_TOKENS, CHUNK_TOKENS, MODEL, REQUESTS, Job, Outcome, main


def ingest(job: Job) -> Outcome:
    """Read all, let the docstore say what is new, embed that; what it had is loaded from the disk."""
    docstore_file, vectors_file = str(job.state / "docstore.json"), str(job.state / "vectors.json")
    is_first = not (job.state / "vectors.json").exists()
    docstore = SimpleDocumentStore() if is_first else SimpleDocumentStore.from_persist_path(docstore_file)
    vectors = SimpleVectorStore() if is_first else SimpleVectorStore.from_persist_path(vectors_file)
    pipeline = IngestionPipeline(
        transformations=[
            SentenceSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=CHUNK_OVERLAP_TOKENS),
            OpenAILikeEmbedding(
                model_name=MODEL, api_base=job.url, api_key="none", embed_batch_size=job.batch, num_workers=REQUESTS
            ),
        ],
        docstore=docstore,
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        vector_store=vectors,
        disable_cache=True,
    )
    reader = SimpleDirectoryReader(str(job.folder), recursive=True, filename_as_id=True)
    documents = reader.load_data(num_workers=os.cpu_count())
    asyncio.run(pipeline.arun(documents=documents))
    docstore.persist(docstore_file)
    vectors.persist(vectors_file)
    files = {document.metadata["file_path"] for document in docstore.docs.values()}
    return Outcome(documents=len(files), chunks=len(vectors.data.embedding_dict))


if __name__ == "__main__":
    main(ingest)
