"""Models behind the port ``Embedder``."""
