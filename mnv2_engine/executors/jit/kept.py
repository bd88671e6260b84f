"""Where machine code is kept: Numba's cache, but one that is warm may be read-only.

Numba uses NUMBA_CACHE_DIR if set, else __pycache__ beside the source, else the user's cache folder,
the first of them that can be written, even where it would only read. So what was compiled while an
image was built, by another user, would be compiled anew in every container. Here a folder also
serves that cannot be written, if it holds the kernel already.
"""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from typing import Any

from numba.core import caching


def keep(dispatcher: Any) -> None:
    """Has what a dispatcher compiles kept, unless there is no folder for it."""
    with suppress(RuntimeError):
        dispatcher._cache = _Cache(dispatcher.py_func)


def _warm(locator: Any) -> Any:
    """One of Numba's kinds of folders, if it holds the function already."""

    class Warm(locator):  # type: ignore[misc]
        def __init__(self, function: Any, file: str) -> None:
            super().__init__(function, file)
            self._index = f"*.{function.__qualname__}-*.nbi"

        def ensure_cache_path(self) -> None:
            if not glob.glob(self._index, root_dir=self.get_cache_path()):
                raise FileNotFoundError(os.path.join(self.get_cache_path(), self._index))

    return Warm


_FOLDERS = caching.CompileResultCacheImpl._locator_classes


class _Implementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [  # noqa: RUF012 (its type is Numba's)
        *(locator for each in _FOLDERS[:3] for locator in (_warm(each), each)),
        *_FOLDERS[3:],
    ]


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _Implementation
