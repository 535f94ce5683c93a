"""The tokenizer that belongs to the model of an embedding server."""

from pathlib import Path

from app.pipeline.chunking.tokens import load_counter
from app.settings import InvalidSettingError, Settings

SAMPLE = "Whales sing for hours in the deep."


def tokenizers_of(settings: Settings) -> dict[str, str]:
    """Files of tokenizers by the name of their model; the built-in model has its own."""
    others = {server.model: server.tokenizer for server in settings.embedding_others}
    main = {settings.embedding_model: settings.embedding_tokenizer} if settings.embedding_url is not None else {}
    return {model: str(file.absolute()) for model, file in {**others, **main}.items() if file is not None}


def check_tokenizer(settings: Settings) -> None:
    """Raise InvalidSettingError unless texts can be counted with the tokenizers that are named; blocks."""
    if settings.embedding_tokenizer is not None:
        _check(settings.embedding_tokenizer, "VECLOOM_EMBEDDING_TOKENIZER")
    for server in settings.embedding_others:
        if server.tokenizer is not None:
            _check(server.tokenizer, f"VECLOOM_EMBEDDING_OTHERS, {server.model}")


def _check(file: Path, name: str) -> None:
    try:
        (count,) = load_counter(str(file.absolute())).count([SAMPLE])
    except Exception as error:  # the library raises nothing more exact
        raise InvalidSettingError(
            f"{name}: {file} is no tokenizer.json and no folder that holds one ({error})"
        ) from error
    if count < len(SAMPLE.split()):
        raise InvalidSettingError(f"{name}: {file} gives no tokens for English words")
