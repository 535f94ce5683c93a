"""The tokenizer that belongs to the model of an embedding server."""

from app.pipeline.chunking.tokens import load_counter
from app.settings import InvalidSettingError, Settings

SAMPLE = "Whales sing for hours in the deep."


def tokenizers_of(settings: Settings) -> dict[str, str]:
    """Files of tokenizers by the name of their model; the built-in model has its own."""
    if settings.embedding_tokenizer is None or settings.embedding_url is None:
        return {}
    return {settings.embedding_model: str(settings.embedding_tokenizer.absolute())}


def check_tokenizer(settings: Settings) -> None:
    """Raise InvalidSettingError unless texts can be counted with the tokenizer that is named; blocks."""
    file = settings.embedding_tokenizer
    if file is None:
        return
    try:
        (count,) = load_counter(str(file.absolute())).count([SAMPLE])
    except Exception as error:  # the library raises nothing more exact
        raise InvalidSettingError(
            f"VECLOOM_EMBEDDING_TOKENIZER: {file} is no tokenizer.json and no folder that holds one ({error})"
        ) from error
    if count < len(SAMPLE.split()):
        raise InvalidSettingError(f"VECLOOM_EMBEDDING_TOKENIZER: {file} gives no tokens for English words")
